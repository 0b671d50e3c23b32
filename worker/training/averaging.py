"""The mean of the weights before and after a training.

Training on new texts helps most on texts like them, and costs a little on all others. The mean
keeps most of the gain at less cost (Wortsman et al. 2022), so it is taken unless it is clearly
worse on validation, which covers the other texts.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from worker.pipeline.character_ngrams import CharacterNgrams
from worker.pipeline.model import Model
from worker.training.loop import TrainingState
from worker.training.start import Start

SCORE_DROP: Final = 0.002
"""How much lower a validation score must be to count; docs/decisions/0021 says why."""


def take_mean(
    state: TrainingState[Model], start: Start, validate: Callable[[Model], float]
) -> bool:
    """Replace the best weights with the mean, unless its validation score is clearly lower.

    Args:
        state: after the last epoch; its network holds the mean afterwards.
        start: what the training started from, with the same labels.
        validate: score of the network in evaluation mode, higher is better.

    Returns:
        Whether the mean was taken.
    """
    start.give_weights(state.model)
    started = state.model.state_dict()
    mean = {
        name: value.lerp(started[name], 0.5) if value.is_floating_point() else value
        for name, value in state.best_weights.items()
    }
    state.model.load_state_dict(mean)
    score = validate(state.model.eval())
    if score < state.best_score - SCORE_DROP:
        return False
    state.best_score, state.best_weights = score, mean
    return True


def mean_of(started: CharacterNgrams, ended: CharacterNgrams) -> CharacterNgrams:
    """The mean of two character n-gram models, rounded, with the pool weights of `ended`."""
    weights = np.asarray((started.weights + ended.weights) / 2, np.float32)
    bias = [(before + after) / 2 for before, after in zip(started.bias, ended.bias, strict=True)]
    return CharacterNgrams(weights, bias, ended.pool_weights).rounded()
