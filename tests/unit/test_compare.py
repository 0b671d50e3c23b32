"""Whether a candidate is better than its parent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from schema.documents import Task
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS, ModerationLabel
from worker.training import compare as module
from worker.training.compare import TOLERANCE, Comparison, compare
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow

if TYPE_CHECKING:
    from worker.pipeline import Pipeline

ROWS = [
    SentimentRow(text=str(number), label=label)
    for number, label in enumerate(SENTIMENT_LABELS * 100)
]


class Oracle:
    """Knows the label of every row, but errs on the rows with the given numbers."""

    task = Task.SENTIMENT

    def __init__(self, errs: Sequence[int] = ()) -> None:
        self._errs = {str(number) for number in errs}

    def scores(self, rows: Sequence[LabelledRow]) -> np.ndarray:
        """One-hot scores, shifted by one label in rows on which it errs."""
        said = [
            SENTIMENT_LABELS.index(cast("SentimentRow", row).label) + (row.text in self._errs)
            for row in rows
        ]
        return np.asarray(np.eye(3)[np.array(said) % 3])


@pytest.fixture(autouse=True)
def oracles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let oracles score in place of models."""
    monkeypatch.setattr(module, "sentiment_scores", lambda pipeline, rows: pipeline.scores(rows))


def compared(before: Sequence[int], after: Sequence[int]) -> Comparison:
    """Compare, on feedback, two models that err on the rows with these numbers."""
    return compare(oracle(before), oracle(after), ROWS, {"set": ROWS}).feedback


def oracle(errs: Sequence[int] = ()) -> "Pipeline":
    return cast("Pipeline", Oracle(errs))


def test_model_beside_itself_is_neither_better_nor_worse() -> None:
    """Without it chance could promote a model."""
    same = compare(oracle(range(40)), oracle(range(40)), ROWS, {"set": ROWS})

    assert (same.feedback.difference, same.feedback.low, same.feedback.high) == (0, 0, 0)
    assert "not surely better on held-out feedback" in same.reason
    assert len(same.faults) == 1


def test_better_on_feedback_and_the_same_elsewhere_is_better() -> None:
    """Without it, nothing is ever promoted."""
    both = compare(oracle(range(60)), oracle(range(20)), ROWS, {"set": ROWS[100:]})

    assert both.faults == []
    assert both.feedback.parent == pytest.approx(0.8, abs=0.001)
    assert both.feedback.candidate == pytest.approx(1 - 20 / 300, abs=0.001)
    assert both.feedback.low < both.feedback.difference < both.feedback.high
    assert both.reason.startswith("better on held-out feedback: F1 0.800 → 0.933")


def test_a_chance_success_is_not_taken_for_a_better_model() -> None:
    """Without it, a model is promoted for three lucky documents."""
    lucky = compare(oracle(range(23)), oracle(range(20)), ROWS, {"set": ROWS})
    sure = compare(oracle(range(80)), oracle(range(20)), ROWS, {"set": ROWS})

    assert lucky.feedback.difference > 0
    assert [fault.partition(":")[0] for fault in lucky.faults] == [
        "not surely better on held-out feedback"
    ]
    assert sure.faults == []


def test_pairs_tell_more_than_two_models_apart() -> None:
    """Without it, the interval of two models that make the same errors would be far too wide."""
    same_errors = compared(range(60), range(45))
    other_errors = compared(range(60), range(100, 145))

    assert same_errors.high - same_errors.low < (other_errors.high - other_errors.low) / 2


def test_worse_elsewhere_is_not_promoted() -> None:
    """Without it, everyone else pays for what a model learns of one shop's slang."""
    feedback, elsewhere = ROWS[:150], ROWS[150:]

    worse = compare(oracle(range(50)), oracle(range(150, 165)), feedback, {"set": elsewhere})

    assert worse.feedback.low > 0
    assert worse.elsewhere.high < -TOLERANCE
    assert [fault.partition(":")[0] for fault in worse.faults] == [
        "perhaps worse elsewhere",
        "worse on set",
    ]


def test_sets_of_the_same_size_are_drawn_from_independently() -> None:
    """Without it, chance does not cancel out over sets, and the interval of their mean is wide."""
    parent, candidate = oracle(range(30)), oracle(range(30, 60))

    one, four = (
        compare(parent, candidate, ROWS, {str(number): ROWS for number in range(sets)}).elsewhere
        for sets in (1, 4)
    )

    assert four.high - four.low < 0.6 * (one.high - one.low)


def test_a_bad_set_is_not_hidden_by_good_ones() -> None:
    """Without it, a language can be lost while the mean rises."""
    sets = {"good": ROWS[100:200], "bad": ROWS[200:]}

    mixed = compare(oracle(range(160)), oracle(range(270, 300)), ROWS[:100], sets)

    assert mixed.elsewhere.low > 0
    assert [fault.partition(":")[0] for fault in mixed.faults] == ["worse on bad"]


def test_moderation_counts_clean_text_and_only_what_is_annotated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, feedback that holds only false alarms could teach nothing."""

    class Moderator:
        task = Task.MODERATION
        thresholds = dict.fromkeys(MODERATION_LABELS, 0.5)

        def __init__(self, label: ModerationLabel | None) -> None:
            self.flags = [float(label == known) for known in MODERATION_LABELS]

    monkeypatch.setattr(
        module, "moderation_scores", lambda one, rows: np.array([one.flags] * len(rows))
    )
    clean = [
        ModerationRow(text=str(n), labels=frozenset(), annotated=frozenset({"spam"}))
        for n in range(40)
    ]
    alarms, calm, unknown = (
        cast("Pipeline", Moderator(label)) for label in ("spam", None, "abuse")
    )

    fewer = compare(alarms, calm, clean, {"set": clean})
    beside = compare(calm, unknown, clean, {"set": clean})

    assert (fewer.feedback.parent, fewer.feedback.candidate) == (0, 1)
    assert beside.feedback.candidate == 1


def test_keywords_count_the_best_five(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a model that names everything would seem better."""

    class Tagger:
        task = Task.KEYWORDS

        def __init__(self, *phrases: str) -> None:
            self.phrases = list(phrases)

    monkeypatch.setattr(module, "ranked_phrases", lambda one, rows: [(one.phrases, [])] * len(rows))
    rows = [KeywordsRow(text="green tea in a pot", keywords=("green tea", "absent"))] * 5
    wrong = cast("Pipeline", Tagger("a", "b", "c", "d", "e", "green tea"))
    right = cast("Pipeline", Tagger("green tea"))

    both = compare(wrong, right, rows, {"set": rows})

    assert (both.feedback.parent, both.feedback.candidate) == (0, 1)


def test_keywords_of_every_document_count_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it documents of many keywords decide, and a model is promoted that is worse."""

    class Tagger:
        task = Task.KEYWORDS

        def __init__(self, *, short: int, long: int) -> None:
            self.found = {"short": short, "long": long}

    keywords = tuple("abcde")
    monkeypatch.setattr(
        module,
        "ranked_phrases",
        lambda one, rows: [(list(keywords[: one.found[row.text.split()[0]]]), []) for row in rows],
    )
    rows = [
        *[KeywordsRow(text="short a", keywords=("a",))] * 20,
        *[KeywordsRow(text="long a b c d e", keywords=keywords)] * 20,
        *[KeywordsRow(text="long", keywords=("absent",))] * 20,
    ]
    before, after = (
        cast("Pipeline", Tagger(short=short, long=long)) for short, long in ((1, 2), (0, 5))
    )

    both = compare(before, after, rows, {"set": rows}).feedback

    assert both.documents == 40
    assert both.parent == pytest.approx((1 + 4 / 7) / 2)
    assert both.candidate == pytest.approx((0 + 1) / 2)
    assert both.high < 0
