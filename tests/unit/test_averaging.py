"""The mean of the weights that a training starts from and ends with."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from schema.documents import Task
from worker.pipeline.artifact import read_config
from worker.pipeline.character_ngrams import BITS, CharacterNgrams
from worker.pipeline.model import Model
from worker.training.averaging import SCORE_DROP, mean_of, take_mean
from worker.training.loop import TrainingConfig, TrainingState
from worker.training.start import Start


@pytest.fixture
def start(artifacts: Path) -> Start:
    return Start.load(artifacts / "sentiment")


@pytest.fixture
def ended(artifacts: Path, start: Start) -> TrainingState[Model]:
    """A training that raised every weight by 2."""
    config = read_config(artifacts / Task.SENTIMENT).model
    state = TrainingState.fresh(lambda: Model(config), TrainingConfig())
    start.give_weights(state.model)
    state.best_weights = {name: value + 2 for name, value in state.model.state_dict().items()}
    state.best_score = 0.7
    return state


def scoring(score: float) -> Callable[[Model], float]:
    return lambda _: score


@pytest.mark.parametrize("score", [0.7 - SCORE_DROP / 2, 0.8])
def test_mean_is_taken_where_validation_does_not_speak_against_it(
    ended: TrainingState[Model], start: Start, score: float
) -> None:
    """Without it, the shipped model forgets a little more with every training."""
    last = {name: value.clone() for name, value in ended.best_weights.items()}

    assert take_mean(ended, start, scoring(score))

    assert ended.best_score == score
    assert all(torch.allclose(last[name] - 1, ended.best_weights[name]) for name in last)


def test_mean_is_left_where_validation_is_clearly_lower(
    ended: TrainingState[Model], start: Start
) -> None:
    """Without it, a user's own labels would have only half of their effect."""
    last = {name: value.clone() for name, value in ended.best_weights.items()}

    assert not take_mean(ended, start, scoring(0.7 - 2 * SCORE_DROP))

    assert ended.best_score == 0.7
    assert all(torch.equal(last[name], ended.best_weights[name]) for name in last)


def test_mean_of_character_ngrams_is_as_they_are_stored() -> None:
    """Without it, the measured model would not be the one that ships."""
    one = CharacterNgrams(np.full((2**BITS, 3), 0.1, np.float32), [0.0, 1.0, 2.0], (1.0, 0.0))
    other = CharacterNgrams(np.full((2**BITS, 3), 0.2, np.float32), [1.0, 1.0, 4.0], (0.6, 0.4))

    mean = mean_of(one, other)

    assert np.array_equal(mean.weights, mean.weights.astype(np.float16))
    assert mean.weights[0, 0] == pytest.approx(0.15, abs=1e-3)
    assert (mean.bias, mean.pool_weights) == ([0.5, 1.0, 3.0], (0.6, 0.4))
