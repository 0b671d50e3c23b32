"""Which words moved a score: how it changes when they are left out.

This is occlusion (Zeiler & Fergus 2014; Li et al. 2016) with the model that serves: each word of a
window, and each pair of neighbours, is left out in turn, and the score is computed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from schema.outcomes import (
    MODERATION_LABELS,
    SENTIMENT_LABELS,
    Evidence,
    ModerationResult,
    SentimentResult,
)
from worker.pipeline.records import FloatArray, IntArray, TokenizedDocument

MOST_UNITS: Final = 48
"""Most units that a window is divided into; if it has more words, units span several words."""

MOST_SPANS: Final = 5
"""Most spans that are returned for a label."""

LEAST_WEIGHT: Final = 0.01
"""Weights closer to 0 are not returned."""

DECIMALS: Final = 4


class Unit(NamedTuple):
    """Neighbouring words: tokens `[first, last)` of the document."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Occlusion:
    """What is left out of one document in turn, to see how its scores change.

    Attributes:
        scores: scores of the whole window, (labels,).
        units: single units in order, then each pair of neighbours.
        singles: how many of the units are single.
        windows: for each unit the token ids of the window without it, each (tokens,).
        texts: the cleaned text of each of `windows`.
    """

    scores: FloatArray
    units: Sequence[Unit]
    singles: int
    windows: Sequence[IntArray]
    texts: Sequence[str]


def occlude(
    result: SentimentResult | ModerationResult,
    document: TokenizedDocument,
    predictions: Sequence[FloatArray],
) -> Occlusion:
    """Leave units out of the window in which the result's first label scores highest.

    Args:
        result: the document's result.
        document: the document, with spans.
        predictions: a probability per label, (labels,), for each window.
    """
    label = next(iter(_chosen(result).values()))
    index = max(range(len(predictions)), key=lambda window: float(predictions[window][label]))
    first, last = document.windows[index]
    singles = _units(document, first, last)
    pairs = [Unit(left.first, right.last) for left, right in pairwise(singles)]
    # The model needs at least one token.
    units = [unit for unit in (*singles, *pairs) if unit.last - unit.first < last - first]
    ids = document.ids
    windows = [np.concatenate((ids[first:start], ids[end:last])) for start, end in units]
    count = len(singles) if len(units) > 1 else 0
    texts = [_without(document, document.window_bounds(index), unit) for unit in units]
    return Occlusion(predictions[index], units, count, windows, texts)


def with_explanation(
    result: SentimentResult | ModerationResult,
    document: TokenizedDocument,
    occlusion: Occlusion,
    occluded: Sequence[FloatArray],
) -> SentimentResult | ModerationResult:
    """A result with the spans that moved the score of its label.

    For moderation, each label that holds is explained, or if none does, the highest-scoring one.

    Args:
        result: the result without an explanation.
        document: the document, with spans.
        occlusion: what was left out of it.
        occluded: one prediction for each window of `occlusion`.
    """
    explanation = {
        label: evidence(document, occlusion, occluded, index)
        for label, index in _chosen(result).items()
    }
    return result.model_copy(update={"explanation": explanation})


def evidence(
    document: TokenizedDocument,
    occlusion: Occlusion,
    occluded: Sequence[FloatArray],
    label: int,
) -> list[Evidence]:
    """The spans that moved the score of a label most, strongest first.

    A pair of units is returned only if it moves the score by more than its two units together.

    Args:
        document: the document, with spans.
        occlusion: what was left out of it.
        occluded: one prediction for each window of `occlusion`.
        label: the label that is explained.
    """
    weights = [float(occlusion.scores[label] - scores[label]) for scores in occluded]
    singles = occlusion.singles
    single = dict(zip(occlusion.units[:singles], weights, strict=False))
    moved = dict(single)
    taken: set[Unit] = set()
    pairs = zip(occlusion.units[singles:], weights[singles:], strict=True)
    for pair, weight in sorted(pairs, key=lambda item: -abs(item[1])):
        parts = {unit for unit in single if pair.first <= unit.first and unit.last <= pair.last}
        if parts & taken or abs(weight) <= sum(abs(single[part]) for part in parts):
            continue
        taken |= parts
        moved = {unit: value for unit, value in moved.items() if unit not in parts}
        moved[pair] = weight
    strongest = sorted(moved, key=lambda unit: (-abs(moved[unit]), unit))[:MOST_SPANS]
    return [
        Evidence(span=_span(document, unit), weight=round(moved[unit], DECIMALS))
        for unit in strongest
        if abs(moved[unit]) >= LEAST_WEIGHT
    ]


def _chosen(result: SentimentResult | ModerationResult) -> dict[str, int]:
    """The labels that are explained, the one with the highest score first, and their indices."""
    if isinstance(result, SentimentResult):
        return {result.label: SENTIMENT_LABELS.index(result.label)}
    best = max(result.scores, key=lambda label: result.scores[label])
    return {label: MODERATION_LABELS.index(label) for label in result.labels or [best]}


def _units(document: TokenizedDocument, first: int, last: int) -> list[Unit]:
    words = document.words[first:last]
    borders = [first, *(first + 1 + np.flatnonzero(np.diff(words))).tolist(), last]
    step = -(-(len(borders) - 1) // MOST_UNITS)
    chosen = [*borders[:-1:step], last]
    return [Unit(start, end) for start, end in pairwise(chosen)]


def _without(document: TokenizedDocument, window: tuple[int, int], unit: Unit) -> str:
    """The cleaned text of a window without a unit; if two blanks meet then, one is dropped."""
    start, end = _bounds(document, unit)
    before, after = document.clean.text[window[0] : start], document.clean.text[end : window[1]]
    return before + (after.removeprefix(" ") if before.endswith(" ") else after)


def _span(document: TokenizedDocument, unit: Unit) -> tuple[int, int]:
    return document.clean.original_span(*_bounds(document, unit))


def _bounds(document: TokenizedDocument, unit: Unit) -> tuple[int, int]:
    """Where a unit is in the cleaned text."""
    return int(document.starts[unit.first]), int(document.ends[unit.last - 1])
