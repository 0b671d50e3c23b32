"""The forward pass of serving."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.documents import Task
from worker.pipeline.model import Model, ModelConfig
from worker.pipeline.predict import SCORE_TOLERANCE, ServingForm, distance, serving_form
from worker.pipeline.records import Candidate, IntArray, Prediction

VOCABULARY = 50


def network(task: Task, seed: int = 0) -> ServingForm:
    torch.manual_seed(seed)
    labels = () if task is Task.KEYWORDS else ("a", "b", "c")
    model = Model(ModelConfig(task, VOCABULARY, labels, embedding=8, hidden=8))
    return serving_form(model.eval(), "cpu")


def as_numbers(prediction: Prediction) -> list[float]:
    return np.asarray(prediction, dtype=np.float64).ravel().tolist()


WINDOWS = st.lists(
    st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=12), min_size=1, max_size=8
)


@pytest.mark.parametrize("task", list(Task))
@given(rows=WINDOWS)
@settings(max_examples=25, deadline=None)
def test_a_score_never_depends_on_batch_mates(task: Task, rows: list[list[int]]) -> None:
    """Without it the same document would get another result in another job."""
    predict = network(task)
    windows: list[IntArray] = [np.array(row, np.int32) for row in rows]

    together = predict(windows)

    for window, beside in zip(windows, together, strict=True):
        assert as_numbers(beside) == pytest.approx(as_numbers(predict([window])[0]), abs=1e-5)


def test_predictions_keep_the_order_of_the_windows() -> None:
    """Without it documents would get each other's results."""
    predict = network(Task.SENTIMENT)
    short, long = np.array([1], np.int32), np.array([2, 3, 4], np.int32)

    ahead, behind = predict([short, long]), predict([long, short])

    assert as_numbers(ahead[0]) == pytest.approx(as_numbers(behind[1]), abs=1e-6)
    assert as_numbers(ahead[1]) == pytest.approx(as_numbers(behind[0]), abs=1e-6)


def test_sentiment_scores_sum_to_one() -> None:
    """Without it a score would be no probability."""
    scores = network(Task.SENTIMENT)([np.array([5, 6], np.int32)])[0]

    assert sum(as_numbers(scores)) == pytest.approx(1)


def test_candidates_lie_inside_their_window() -> None:
    """Without it a keyword could point behind the end of its text."""
    candidates = network(Task.KEYWORDS)(
        [np.array([5, 6, 7], np.int32), np.array(range(1, 20), np.int32)]
    )[0]

    assert candidates
    for first, last, score in as_candidates(candidates):
        assert 0 <= first < last <= 3
        assert 0 < score <= 1


def as_candidates(prediction: Prediction) -> list[Candidate]:
    assert isinstance(prediction, list)
    return [item for item in prediction if isinstance(item, Candidate)]


def test_distance_is_that_of_the_worst_score() -> None:
    """Without it half precision is taken where it moves a score."""
    one = [np.array([0.25, 0.75], np.float32), np.array([0.5, 0.5], np.float32)]
    other = [np.array([0.25, 0.75], np.float32), np.array([0.75, 0.25], np.float32)]
    phrases: list[Prediction] = [[Candidate(0, 1, 0.5)]]
    others: list[Prediction] = [[Candidate(0, 1, 0.5), Candidate(1, 2, 0.12)]]

    assert distance(one, one) == 0
    assert distance(one, other) == 0.25
    assert distance(phrases, others) == pytest.approx(0.1)
    assert distance([], []) == 0


def test_a_score_that_overflowed_is_not_near() -> None:
    """Without it, half precision serves a model that it breaks, and documents fail for good."""
    exact = [np.array([0.25, 0.75]), np.array([0.5, 0.5])]
    halved = [np.array([0.25, 0.75]), np.array([np.nan, 0.5])]

    assert not distance(exact, halved) < SCORE_TOLERANCE
    assert not distance(halved, exact) < SCORE_TOLERANCE
