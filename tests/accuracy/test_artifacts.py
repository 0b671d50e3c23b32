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
FEWEST = 50
"""Fewest rows with a label by which the label is judged."""
ROUNDING = 0.01
"""How far a figure of all rows may fall: another processor rounds otherwise, which turns a few
documents around."""
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
def test_a_test_set_gives_the_figures_of_the_card(
    task: Task, entry: SetFigures, pipelines: dict[Task, Pipeline]
) -> None:
    """Without it the pipeline could change around a model and quietly make it worse."""
    [source] = [source for source in sources(DATA, task) if source.name == entry.name]
    every = source.rows("test")
    rows = sample(every, ROWS[task])
    part = len(rows) / len(every)

    measured = counted(evaluate(pipelines[task], rows))

    for name, (expected, population) in counted(entry.measures).items():
        if name not in measured:  # a label that the sample has too seldom
            continue
        drawn = max(round(part * population), 1)
        allowed = ROUNDING if part == 1 else half_interval(expected, drawn, population) + 0.01
        assert measured[name][0] >= expected - allowed, name


def counted(measures: Measures) -> dict[str, tuple[float, int]]:
    """The figures that a set is judged by, and how many rows decide each."""
    match measures:
        case SentimentMeasures():
            rows = measures.documents
            classes = len(SENTIMENT_LABELS)
            return {
                "accuracy": (measures.accuracy, rows),
                "macro F1": (measures.macro_f1, rows // classes),
            }
        case ModerationMeasures():
            labels = {
                name: (label.f1, label.support)
                for name, label in measures.labels.items()
                if label.support >= FEWEST
            }
            return {"flag F1": (measures.flag_f1, measures.documents), **labels}
        case KeywordsMeasures():
            return {"F1@5": (measures.f1_at_5, measures.present_documents)}
