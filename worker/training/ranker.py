"""Training of the ranker: counts from the training texts, weights from validation.

The tagger is surer of its own training texts than of others, so its scores there would mislead the
weights; the counts come from the training texts, so that on validation they are honest too.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from schema.outcomes import Failure
from worker.pipeline import Pipeline
from worker.pipeline.direct import predicted
from worker.pipeline.ranker import (
    MOST,
    ByteArray,
    Counts,
    HashArray,
    Ranker,
    Weights,
    features,
    hash_of,
    stored,
)
from worker.pipeline.records import FloatArray
from worker.pipeline.tokenize import parts_of
from worker.training.evaluate import fold, present_keywords
from worker.training.examples import cleaned
from worker.training.rows import KeywordsRow

UNITS: Final = 32
EPOCHS: Final = 15
BATCH: Final = 512
RATE: Final = 0.01
DECAY: Final = 0.1
UNSEEN: Final = 0.25
"""Share of documents that are also shown as if their field had not been in the training texts."""


class Judged(NamedTuple):
    """The phrases of one document with their gold.

    Attributes:
        seen: features, (phrases, features).
        unseen: the same without counts.
        gold: 1 for a keyword, (phrases,).
        missed: keywords that are no phrase.
    """

    seen: FloatArray
    unseen: FloatArray
    gold: FloatArray
    missed: int


def fit_ranker(
    pipeline: Pipeline,
    training: Iterable[KeywordsRow],
    sets: Sequence[Sequence[KeywordsRow]],
    seed: int,
) -> Ranker | None:
    """Count in the training rows and learn weights from validation.

    Args:
        pipeline: of keywords.
        training: all training rows.
        sets: validation rows of each source.
        seed: the same seed and data give the same ranker.

    Returns:
        None where the tagger proposes nothing in any validation row: there is nothing to rank.
    """
    counts = count(training)
    judged = [items for rows in sets if rows and (items := judge(pipeline, rows, counts))]
    return Ranker(counts, fit_weights(judged, seed)) if judged else None


def count(rows: Iterable[KeywordsRow]) -> Counts:
    """Count words and keywords of texts."""
    texts = [(parts_of(cleaned(row.text)), {*map(cleaned, row.keywords)} - {""}) for row in rows]
    keys = Counter(key for _, gold in texts for key in gold)
    by_first: dict[str, list[str]] = {}
    for key in keys:
        by_first.setdefault(parts_of(key)[0], []).append(key)
    word_texts: Counter[str] = Counter()
    word_keys: Counter[str] = Counter()
    phrase_texts: Counter[str] = Counter()
    for parts, gold in texts:
        word_texts.update(set(parts))
        word_keys.update({part for key in gold for part in parts_of(key)})
        phrase_texts.update(_standing(parts, by_first))
    frequent = {word for word, number in word_texts.items() if number > 1 or word_keys[word]}
    return Counts(
        np.array([len(texts)], dtype=np.float32),
        *_table(frequent, word_texts, word_keys),
        *_table(keys, phrase_texts, keys),
    )


def judge(pipeline: Pipeline, rows: Sequence[KeywordsRow], counts: Counts) -> list[Judged]:
    """The phrases of each row in which a keyword stands and a phrase was found."""
    judged = []
    for row, item in zip(rows, predicted(pipeline, [row.text for row in rows]), strict=True):
        gold = present_keywords(row)
        if isinstance(item, Failure) or not gold:
            continue
        document, phrases = item[0], pipeline.phrases(*item)[:MOST]
        if not phrases:
            continue
        hits = [fold(phrase.text) in gold for phrase in phrases]
        judged.append(
            Judged(
                features(document, phrases, counts),
                features(document, phrases, counts.without()),
                np.array(hits, dtype=np.float32),
                max(len(gold) - sum(hits), 0),
            )
        )
    return judged


def fit_weights(sets: Sequence[Sequence[Judged]], seed: int) -> Weights:
    """Learn the network by cross-entropy.

    Args:
        sets: the judged documents of each source, at least one each; a source counts as the root
            of its size.
        seed: decides the first weights and every order.
    """
    documents = [item for items in sets for item in items]
    sizes = [len(items) for items in sets]
    shares = np.repeat(np.power(sizes, -0.5), sizes)
    generator = np.random.default_rng(seed)
    unseen = generator.random(len(documents)) < UNSEEN
    inputs = [item.seen for item in documents]
    gold = [item.gold for item in documents]
    weight = [np.full(len(item.gold), share) for item, share in zip(documents, shares, strict=True)]
    for place in np.flatnonzero(unseen):
        inputs.append(documents[place].unseen)
        gold.append(gold[place])
        weight.append(weight[place])
    values = np.concatenate(inputs)
    mean, scale = values.mean(axis=0), values.std(axis=0) + np.float32(1e-3)
    scaled = torch.from_numpy(((values - mean) / scale).clip(-4, 4))
    layers = _fitted(scaled, np.concatenate(gold), np.concatenate(weight), seed)
    return Weights(
        mean=mean,
        scale=scale,
        hidden=_array(layers.hidden.weight.T),
        hidden_bias=_array(layers.hidden.bias),
        output=_array(layers.output.weight[0]),
        output_bias=_array(layers.output.bias),
        missed=np.array([np.mean([item.missed for item in documents])], dtype=np.float32),
    )


class _Network(nn.Module):
    """What `Weights` computes."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, UNITS)
        self.output = nn.Linear(UNITS, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(torch.tanh(self.hidden(inputs)))
        return logits[:, 0]


def _fitted(
    inputs: torch.Tensor, gold: FloatArray, weight: NDArray[np.float64], seed: int
) -> _Network:
    torch.manual_seed(seed)
    network = _Network(inputs.shape[1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    steps = -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * steps)
    goal = torch.from_numpy(gold)
    each = torch.from_numpy((weight / weight.mean()).astype(np.float32))
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(inputs)), BATCH):
            losses = functional.binary_cross_entropy_with_logits(
                network(inputs[rows]), goal[rows], each[rows]
            )
            optimizer.zero_grad()
            torch.autograd.backward(losses)
            optimizer.step()
            schedule.step()
    return network


def _array(value: torch.Tensor) -> FloatArray:
    return np.ascontiguousarray(value.detach().numpy(), dtype=np.float32)


def _standing(parts: Sequence[str], by_first: dict[str, list[str]]) -> set[str]:
    """The keywords of any text that stand in this one, from word border on."""
    text, at = "".join(parts), 0
    found: set[str] = set()
    for part in parts:
        found.update(key for key in by_first.get(part, ()) if text.startswith(key, at))
        at += len(part)
    return found


def _table(
    entries: Iterable[str], one: Counter[str], other: Counter[str]
) -> tuple[HashArray, ByteArray, ByteArray]:
    """The hashes of entries, ascending, and what two counters say of each; the larger counts."""
    counted: dict[int, tuple[int, int]] = {}
    for entry in entries:
        key = hash_of(entry)
        known = counted.get(key, (0, 0))
        counted[key] = max(known[0], one[entry]), max(known[1], other[entry])
    hashes = sorted(counted)
    values = np.array([counted[key] for key in hashes], dtype=np.int64).reshape(-1, 2)
    return np.array(hashes, dtype=np.uint32), stored(values[:, 0]), stored(values[:, 1])
