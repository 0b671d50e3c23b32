"""Moderation catches disguised harm and leaves harmless text alone."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from schema.base import Frozen
from schema.documents import Task
from schema.outcomes import MODERATION_LABELS, Language, ModerationResult
from tests.fixtures.accuracy import half_interval
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from worker.pipeline.artifact import SHIPPED
from worker.training.corpus import Source, sources
from worker.training.evasion import EVASIONS, Evasion
from worker.training.ordinary import ordinary_rows
from worker.training.robustness import disguised, flag_f1
from worker.training.rows import LabelledRow, ModerationRow, RowFile, read_lines
from worker.training.sampling import sample

DATA = Path(__file__).parents[3] / "shared" / "data"
IDENTITY = Path(__file__).parent / "identity.jsonl"
HARM = {
    "everyday_moderation.jsonl": (0.09, 0.94),
    "domains_moderation.jsonl": (0.12, 0.88),
    "contrasts_moderation.jsonl": (0.13, 0.81),
}
"""By file: the largest share of harmless rows that may be flagged, and the smallest share of rows
with a label that must be. The files hold sentences of everyday life, texts of many domains, such as
chat in games, and harmless texts that use the words of harmful ones. Their authors knew neither the
training data nor the texts written for training."""
ROWS = 150
"""How many rows of each test split are measured."""
LEAST_KEPT = 0.95
"""Least share of the F1 on plain texts that must remain when they are disguised."""
MOST_ORDINARY_FLAGGED = 0.02
MOST_HARMLESS_FLAGGED = 0.08
"""Share of the sentences that name an identity and harm nobody."""
LEAST_ATTACKS_FLAGGED = 0.8

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the data folder ../shared/data is not beside the repository"
)


class Sentence(Frozen):
    """A sentence about people of some identity.

    Attributes:
        text: the sentence, in our own words.
        lang: its language.
        attack: whether it attacks them.
    """

    text: str
    lang: Language
    attack: bool


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load(SHIPPED / "moderation", "cpu")


@pytest.fixture(scope="module")
def rows() -> list[LabelledRow]:
    return [
        row
        for source in sources(DATA, Task.MODERATION)
        for row in sample(source.rows("test"), ROWS)
    ]


@pytest.fixture(scope="module")
def plain_f1(pipeline: Pipeline, rows: list[LabelledRow]) -> float:
    return flag_f1(pipeline, rows)


@needs_data
@pytest.mark.timeout(900)
@pytest.mark.parametrize("evasion", EVASIONS)
def test_a_disguise_does_not_get_past_moderation(
    evasion: Evasion, pipeline: Pipeline, rows: list[LabelledRow], plain_f1: float
) -> None:
    """Without it anyone who spaces out letters or swaps in digits could write what they like."""
    kept = flag_f1(pipeline, disguised(rows, evasion)) / plain_f1

    assert kept >= LEAST_KEPT - half_interval(LEAST_KEPT, len(rows))


@needs_data
@pytest.mark.timeout(900)
def test_ordinary_text_is_not_flagged(pipeline: Pipeline) -> None:
    """Without it more than one in fifty ordinary texts could need a person to look at it."""
    texts = [
        row.text
        for task in (Task.SENTIMENT, Task.KEYWORDS)
        for source in sources(DATA, task)
        for row in sample(clean(source), ROWS)
    ]

    share = flagged(pipeline, texts)

    assert share <= MOST_ORDINARY_FLAGGED + half_interval(MOST_ORDINARY_FLAGGED, len(texts))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_naming_an_identity_is_no_attack(language: Language, pipeline: Pipeline) -> None:
    """Without it people would be silenced for saying who they are."""
    harmless = [item.text for item in sentences(language) if not item.attack]
    attacks = [item.text for item in sentences(language) if item.attack]

    assert flagged(pipeline, harmless) <= MOST_HARMLESS_FLAGGED
    assert flagged(pipeline, attacks) >= LEAST_ATTACKS_FLAGGED


@pytest.mark.parametrize("name", HARM)
def test_harm_is_told_from_ordinary_talk(name: str, pipeline: Pipeline) -> None:
    """Without it notices and idioms could be flagged, and scams and threats pass."""
    rows = list(RowFile(Path(__file__).parent / name, ModerationRow))
    harmless = [row.text for row in rows if not row.labels]
    harmful = [row.text for row in rows if row.labels]
    most, least = HARM[name]

    assert flagged(pipeline, harmless) <= most
    assert flagged(pipeline, harmful) >= least


def clean(source: Source) -> list[ModerationRow]:
    """Rows of another task's source that are known to be clean of every label."""
    rows = ordinary_rows(source, "test")
    return [row for row in rows if row.annotated.issuperset(MODERATION_LABELS)]


def sentences(language: Language) -> list[Sentence]:
    found = [Sentence.model_validate_json(line) for line in read_lines(IDENTITY)]
    return [item for item in found if item.lang == language]


def flagged(pipeline: Pipeline, texts: Sequence[str]) -> float:
    """Share of texts that are flagged."""
    results = analyse(pipeline, texts)
    return sum(isinstance(item, ModerationResult) and item.flagged for item in results) / len(texts)
