"""How an artifact judges the texts that it learned from, for a training that starts from it.

Learned beside the labels of these texts, its answers keep the network from forgetting them while it
learns others (learning without forgetting, Li & Hoiem 2016). They also pass on what teachers taught
it, who need not be asked again.
"""

from schema.documents import LABELS, Task
from worker.pipeline import Pipeline
from worker.training.evaluate import moderation_scores, sentiment_scores
from worker.training.recipe import Recipe
from worker.training.rows import LabelledRow
from worker.training.soft_labels import SoftLabel
from worker.training.start import Start


def own_soft_labels(recipe: Recipe, start: Start) -> dict[str, SoftLabel]:
    """Judge the training rows of the sources that an artifact learned from.

    Args:
        recipe: the recipe of the training; its task is sentiment or moderation.
        start: the artifact, of the same task.

    Returns:
        How likely each label holds, by text. Sources that the artifact did not learn from are left
        out: there, only the labels count.
    """
    learned = {entry.name for entry in start.sources if entry.use in ("labels", "ordinary text")}
    rows = [
        row
        for source in recipe.original_sources()
        if source.name in learned
        for row in source.rows("train")
    ]
    rows += [
        row
        for source, ordinary in recipe.ordinary_sets("train")
        if source.name in learned
        for row in ordinary
    ]
    scores = _scores(Pipeline.load(start.folder, "cpu"), rows)
    labels = LABELS[recipe.task]
    return {
        row.text: dict(zip(labels, row_scores, strict=True))
        for row, row_scores in zip(rows, scores, strict=True)
    }


def _scores(pipeline: Pipeline, rows: list[LabelledRow]) -> list[list[float]]:
    """Scores of each row, (rows, labels)."""
    score = sentiment_scores if pipeline.task is Task.SENTIMENT else moderation_scores
    scores: list[list[float]] = score(pipeline, rows).tolist()
    return scores
