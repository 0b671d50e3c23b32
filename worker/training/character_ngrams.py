"""Trains the linear model over character n-grams."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from schema.outcomes import SENTIMENT_LABELS
from worker.pipeline.character_ngrams import BITS, CharacterNgrams, buckets
from worker.pipeline.decoders import softmax_loss
from worker.pipeline.records import FloatArray
from worker.training.cleaning import cleaned
from worker.training.examples import known_labels, label_gold
from worker.training.rows import LabelledRow, SentimentRow

EPOCHS: Final = 2
ROWS: Final = 1024
"""Texts per step."""
RATE: Final = 0.3
"""Learning rate of Adagrad (Duchi et al. 2011), by which rare n-grams learn faster; falls to 0."""
REFINING_RATE: Final = RATE / 4
"""The same for refining weights of an earlier training."""


def fit_character_ngrams(
    sets: Sequence[Sequence[LabelledRow]],
    judged: Sequence[LabelledRow],
    start: CharacterNgrams | None,
    seed: int,
) -> CharacterNgrams:
    """Train on sentiment rows; labels that a source lacks are `UNKNOWN`, see `examples`.

    The same rows, start and seed give the same weights on CPU.

    Args:
        sets: rows of each source.
        judged: rows whose judges could have given any label.
        start: the model to refine; None starts from zeros.
        seed: decides the order of the rows.

    Returns:
        The rounded model, with the pool weights of `start`; without one, the network counts alone.
    """
    labelled = [pair for rows in sets for pair in _labelled(rows, any_label=False)]
    labelled += _labelled(judged, any_label=True)
    text_buckets = [buckets([text]).ids.astype(np.int32) for text, _ in labelled]
    gold = torch.from_numpy(np.array([values for _, values in labelled]))
    start, rate = (_nothing(), RATE) if start is None else (start, REFINING_RATE)
    weights = torch.tensor(start.weights, requires_grad=True)
    bias = torch.tensor(start.bias, dtype=torch.float, requires_grad=True)
    optimizer = torch.optim.Adagrad([weights, bias], eps=1e-8)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(text_buckets)) for _ in range(EPOCHS)])
    for first in range(0, len(order), ROWS):
        chosen = order[first : first + ROWS]
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - first / len(order))
        logits = logits_of([text_buckets[row] for row in chosen], weights, bias)
        optimizer.zero_grad()
        torch.autograd.backward(softmax_loss(logits, gold[chosen]))
        optimizer.step()
    learned = weights.detach().numpy()
    return CharacterNgrams(learned, bias.detach().double().tolist(), start.pool_weights).rounded()


def logits_of(text_buckets: Sequence[NDArray[np.int32]], weights: Tensor, bias: Tensor) -> Tensor:
    """`CharacterNgrams.logits` of a batch of texts, (batch, labels).

    Args:
        text_buckets: the buckets of each text.
        weights: (2 ** BITS, labels).
        bias: (labels,).
    """
    lengths = torch.tensor([len(places) for places in text_buckets])
    starts = lengths.cumsum(0) - lengths
    together = torch.from_numpy(np.concatenate(text_buckets))
    total = functional.embedding_bag(together, weights, starts.int(), mode="sum")
    return total / lengths.float().sqrt()[:, None] + bias


def _labelled(rows: Sequence[LabelledRow], *, any_label: bool) -> Iterator[tuple[str, FloatArray]]:
    known = known_labels(rows, any_label=any_label)
    for row in rows:
        if isinstance(row, SentimentRow) and (text := cleaned(row.text)):
            yield text, label_gold(row, known)


def _nothing() -> CharacterNgrams:
    labels = len(SENTIMENT_LABELS)
    return CharacterNgrams(np.zeros((2**BITS, labels), np.float32), [0.0] * labels, (1.0, 0.0))
