"""Trains the ranker on texts that the tagger did not learn from.

A tagger is more confident on its training texts than on others, so its scores there would mislead
the weights. Besides the validation texts, each half of the training texts is therefore tagged by a
tagger that learned from the other half (stacking, Wolpert 1992).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from schema.outcomes import Failure
from worker.pipeline import Pipeline
from worker.pipeline.analysis import in_this_thread, predicted, values
from worker.pipeline.keyword_counts import ByteArray, HashArray, KeywordCounts, hash_of, stored
from worker.pipeline.phrase_features import Features, features
from worker.pipeline.phrase_hashes import NO_BUCKET
from worker.pipeline.phrases import layout_of
from worker.pipeline.ranker import MOST_PHRASES, Ranker, Weights
from worker.pipeline.records import FloatArray, Layout, Phrase, TokenizedDocument
from worker.pipeline.tokenize import parts_of
from worker.training.cleaning import cleaned
from worker.training.measures import folded, present_keywords
from worker.training.rows import KeywordsRow
from worker.training.sampling import draw_of

UNITS: Final = 64
EPOCHS: Final = 15
BATCH: Final = 512
RATE: Final = 0.01
DECAY: Final = 0.1
BUCKETS_RATE: Final = 0.001
BUCKETS_DECAY: Final = 1.0
"""Strong, because most buckets are seen only a few times."""
UNSEEN: Final = 0.25
"""Share of documents that are also shown as if their field had not been in the training texts."""
UNTITLED: Final = 0.5
"""Share of documents with a title that are shown as if they had none: not every text has one."""
SLICE: Final = 512
"""Number of documents analysed at a time."""


class RankerRows(NamedTuple):
    """The rows from which a ranker learns, beside the phrases of one tagger.

    Attributes:
        counted: all that the tagger may learn from, each row once; words are counted in them.
        new: rows that the tagger does not learn from, a set per source; some may be empty.
    """

    counted: Sequence[KeywordsRow]
    new: Sequence[Sequence[KeywordsRow]]


class Tagger(NamedTuple):
    """A tagger from whose phrases a ranker learns.

    Attributes:
        pipeline: a keywords pipeline without a ranker.
        rows: the rows that it was trained on, and others.
    """

    pipeline: Pipeline
    rows: RankerRows


class LabelledPhrases(NamedTuple):
    """The phrases of one document with their gold.

    Attributes:
        views: features of the phrases; some documents have a second view, without counts.
        gold: 1 for a keyword, (phrases,).
        missed: number of keywords that are not among the phrases.
    """

    views: Sequence[Features]
    gold: FloatArray
    missed: int


def fit_ranker(taggers: Sequence[Tagger], seed: int) -> Ranker | None:
    """Count words and keywords in the training rows; learn weights from rows new to a tagger.

    Args:
        taggers: first the tagger whose phrases will be ranked; all have the same sources.
        seed: the same seed and data give the same ranker.

    Returns:
        The ranker; None if no tagger finds a phrase in any text with keywords.
    """
    counts = [count(tagger.rows.counted) for tagger in taggers]
    labelled = [
        [label_phrases(tagger.pipeline, rows, known) for rows in tagger.rows.new]
        for tagger, known in zip(taggers, counts, strict=True)
    ]
    sets = [[item for part in parts for item in part] for parts in zip(*labelled, strict=True)]
    filled = [items for items in sets if items]
    if not filled:
        return None
    missed = [item.missed for items in labelled[0] for item in items] or [0]
    return Ranker(counts[0], fit_weights(filled, float(np.mean(missed)), seed))


def count(rows: Iterable[KeywordsRow]) -> KeywordCounts:
    """Count words and keywords in texts."""
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
    return KeywordCounts(
        np.array([len(texts)], dtype=np.float32),
        *_table(frequent, word_texts, word_keys),
        *_table(keys, phrase_texts, keys),
    )


def label_phrases(
    pipeline: Pipeline, rows: Sequence[KeywordsRow], counts: KeywordCounts
) -> list[LabelledPhrases]:
    """The phrases of each row in which a keyword occurs and a phrase was found."""
    labelled = []
    for first in range(0, len(rows), SLICE):
        block = rows[first : first + SLICE]
        documents = predicted(pipeline, [row.text for row in block], in_this_thread(pipeline))
        for row, item in zip(block, documents, strict=True):
            gold = present_keywords(row)
            if isinstance(item, Failure) or not gold:
                continue
            layout = layout_of(item.document, row.text)
            phrases = pipeline.phrases(item.document, values(item.answers), layout)[:MOST_PHRASES]
            if phrases:
                hits = [folded(phrase.text) in gold for phrase in phrases]
                views = _views(item.document, phrases, layout, counts)
                missed = max(len(gold) - sum(hits), 0)
                labelled.append(LabelledPhrases(views, np.array(hits, dtype=np.float32), missed))
    return labelled


def _views(
    document: TokenizedDocument, phrases: Sequence[Phrase], layout: Layout, counts: KeywordCounts
) -> list[Features]:
    text = layout.original
    shown = layout._replace(title=0) if draw_of(f"untitled: {text}") < UNTITLED else layout
    unseen = [counts.without()] if draw_of(f"unseen: {text}") < UNSEEN else []
    return [features(document, phrases, shown, known) for known in (counts, *unseen)]


def fit_weights(sets: Sequence[Sequence[LabelledPhrases]], missed: float, seed: int) -> Weights:
    """Learn the network by cross-entropy.

    Args:
        sets: the documents of each source, at least one each; a source's weight is the square root
            of its size.
        missed: see `Weights`.
        seed: decides the first weights and the order of batches.
    """
    shown = [
        (view, item.gold, len(items) ** -0.5)
        for items in sets
        for item in items
        for view in item.views
    ]
    dense = np.concatenate([view.dense for view, _, _ in shown])
    mean = dense.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = dense.std(axis=0, dtype=np.float64).astype(np.float32) + np.float32(1e-3)
    weight = np.concatenate([np.full(len(gold), share) for _, gold, share in shown])
    layers = _fitted(
        torch.from_numpy(((dense - mean) / scale).clip(-4, 4)),
        torch.from_numpy(np.concatenate([view.buckets for view, _, _ in shown]).astype(np.int32)),
        torch.from_numpy(np.concatenate([gold for _, gold, _ in shown])),
        torch.from_numpy((weight / weight.mean()).astype(np.float32)),
        seed,
    )
    return Weights(
        mean=mean,
        scale=scale,
        hidden=_array(layers.hidden.weight.T),
        hidden_bias=_array(layers.hidden.bias),
        output=_array(layers.output.weight[0]),
        output_bias=_array(layers.output.bias),
        buckets=_array(layers.buckets.weight[:, 0]),
        missed=np.array([missed], dtype=np.float32),
    )


class _Network(nn.Module):
    """The network that `Weights` computes."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, UNITS)
        self.output = nn.Linear(UNITS, 1)
        self.buckets = nn.EmbeddingBag(NO_BUCKET + 1, 1, mode="sum", padding_idx=NO_BUCKET)
        nn.init.zeros_(self.buckets.weight)

    def forward(self, dense: Tensor, buckets: Tensor) -> Tensor:
        deep: Tensor = self.output(torch.tanh(self.hidden(dense)))
        wide: Tensor = self.buckets(buckets)
        return (deep + wide)[:, 0]


def _fitted(dense: Tensor, buckets: Tensor, gold: Tensor, weight: Tensor, seed: int) -> _Network:
    torch.manual_seed(seed)
    network = _Network(dense.shape[1])
    deep = [*network.hidden.parameters(), *network.output.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": deep, "weight_decay": DECAY},
            {"params": network.buckets.parameters(), "weight_decay": BUCKETS_DECAY},
        ]
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [RATE, BUCKETS_RATE], total_steps=EPOCHS * -(-len(dense) // BATCH)
    )
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(dense)), BATCH):
            losses = functional.binary_cross_entropy_with_logits(
                network(dense[rows], buckets[rows]), gold[rows], weight[rows]
            )
            optimizer.zero_grad()
            torch.autograd.backward(losses)
            optimizer.step()
            schedule.step()
    return network


def _array(value: Tensor) -> FloatArray:
    return np.ascontiguousarray(value.detach().numpy(), dtype=np.float32)


def _standing(parts: Sequence[str], by_first: dict[str, list[str]]) -> set[str]:
    """The keywords of any text that occur in this one, starting at a word boundary."""
    text, at = "".join(parts), 0
    standing: set[str] = set()
    for part in parts:
        standing.update(key for key in by_first.get(part, ()) if text.startswith(key, at))
        at += len(part)
    return standing


def _table(
    entries: Iterable[str], first: Counter[str], second: Counter[str]
) -> tuple[HashArray, ByteArray, ByteArray]:
    """The hashes of entries, ascending, and two counts of each; of equal hashes the larger ones."""
    counted: dict[int, tuple[int, int]] = {}
    for entry in entries:
        key = hash_of(entry)
        known = counted.get(key, (0, 0))
        counted[key] = max(known[0], first[entry]), max(known[1], second[entry])
    hashes = sorted(counted)
    values = np.array([counted[key] for key in hashes], dtype=np.int64).reshape(-1, 2)
    return np.array(hashes, dtype=np.uint32), stored(values[:, 0]), stored(values[:, 1])
