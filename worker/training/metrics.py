"""Measures of classifiers and of keyword lists; all are in [0, 1] unless said otherwise."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_BINS: Final = 15


def macro_f1(gold: Ints, predicted: Ints) -> float:
    """Mean F1 over the classes that occur in `gold`, both (rows,)."""
    return float(np.mean([f1(gold == label, predicted == label) for label in np.unique(gold)]))


def macro_recall(gold: Ints, predicted: Ints) -> float:
    """Mean recall over the classes that occur in `gold`, both (rows,)."""
    hits = gold == predicted
    return float(np.mean([hits[gold == label].mean() for label in np.unique(gold)]))


def precision_recall(gold: Bools, predicted: Bools) -> tuple[float, float]:
    """Precision and recall of yes/no decisions, both (rows,); 0 if undefined."""
    hits = int((gold & predicted).sum())
    return hits / max(int(predicted.sum()), 1), hits / max(int(gold.sum()), 1)


def f1(gold: Bools, predicted: Bools) -> float:
    """Harmonic mean of precision and recall; 0 if undefined."""
    return harmonic_mean(*precision_recall(gold, predicted))


def harmonic_mean(precision: float, recall: float) -> float:
    """F1 of a precision and a recall; 0 if both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def auc(gold: Bools, scores: Floats) -> float | None:
    """Area under the ROC curve: how often a positive outranks a negative; ties count half.

    Args:
        gold: (rows,).
        scores: (rows,), of any range.

    Returns:
        The area, or None if a class is missing.
    """
    positives, negatives = int(gold.sum()), int((~gold).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((rank[gold].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(gold: Ints, scores: Floats) -> float:
    """Mean negative log of the score of the gold class, in nats.

    Args:
        gold: class of each row, (rows,).
        scores: (rows, classes), rows sum to 1.
    """
    chosen = scores[np.arange(len(gold)), gold]
    return float(-np.log(np.clip(chosen, 1e-12, 1)).mean())


def calibration_error(hits: Bools, confidence: Floats) -> float:
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017).

    Args:
        hits: whether each claim holds, (claims,).
        confidence: the score of each claim, (claims,).
    """
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    total = sum(
        abs(float(hits[bins == bin_].mean()) - float(confidence[bins == bin_].mean()))
        * int((bins == bin_).sum())
        for bin_ in np.unique(bins)
    )
    return total / len(hits)


def f1_at(gold: set[str], ranked: Sequence[str], limit: int) -> float:
    """F1 of the best `limit` phrases against a non-empty gold set.

    Precision divides by the phrases that were given, not by `limit`: giving fewer is a choice too.
    """
    given = ranked[:limit]
    hits = len(gold.intersection(given))
    return harmonic_mean(hits / max(len(given), 1), hits / len(gold))
