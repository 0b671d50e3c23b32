"""The CPU kernel predicts what the trained network predicts."""

from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch

from schema.documents import Task
from worker.pipeline.batch import pad
from worker.pipeline.kernel import Kernel, pack
from worker.pipeline.model import Cell, Model, ModelConfig
from worker.pipeline.records import IntArray

VOCABULARY = 60
LENGTHS = (3, 1, 17, 9, 9, 30)


def network(cell: Cell) -> Model:
    """A network with some saturated gates, like a trained one."""
    torch.manual_seed(5)
    model = Model(
        ModelConfig(Task.SENTIMENT, VOCABULARY, ("a", "b", "c"), cell, embedding=12, hidden=10)
    ).eval()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(2)
    return model


def windows() -> list[IntArray]:
    rng = np.random.default_rng(1)
    return [rng.integers(1, VOCABULARY, length).astype(np.int32) for length in LENGTHS]


@pytest.mark.parametrize("cell", get_args(Cell))
def test_kernel_says_what_the_network_says(cell: Cell) -> None:
    """Without it the served model is not the one that was measured."""
    model = network(cell)

    served = Kernel(model)(windows())

    with torch.inference_mode():
        trained = model.predict(*pad(windows()))
    for one, other in zip(served, trained, strict=True):
        assert np.asarray(one) == pytest.approx(np.asarray(other), abs=1e-5)


def test_no_step_computes_padding() -> None:
    """Without it short rows cost as much as the longest row of their micro-batch."""
    batch = pack(windows())

    assert sum(batch.counts) == sum(LENGTHS)
    assert all(left >= right for left, right in pairwise(batch.counts))
    assert sorted(batch.ahead.tolist()) == sorted(batch.back.tolist()) == list(range(69))


def test_padding_of_the_states_is_finite() -> None:
    """Without it leftover contents of memory could reach a score as NaN."""
    batch = pack(windows())

    states = Kernel(network("gru")).states(batch)

    for row, length in enumerate(batch.lengths.tolist()):
        assert states[row, length:].abs().sum().item() == 0
