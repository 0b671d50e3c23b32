"""The shipped artifacts are as good as their cards say."""

from pathlib import Path

import pytest

from schema.documents import Task
from schema.outcomes import SENTIMENT_LABELS
from tests.fixtures.accuracy import half_interval
from worker.pipeline import Pipeline
from worker.pipeline.artifact import SHIPPED
from worker.training.card import Card, SetFigures
from worker.training.corpus import sources
from worker.training.evaluate import evaluate
from worker.training.measures import (
    KeywordsMeasures,
    Measures,
    ModerationMeasures,
    SentimentMeasures,
)
from worker.training.sampling import sample

DATA = Path(__file__).parents[3] / "shared" / "data"
LARGEST = 15 * 1024 * 1024
ROWS = {Task.SENTIMENT: 4000, Task.MODERATION: 2000, Task.KEYWORDS: 300}
"""How many rows of each test split are measured."""
CLEARLY = 1.05
"""A figure above this multiple of a trivial answer's figure counts as clearly better."""
GUESSWORK = {"zh-cped"}
"""Sets whose labels depend on facts that the text does not show, and whose test split has other
shares of labels than training. They are judged by macro recall, which a constant answer cannot
raise."""
WITHOUT_NEGATIVES = {"en-ailuminate", "zh-jade"}
"""Sets without negative rows, so nothing tells a good model from one that flags everything."""

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the data folder ../shared/data is not beside the repository"
)


def card(task: Task) -> Card:
    return Card.model_validate_json((SHIPPED / task / "card.json").read_bytes())


def figures() -> list[tuple[Task, SetFigures]]:
    return [(task, entry) for task in Task for entry in card(task).tests]


def names() -> list[str]:
    return [entry.name for _, entry in figures()]


@pytest.fixture(scope="module")
def pipelines() -> dict[Task, Pipeline]:
    return {task: Pipeline.load(SHIPPED / task, "cpu") for task in Task}


@pytest.mark.parametrize("task", list(Task))
def test_an_artifact_is_small_and_carries_its_own_card(
    task: Task, pipelines: dict[Task, Pipeline]
) -> None:
    """Without it the figures of one model could ship with the weights of another."""
    files = list((SHIPPED / task).iterdir())

    assert sum(file.stat().st_size for file in files) < LARGEST
    assert card(task).model_version == pipelines[task].model_version


@pytest.mark.parametrize("entry", [entry for _, entry in figures()], ids=names())
def test_every_set_beats_a_trivial_answer(entry: SetFigures) -> None:
    """Without it a model that has learned nothing could ship."""
    match measures := entry.measures:
        case SentimentMeasures() if entry.name in GUESSWORK:
            assert measures.macro_recall > CLEARLY / len(SENTIMENT_LABELS)
        case SentimentMeasures():
            assert entry.majority is not None
            assert measures.accuracy > CLEARLY * entry.majority
        case ModerationMeasures():
            areas = [label.auc for label in measures.labels.values() if label.auc is not None]
            assert areas or entry.name in WITHOUT_NEGATIVES
            assert all(area > CLEARLY * 0.5 for area in areas)
        case KeywordsMeasures():
            assert entry.majority is not None
            assert measures.f1_at_5 > CLEARLY * entry.majority


@needs_data
@pytest.mark.parametrize(("task", "entry"), figures(), ids=names())
def test_a_test_set_gives_the_figure_of_the_card(
    task: Task, entry: SetFigures, pipelines: dict[Task, Pipeline]
) -> None:
    """Without it the pipeline could change around a model and quietly make it worse."""
    [source] = [source for source in sources(DATA, task) if source.name == entry.name]
    rows = sample(source.rows("test"), ROWS[task])

    measured = headline(evaluate(pipelines[task], rows))

    expected = headline(entry.measures)
    counted = len(rows)
    if isinstance(entry.measures, KeywordsMeasures):  # means over rows with a keyword
        counted = counted * entry.measures.present_documents // entry.measures.documents
    assert measured >= expected - half_interval(expected, counted) - 0.01


def headline(measures: Measures) -> float:
    """The one figure that a set is judged by."""
    match measures:
        case SentimentMeasures():
            return measures.accuracy
        case ModerationMeasures():
            return measures.flag_f1
        case KeywordsMeasures():
            return measures.f1_at_5
