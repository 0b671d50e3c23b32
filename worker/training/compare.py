"""Whether a candidate is better than its parent on feedback, and not worse elsewhere.

Both answer the same documents. The difference between their F1 is measured many times on documents
drawn from these with replacement, and the middle 95 % of the differences are the interval: the
paired bootstrap (Efron & Tibshirani 1993, chapter 13; for language processing Koehn 2004,
"Statistical significance tests for machine translation evaluation", and Berg-Kirkpatrick et al.
2012, "An empirical investigation of statistical significance in NLP").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from schema.base import Frozen
from schema.documents import Task
from schema.outcomes import SENTIMENT_LABELS
from worker.pipeline import Pipeline
from worker.pipeline.records import FloatArray
from worker.training import metrics
from worker.training.evaluate import moderation_scores, ranked_phrases, sentiment_scores
from worker.training.measures import (
    best_labels,
    decided,
    moderation_gold,
    present_keywords,
    sentiment_gold,
)
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow, of_type

TOLERANCE: Final = 0.01
"""F1 by which a candidate may be worse elsewhere; another seed changes more than that."""
DRAWS: Final = 2000
BEST: Final = 5
"""How many of a document's best keywords count."""

_BLOCK: Final = 100
_SEED: Final = 20261123


class Comparison(Frozen):
    """F1 of two models on the same documents.

    F1 is the mean over the labels that occur. For moderation, `clean` (no label holds) is one more
    label. For keywords, F1 is that of the best five, as the mean over documents.

    Attributes:
        documents: number of documents; for keywords, of those that contain one of their keywords.
        parent: F1 of the parent.
        candidate: F1 of the candidate.
        difference: candidate minus parent.
        low: lower end of the 95 % interval of the difference.
        high: upper end of that interval.
    """

    documents: int
    parent: float
    candidate: float
    difference: float
    low: float
    high: float


class Comparisons(Frozen):
    """Everything that decides whether a candidate is promoted.

    Attributes:
        feedback: the comparison on held-out feedback.
        elsewhere: the mean over the fixed test sets.
        sets: the comparison on each test set.
    """

    feedback: Comparison
    elsewhere: Comparison
    sets: dict[str, Comparison]

    @property
    def faults(self) -> list[str]:
        """What speaks against the candidate; empty if it is better.

        The interval on feedback must lie above 0, and the one on the mean of the test sets must not
        reach below `-TOLERANCE`. A single set counts against it only if its whole interval lies
        below `-TOLERANCE`: small sets cannot show more.
        """
        faults = []
        if self.feedback.low <= 0:
            faults.append(f"not surely better on held-out feedback: F1 {shown(self.feedback)}")
        if self.elsewhere.low < -TOLERANCE:
            faults.append(f"perhaps worse elsewhere: mean F1 {shown(self.elsewhere)}")
        faults += [
            f"worse on {name}: F1 {shown(compared)}"
            for name, compared in self.sets.items()
            if compared.high < -TOLERANCE
        ]
        return faults

    @property
    def reason(self) -> str:
        """Why the candidate is better, or why not."""
        return "; ".join(self.faults) or (
            f"better on held-out feedback: F1 {shown(self.feedback)};"
            f" not worse elsewhere: mean F1 {shown(self.elsewhere)}"
        )


class _Judged(Protocol):
    """The answers of a model beside the gold."""

    @property
    def documents(self) -> int:
        """How many documents count."""

    def f1(self, drawn: FloatArray) -> NDArray[np.float64]:
        """F1 for each row of `drawn`, how often each document was drawn, (draws, documents)."""


class _Labels(NamedTuple):
    """How far a model and the gold agree, each (documents, labels).

    Attributes:
        hit: labels that were given and are right.
        given: labels that were given.
        gold: labels that are right.
    """

    hit: FloatArray
    given: FloatArray
    gold: FloatArray

    @classmethod
    def of(cls, given: FloatArray, gold: FloatArray) -> "_Labels":
        """From labels, each of which is 1 if it holds and 0 if not."""
        return cls(given * gold, given, gold)

    @property
    def documents(self) -> int:
        """All documents."""
        return len(self.gold)

    def f1(self, drawn: FloatArray) -> NDArray[np.float64]:
        """Mean F1 of the labels that occur, (draws,)."""
        occurs = self.gold.any(axis=0)
        if not occurs.any():
            return np.zeros(len(drawn))
        hits = drawn @ self.hit[:, occurs]
        total = drawn @ (self.given + self.gold)[:, occurs]
        return np.asarray((2 * hits / np.maximum(total, 1)).mean(axis=1), dtype=np.float64)


class _Keywords(NamedTuple):
    """How good a model's keywords are, each (documents,).

    Attributes:
        counts: 1 if the document contains one of its gold keywords, else 0.
        scores: F1 of the best five; 0 if the document does not count.
    """

    counts: FloatArray
    scores: FloatArray

    @property
    def documents(self) -> int:
        """Those that count."""
        return int(self.counts.sum())

    def f1(self, drawn: FloatArray) -> NDArray[np.float64]:
        """Mean F1 of the documents that count, (draws,)."""
        mean = (drawn @ self.scores) / np.maximum(drawn @ self.counts, 1)
        return np.asarray(mean, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Two models on the same documents: their F1, and the F1 differences on drawn documents."""

    documents: int
    parent: float
    candidate: float
    differences: NDArray[np.float64]

    def compared(self) -> Comparison:
        low, high = np.quantile(self.differences, [0.025, 0.975])
        return Comparison(
            documents=self.documents,
            parent=self.parent,
            candidate=self.candidate,
            difference=self.candidate - self.parent,
            low=float(low),
            high=float(high),
        )


def compare(
    parent: Pipeline,
    candidate: Pipeline,
    feedback: Sequence[LabelledRow],
    sets: Mapping[str, Sequence[LabelledRow]],
) -> Comparisons:
    """Compare two models of a task.

    Args:
        parent: the model that serves.
        candidate: the model that might replace it.
        feedback: judged documents that neither has learned from, at least one.
        sets: rows of the fixed test sets, by name; at least one set, none without rows.
    """
    samples = {name: _sample(parent, candidate, rows, f"set {name}") for name, rows in sets.items()}
    return Comparisons(
        feedback=_sample(parent, candidate, feedback, "feedback").compared(),
        elsewhere=_mean(list(samples.values())).compared(),
        sets={name: sample.compared() for name, sample in samples.items()},
    )


def shown(compared: Comparison) -> str:
    """A comparison in a few words."""
    return (
        f"{compared.parent:.3f} → {compared.candidate:.3f}"
        f" ({compared.difference:+.3f}, 95 % {compared.low:+.3f} … {compared.high:+.3f},"
        f" {compared.documents:,} documents)"
    )


def _sample(
    parent: Pipeline, candidate: Pipeline, rows: Sequence[LabelledRow], name: str
) -> _Sample:
    """Compare on some rows; `name` decides the draws, so that sets of one size differ in them."""
    both = [_judged(pipeline, rows) for pipeline in (parent, candidate)]
    whole = np.ones((1, len(rows)), dtype=np.float32)
    rng = np.random.default_rng([_SEED, crc32(name.encode())])
    probabilities = np.full(len(rows), 1 / len(rows))
    differences = []
    for _ in range(0, DRAWS, _BLOCK):
        drawn = rng.multinomial(len(rows), probabilities, size=_BLOCK).astype(np.float32)
        before, after = (judged.f1(drawn) for judged in both)
        differences.append(after - before)
    old, new = (float(judged.f1(whole)[0]) for judged in both)
    return _Sample(both[0].documents, old, new, np.concatenate(differences))


def _mean(samples: Sequence[_Sample]) -> _Sample:
    """The mean over sets, which are drawn from independently."""
    return _Sample(
        sum(sample.documents for sample in samples),
        float(np.mean([sample.parent for sample in samples])),
        float(np.mean([sample.candidate for sample in samples])),
        np.mean([sample.differences for sample in samples], axis=0),
    )


def _judged(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> _Judged:
    match pipeline.task:
        case Task.SENTIMENT:
            gold = sentiment_gold(of_type(SentimentRow, rows))
            # The last row, which -1 names, has no label.
            one_hot = np.eye(len(SENTIMENT_LABELS) + 1, len(SENTIMENT_LABELS), dtype=np.float32)
            given = best_labels(sentiment_scores(pipeline, of_type(SentimentRow, rows)))
            return _Labels.of(one_hot[given], one_hot[gold])
        case Task.MODERATION:
            holds, known = moderation_gold(of_type(ModerationRow, rows))
            decisions = decided(moderation_scores(pipeline, rows), pipeline.thresholds) & known
            return _Labels.of(_with_clean(decisions), _with_clean(holds))
        case Task.KEYWORDS:
            return _keywords(pipeline, of_type(KeywordsRow, rows))


def _with_clean(holds: NDArray[np.bool_]) -> FloatArray:
    """Append a label that holds if none of the others does."""
    clean = ~holds.any(axis=1, keepdims=True)
    return np.concatenate([holds, clean], axis=1).astype(np.float32)


def _keywords(pipeline: Pipeline, rows: Sequence[KeywordsRow]) -> _Keywords:
    golds = [present_keywords(row) for row in rows]
    given = [phrases for phrases, _ in ranked_phrases(pipeline, rows)]
    scores = [
        metrics.f1_at(gold, phrases, BEST) if gold else 0.0
        for gold, phrases in zip(golds, given, strict=True)
    ]
    return _Keywords(np.array(list(map(bool, golds)), np.float32), np.array(scores, np.float32))
