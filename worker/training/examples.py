"""Turns labelled rows into what a training step takes: token ids and gold."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schema.errors import DocumentError
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS, SentimentLabel
from worker.pipeline.crf import BEGIN, INSIDE
from worker.pipeline.decoders import UNKNOWN
from worker.pipeline.phrases import occurrences_of
from worker.pipeline.preprocess import preprocess
from worker.pipeline.records import FloatArray, IntArray, TokenizedDocument
from worker.pipeline.tokenize import Tokenizer
from worker.training.cleaning import cleaned
from worker.training.rows import (
    KeywordsRow,
    LabelledRow,
    ModerationRow,
    Row,
    SentimentRow,
    TaughtModerationRow,
    TaughtSentimentRow,
)

WINDOW: Final = 256
"""Most tokens of a window."""
OVERLAP: Final = 32
"""Tokens that neighbouring windows share."""

SOFT_SHARE: Final = 0.7
"""Share of a teacher's soft labels in the gold; the rest is the label that people gave."""

GoldArray = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Example:
    """One window with its gold.

    Attributes:
        ids: token ids, (tokens,).
        gold: in the shape that the network learns from: (labels,), (tokens,) or (phrases, steps).
    """

    ids: IntArray
    gold: GoldArray | IntArray | FloatArray


def examples(
    rows: Sequence[LabelledRow], tokenizer: Tokenizer, *, any_label: bool = False
) -> Iterator[Example]:
    """Encode the rows of one source; rows that hold nothing to learn from are left out.

    A label that no sentiment row of the source has is `UNKNOWN`, see `softmax_loss`: reviews
    collected without neutral ones hardly show that reviews are never neutral. With `any_label` all
    are known: the people who labelled the rows could have given every label.
    """
    known = known_labels(rows, any_label=any_label)
    for row in rows:
        try:
            document = tokenizer.tokenize(
                preprocess(row.text),
                spans=isinstance(row, KeywordsRow),
                window=WINDOW,
                overlap=OVERLAP,
            )
        except DocumentError:  # nothing is left of the text after cleaning
            continue
        if isinstance(row, KeywordsRow):
            yield from _tagged_windows(document, row.keywords)
        else:
            yield Example(document.window_ids()[0], label_gold(row, known))


def known_labels(rows: Iterable[Row], *, any_label: bool = False) -> set[SentimentLabel]:
    """The sentiment labels that a source uses, or all with `any_label`; see `examples`."""
    if any_label:
        return set(SENTIMENT_LABELS)
    return {row.label for row in rows if isinstance(row, SentimentRow)}


def label_gold(row: SentimentRow | ModerationRow, known: set[SentimentLabel]) -> FloatArray:
    """One number per label, as the decoder of the task takes them, (labels,).

    Args:
        row: may hold a teacher's soft labels.
        known: see `known_labels`.
    """
    return _sentiment(row, known) if isinstance(row, SentimentRow) else _moderation(row)


def _sentiment(row: SentimentRow, known: set[SentimentLabel]) -> FloatArray:
    """With soft labels all are known: the teacher also judges labels that the source lacks."""
    hard = np.array([label == row.label for label in SENTIMENT_LABELS], dtype=np.float32)
    if isinstance(row, TaughtSentimentRow):
        return _mixed(hard, [row.soft.get(label, 0) for label in SENTIMENT_LABELS])
    return _with_unknown(hard, [label in known for label in SENTIMENT_LABELS])


def _moderation(row: ModerationRow) -> FloatArray:
    """Labels that the source does not annotate stay unknown, whatever a teacher guesses."""
    gold = np.array([label in row.labels for label in MODERATION_LABELS], dtype=np.float32)
    if isinstance(row, TaughtModerationRow):
        gold = _mixed(gold, [row.soft.get(label, 0) for label in MODERATION_LABELS])
    annotated = row.annotated | row.labels
    return _with_unknown(gold, [label in annotated for label in MODERATION_LABELS])


def _mixed(hard: FloatArray, soft: Sequence[float]) -> FloatArray:
    return SOFT_SHARE * np.array(soft, dtype=np.float32) + (1 - SOFT_SHARE) * hard


def _with_unknown(gold: FloatArray, known: Sequence[bool]) -> FloatArray:
    return np.where(known, gold, np.float32(UNKNOWN))


def _tagged_windows(document: TokenizedDocument, keywords: Iterable[str]) -> Iterator[Example]:
    """The windows in which a keyword occurs.

    A window without one does not show that it has no keywords: most sources list only a few of
    many, often in other words than the text's.
    """
    tags = _tags(document, keywords)
    for (first, last), ids in zip(document.windows, document.window_ids(), strict=True):
        window = tags[first:last].copy()
        if window[0] == INSIDE:
            window[: np.argmax(np.append(window, 0) != INSIDE)] = 0
        if window.any():
            yield Example(ids, window)


def _tags(document: TokenizedDocument, keywords: Iterable[str]) -> GoldArray:
    """BIO tags of the tokens; if keywords overlap, the longest wins."""
    tags = np.zeros(len(document.ids), dtype=np.int8)
    first_at = {start: token for token, start in enumerate(document.starts.tolist())}
    last_at = {end: token + 1 for token, end in enumerate(document.ends.tolist())}
    phrases = sorted({*map(cleaned, keywords)} - {""})  # a set has no order
    for phrase in sorted(phrases, key=len, reverse=True):
        for start, end in occurrences_of(document.clean.text, phrase):
            first, last = first_at.get(start), last_at.get(end)
            if first is not None and last is not None and not tags[first:last].any():
                tags[first:last] = INSIDE
                tags[first] = BEGIN
    return tags
