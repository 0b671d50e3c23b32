"""Measures, compared with their definitions."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.training import metrics

JUDGED = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.1, 0.4, 0.4, 0.9])), min_size=2, max_size=30
)


@given(JUDGED)
def test_auc_is_how_often_a_positive_outranks_a_negative(rows: list[tuple[bool, float]]) -> None:
    """Without it ties and order would decide the figures on the cards."""
    gold = np.array([holds for holds, _ in rows])
    scores = np.array([score for _, score in rows])

    area = metrics.auc(gold, scores)

    pairs = list(product(scores[gold], scores[~gold]))
    if not pairs:
        assert area is None
    else:
        wins = sum(1.0 if high > low else 0.5 * (high == low) for high, low in pairs)
        assert area == pytest.approx(wins / len(pairs))


def test_macro_f1_counts_every_class_of_the_gold_alike() -> None:
    """Without it a model could give up a rare class unnoticed."""
    gold, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])

    assert metrics.macro_f1(gold, predicted) == pytest.approx((6 / 7 + 0) / 2)
    assert metrics.macro_recall(gold, predicted) == pytest.approx(0.5)


def test_log_loss_is_the_negative_log_of_the_gold_score() -> None:
    """Without it temperatures would be chosen by another measure."""
    loss = metrics.log_loss(np.array([0, 1]), np.array([[0.5, 0.5], [0.75, 0.25]]))

    assert loss == pytest.approx(-(np.log(0.5) + np.log(0.25)) / 2)


def test_a_score_that_is_right_as_often_as_it_says_is_calibrated() -> None:
    """Without it cards would call uncalibrated scores calibrated."""
    hits = np.array([True, True, True, False])

    assert metrics.calibration_error(hits, np.full(4, 0.75)) == pytest.approx(0)
    assert metrics.calibration_error(hits, np.full(4, 1.0)) == pytest.approx(0.25)


def test_f1_at_a_rank_ignores_what_stands_below_it() -> None:
    """Without it long lists of keywords would score as if they were short."""
    gold = {"a", "b"}

    assert metrics.f1_at(gold, ["a", "x", "b"], 1) == pytest.approx(2 / 3)
    assert metrics.f1_at(gold, ["a", "x", "b"], 3) == pytest.approx(0.8)
    assert metrics.f1_at(gold, [], 5) == 0


def test_undefined_precision_is_zero() -> None:
    """Without it a label that never occurs would make a measurement fail."""
    nothing = np.zeros(3, dtype=bool)

    assert metrics.precision_recall(nothing, nothing) == (0, 0)
    assert metrics.f1(nothing, nothing) == 0
