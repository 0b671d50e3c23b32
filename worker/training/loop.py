"""Training as a generator of steps; files and prints belong to its caller."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from schema.errors import TextmillError
from worker.pipeline.batch import micro_batches, pad
from worker.pipeline.model import Network
from worker.training.examples import Example

NetworkT = TypeVar("NetworkT", bound=Network)

_POOL: Final = 4096
"""Number of shuffled examples that are batched by length together."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How a network is trained.

    Attributes:
        seed: decides the first weights, the order of examples and what dropout hides.
        epochs: most passes over the examples.
        patience: epochs without a better validation score before training stops.
        budget: most padded tokens of a step.
        learning_rate: highest rate; it falls to zero along a half cosine.
        warm_up: share of all steps in which the rate climbs.
        weight_decay: of AdamW (Loshchilov & Hutter 2019).
        clip: largest norm of the gradient.
        encoder_rate: share of the learning rate for the encoder, which may be pretrained
            (discriminative rates, Howard & Ruder 2018).
    """

    seed: int = 0
    epochs: int = 5
    patience: int = 2
    budget: int = 4096
    learning_rate: float = 2e-3
    warm_up: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    encoder_rate: float = 1.0


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step is done.

    Attributes:
        epoch: counted from 1.
        step: counted from 1 in the epoch.
        steps: steps of the epoch.
        loss: loss of the step's micro-batch.
    """

    epoch: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True)
class EpochReport:
    """An epoch is done and validated; the state may be stored.

    Attributes:
        epoch: counted from 1.
        loss: mean loss of the epoch's steps.
        score: validation score, higher is better.
        best: whether it is better than in every epoch before.
    """

    epoch: int
    loss: float
    score: float
    best: bool


@dataclass(slots=True)
class TrainingState(Generic[NetworkT]):
    """Everything a training needs to continue after any epoch.

    Attributes:
        model: the network.
        optimizer: over all of its parameters.
        epoch: epochs done.
        best_score: best validation score so far.
        best_weights: the network's weights at that score.
        stale: epochs since that score.
    """

    model: NetworkT
    optimizer: torch.optim.AdamW
    epoch: int = 0
    best_score: float = -1.0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    stale: int = 0

    @classmethod
    def fresh(
        cls, make: Callable[[], NetworkT], config: TrainingConfig
    ) -> "TrainingState[NetworkT]":
        """Draw the first weights with the seed."""
        torch.manual_seed(config.seed)
        model = make()
        groups = [
            {"params": list(part), "share": share}
            for share, part in (
                (config.encoder_rate, _parameters(model, encoder=True)),
                (1.0, _parameters(model, encoder=False)),
            )
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)
        return cls(model, optimizer)

    @property
    def best_epoch(self) -> int:
        """Epochs that the best weights saw."""
        return self.epoch - self.stale

    def load_best(self) -> None:
        """Give the network its best weights."""
        self.model.load_state_dict(self.best_weights)


def train(
    state: TrainingState[NetworkT],
    examples: Sequence[Example],
    validate: Callable[[NetworkT], float],
    config: TrainingConfig,
) -> Iterator[StepReport | EpochReport]:
    """Train until the epochs are done or validation stops improving.

    The same state, examples and config give the same weights on CPU, even if the state was stored
    and read back between two epochs.

    Args:
        state: changed in place; complete after each `EpochReport`.
        examples: at least one.
        validate: score of the network in evaluation mode, higher is better.
        config: how to train.

    Raises:
        TextmillError: loss or score of an epoch are no numbers.
    """
    while state.epoch < config.epochs and state.stale < config.patience:
        losses = []
        for report in _epoch(state, examples, config):
            losses.append(report.loss)
            yield report
        state.epoch += 1
        yield _close_epoch(state, validate(state.model.eval()), float(np.mean(losses)))


def _epoch(
    state: TrainingState[NetworkT], examples: Sequence[Example], config: TrainingConfig
) -> Iterator[StepReport]:
    # Every epoch seeds its own random numbers, so a resumed training needs no earlier ones.
    rng = np.random.default_rng([config.seed, state.epoch])
    torch.manual_seed(int(rng.integers(2**62)))
    batches = _batches(examples, config.budget, rng)
    state.model.train()
    for step, batch in enumerate(batches, start=1):
        progress = (state.epoch + step / len(batches)) / config.epochs
        loss = _step(state, [examples[index] for index in batch], _rate(progress, config), config)
        yield StepReport(state.epoch + 1, step, len(batches), loss)


def _step(
    state: TrainingState[NetworkT],
    batch: Sequence[Example],
    rate: float,
    config: TrainingConfig,
) -> float:
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["share"]
    ids, lengths = pad([example.ids for example in batch])
    loss = state.model.loss(ids, lengths, stack_gold(batch))
    state.optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
    state.optimizer.step()
    return loss.item()


def _close_epoch(state: TrainingState[NetworkT], score: float, loss: float) -> EpochReport:
    if not (math.isfinite(score) and math.isfinite(loss)):
        msg = (
            f"the training diverged: after epoch {state.epoch} its loss is {loss:.3g} and its"
            f" validation score {score:.3g}; train with another --seed, or a lower learning rate"
        )
        raise TextmillError(msg)
    best = score > state.best_score
    state.stale = 0 if best else state.stale + 1
    if best:
        state.best_score = score
        state.best_weights = {
            name: value.clone() for name, value in state.model.state_dict().items()
        }
    return EpochReport(state.epoch, loss, score, best)


def _parameters(model: nn.Module, *, encoder: bool) -> Iterator[nn.Parameter]:
    for name, parameter in model.named_parameters():
        if name.startswith("encoder.") is encoder:
            yield parameter


def stack_gold(batch: Sequence[Example]) -> Tensor:
    """Gold of a micro-batch, (rows, longest) or (rows, most phrases, steps), padded with 0."""
    return nn.utils.rnn.pad_sequence(
        [torch.from_numpy(example.gold) for example in batch], batch_first=True
    )


def _batches(examples: Sequence[Example], budget: int, rng: np.random.Generator) -> list[list[int]]:
    """Random micro-batches of similar length."""
    order = rng.permutation(len(examples)).tolist()
    batches: list[list[int]] = []
    for first in range(0, len(order), _POOL):
        pool = order[first : first + _POOL]
        lengths = [len(examples[index].ids) for index in pool]
        batches += [[pool[row] for row in rows] for rows in micro_batches(lengths, budget)]
    return [batches[index] for index in rng.permutation(len(batches))]


def _rate(progress: float, config: TrainingConfig) -> float:
    """Learning rate at a share of all steps: linear warm-up, then a half cosine."""
    if progress < config.warm_up:
        return config.learning_rate * progress / config.warm_up
    fallen = (progress - config.warm_up) / (1 - config.warm_up)
    return config.learning_rate * (1 + float(np.cos(np.pi * fallen))) / 2
