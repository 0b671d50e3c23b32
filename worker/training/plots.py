"""Plots of a model's errors: confusion matrices, and how far its scores can be trusted."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from schema.documents import Task
from schema.errors import InputError
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS
from worker.pipeline import Pipeline
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS: Final = 10


class Matrix(NamedTuple):
    """Rows counted by gold (down) and decision (across), (classes, classes)."""

    title: str
    classes: tuple[str, ...]
    counts: metrics.Ints


class ScoredHits(NamedTuple):
    """Scores, and whether each was a hit: its label or phrase is gold; both (hits,)."""

    scores: metrics.Floats
    hits: metrics.Bools


def plot(pipeline: Pipeline, rows: Sequence[LabelledRow], path: Path) -> None:
    """Draw confusion matrices and a reliability diagram into one picture.

    Sentiment has one matrix of its classes, without documents that cannot be analysed; moderation
    has one per label, over the rows in which it is annotated; keywords have none. Points below the
    diagonal of the diagram are scores that promise more than they hold.

    Args:
        pipeline: the pipeline to plot.
        rows: rows of its task, at least one.
        path: path of the picture; its suffix decides the format.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        msg = "plots need matplotlib: install Textmill with its extra `plots`"
        raise InputError(msg) from error
    matrices, hits = findings(pipeline, rows)
    figure = Figure(figsize=(3.2 * (len(matrices) + 1), 3.4), layout="constrained")
    axes = figure.subplots(1, len(matrices) + 1, squeeze=False)[0]
    for place, matrix in zip(axes, matrices, strict=False):
        _draw_matrix(place, matrix)
    _draw_reliability(axes[-1], hits)
    figure.savefig(path, dpi=120)


def findings(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> tuple[list[Matrix], ScoredHits]:
    """What `plot` draws."""
    match pipeline.task:
        case Task.SENTIMENT:
            return _sentiment(pipeline, of_type(SentimentRow, rows))
        case Task.MODERATION:
            return _moderation(pipeline, of_type(ModerationRow, rows))
        case Task.KEYWORDS:
            return [], _keywords(pipeline, of_type(KeywordsRow, rows))


def _sentiment(pipeline: Pipeline, rows: Sequence[SentimentRow]) -> tuple[list[Matrix], ScoredHits]:
    scores = sentiment_scores(pipeline, rows)
    gold, best = sentiment_gold(rows), best_labels(scores)
    given = best >= 0
    counts = _counts(gold[given], best[given], len(SENTIMENT_LABELS))
    matrix = Matrix("polarity", SENTIMENT_LABELS, counts)
    return [matrix], ScoredHits(scores.max(axis=1), gold == best)


def _moderation(
    pipeline: Pipeline, rows: Sequence[ModerationRow]
) -> tuple[list[Matrix], ScoredHits]:
    scores = moderation_scores(pipeline, rows)
    holds, known = moderation_gold(rows)
    decisions = decided(scores, pipeline.thresholds)
    matrices = [
        Matrix(label, ("no", "yes"), _counts(holds[at, column], decisions[at, column], 2))
        for column, label in enumerate(MODERATION_LABELS)
        if (at := known[:, column]).any()
    ]
    return matrices, ScoredHits(scores[known], holds[known])


def _keywords(pipeline: Pipeline, rows: Sequence[KeywordsRow]) -> ScoredHits:
    pairs = [
        (score, phrase in gold)
        for row, (phrases, scores) in zip(rows, ranked_phrases(pipeline, rows), strict=True)
        if (gold := present_keywords(row))
        for phrase, score in zip(phrases, scores, strict=True)
    ]
    scores, hits = [score for score, _ in pairs], [hit for _, hit in pairs]
    return ScoredHits(np.array(scores, dtype=np.float64), np.array(hits, dtype=np.bool_))


def _counts(
    gold: metrics.Ints | metrics.Bools, decisions: metrics.Ints | metrics.Bools, classes: int
) -> metrics.Ints:
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (gold.astype(np.int64), decisions.astype(np.int64)), 1)
    return counts


def _draw_matrix(axes: "Axes", matrix: Matrix) -> None:
    shares = matrix.counts / np.maximum(matrix.counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(matrix.classes))
    axes.set_xticks(ticks, matrix.classes)
    axes.set_yticks(ticks, matrix.classes)
    axes.set(title=matrix.title, xlabel="decided", ylabel="gold")
    for row in ticks:
        for column in ticks:
            colour = "white" if shares[row, column] > 1 / 2 else "black"
            count = f"{matrix.counts[row, column]:,}"
            axes.text(column, row, count, ha="center", va="center", color=colour)


def _draw_reliability(axes: "Axes", hits: ScoredHits) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    bins = np.minimum((hits.scores * BINS).astype(int), BINS - 1)
    filled = np.unique(bins)
    mean = [float(hits.scores[bins == number].mean()) for number in filled]
    share = [float(hits.hits[bins == number].mean()) for number in filled]
    axes.plot(mean, share, marker="o")
    axes.set(
        title="reliability", xlabel="score", ylabel="share that holds", xlim=(0, 1), ylim=(0, 1)
    )
