"""The examples of a training: the rows of a recipe, and noisy copies of them."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from schema.documents import Task
from worker.pipeline.tokenize import Tokenizer
from worker.training.augment import augment_row
from worker.training.evasion import evade_randomly
from worker.training.examples import Example, examples
from worker.training.recipe import Recipe
from worker.training.rows import LabelledRow, ModerationRow

NOISY: Final = 0.4
"""Share of the rows for which a noisy copy is tried; moderation copies may be disguised, too."""
EVENNESS: Final = 0.4
"""How much more often noisy copies show the small sources of a classifier: 0 in proportion to their
rows, 1 as often as the largest (temperature sampling, Arivazhagan et al. 2019)."""


def make_examples(recipe: Recipe, tokenizer: Tokenizer) -> list[Example]:
    """Encode the training rows of all sources, and noisy copies of some of them."""
    rng = np.random.default_rng(recipe.training.seed)
    sets = recipe.training_sets()
    copies = [_copies(recipe.task, len(rows), max(map(len, sets))) for rows in sets]
    written = recipe.written_rows(sets, rng)
    beside = [
        recipe.ordinary_training_set(),
        recipe.taught_alone(row for rows in sets for row in rows),
        written,
    ]
    sets += beside
    copies += [NOISY for _ in beside]
    judged: Sequence[LabelledRow] = []
    if recipe.feedback is not None:
        sets = recipe.feedback.replayed(sets, rng)
        judged = recipe.feedback.repeated(sum(map(len, sets)))
    replayed = [
        example
        for rows, share in zip(sets, copies, strict=True)
        for example in examples([*rows, *_noisy_copies(rows, share, rng)], tokenizer)
    ]
    noisy = _noisy_copies(judged, NOISY, rng)
    return [*replayed, *examples([*judged, *noisy], tokenizer, any_label=True)]


def _copies(task: Task, rows: int, largest: int) -> float:
    """How many noisy copies of each row of a source are tried, on average."""
    if task is Task.KEYWORDS or not rows:
        return NOISY
    return NOISY + float((largest / rows) ** EVENNESS) - 1


def _noisy_copies(
    rows: Sequence[LabelledRow], share: float, rng: np.random.Generator
) -> Iterator[LabelledRow]:
    for row in rows:
        for _ in range(int(share + rng.random())):
            noisy = augment_row(row, rng)
            if isinstance(noisy, ModerationRow):
                evasive = evade_randomly(noisy.text, rng)
                noisy = noisy.model_copy(update={"text": evasive})
            if noisy.text != row.text:
                yield noisy
