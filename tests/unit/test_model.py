"""The network and its decoders."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from schema.documents import Task
from worker.pipeline.batch import pad
from worker.pipeline.decoders import ABSENT, UNKNOWN, SigmoidDecoder, SoftmaxDecoder
from worker.pipeline.model import Cell, Model, ModelConfig, VariationalDropout
from worker.pipeline.records import Encoded, IntArray

LABELS = {
    Task.SENTIMENT: ("negative", "neutral", "positive"),
    Task.MODERATION: ("abuse", "spam"),
    Task.KEYWORDS: (),
}
GOLD = {
    Task.SENTIMENT: [[0, 0, 1], [1, UNKNOWN, 0]],
    Task.MODERATION: [[0, 1], [1, UNKNOWN]],
    Task.KEYWORDS: [[0, 1, 2], [1, 0, 0]],
}


def config(task: Task, cell: Cell = "gru") -> ModelConfig:
    return ModelConfig(task, vocabulary=20, labels=LABELS[task], cell=cell, embedding=6, hidden=5)


def encoded(rows: int) -> Encoded:
    ids, states = torch.randint(1, 9, (rows, 3)), torch.randn(rows, 3, 4)
    return Encoded(ids, states, torch.ones(rows, 3, dtype=torch.bool))


def windows() -> list[IntArray]:
    return [np.array([3, 4, 5], np.int32), np.array([6, 7], np.int32)]


@pytest.mark.parametrize("cell", get_args(Cell))
@pytest.mark.parametrize("task", list(Task))
def test_every_cell_learns_every_task(task: Task, cell: Cell) -> None:
    """Without it some choice of cell or task might not work at all."""
    torch.manual_seed(0)
    model = Model(config(task, cell)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    gold = torch.tensor(GOLD[task])

    losses = []
    for _ in range(40):
        loss = model.loss(*pad(windows()), gold)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())

    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    with torch.inference_mode():
        assert len(model.eval().predict(*pad(windows()))) == 2


def test_a_label_that_is_not_annotated_gets_no_gradient() -> None:
    """Without it "not annotated" would be learned as "does not hold"."""
    decoder = SigmoidDecoder(vocabulary=9, states=4, labels=2, dropout=0.0)
    gold = torch.tensor([[1, UNKNOWN], [0, UNKNOWN]])

    loss = decoder.loss(encoded(rows=2), gold)
    torch.autograd.backward(loss)

    gradient = decoder.output.weight.grad
    assert gradient is not None
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0


def test_a_class_that_the_source_lacks_is_taught_by_its_prior() -> None:
    """Without it a source of reviews without neutral ones would teach that no review is neutral."""
    decoder = SoftmaxDecoder(vocabulary=9, states=4, labels=3, dropout=0.0)
    nn.init.zeros_(decoder.output.weight)
    nn.init.zeros_(decoder.output.bias)
    batch = encoded(rows=1)

    lacking = decoder.loss(batch, torch.tensor([[1, UNKNOWN, 0]]))
    knowing = decoder.loss(batch, torch.tensor([[1, 0, 0]]))

    assert lacking.item() == pytest.approx(math.log(2 + ABSENT))
    assert knowing.item() == pytest.approx(math.log(3))


def test_variational_dropout_hides_the_same_units_at_every_step() -> None:
    """Without it noise would differ from step to step, which makes recurrent cells forget."""
    torch.manual_seed(0)

    dropped = VariationalDropout(0.5).train()(torch.ones(4, 7, 16))

    assert (dropped == dropped[:, :1]).all()
    assert 0 < (dropped == 0).sum() < dropped.numel()


def test_the_backward_direction_starts_at_the_last_token() -> None:
    """Without it the state of a text would depend on the padding after it."""
    torch.manual_seed(0)
    encoder = Model(config(Task.SENTIMENT)).encoder.eval()
    ids, lengths = pad([windows()[1]])
    padded = torch.cat([ids, torch.zeros(1, 3, dtype=torch.long)], dim=1)

    alone, beside = encoder(ids, lengths), encoder(padded, lengths)

    assert torch.allclose(alone, beside[:, : lengths[0]], atol=1e-6)
