"""Hashes of the words of a document's phrases, and of what stands at their borders."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.pipeline.keyword_counts import HashArray, hash_of
from worker.pipeline.records import IntArray, Phrase, TokenizedDocument

KINDS: Final = (
    "first word",
    "last word",
    "before",
    "after",
    "first two characters",
    "last character",
    "last two characters",
    "last three characters",
)
"""The parts of a phrase that are hashed, in this order."""

BUCKETS: Final = 2**15
"""Number of buckets for `KINDS`; parts in the same bucket share its weight."""

NO_BUCKET: Final = BUCKETS
"""Bucket of parts of which the training texts say nothing."""


class PhraseWords(NamedTuple):
    """The words of a document, and which of them make up each phrase.

    Attributes:
        starts: where each word begins in the cleaned text, (words,).
        ends: where each word ends, (words,).
        first: first word of each phrase, (phrases,).
        last: the word after the last word of each phrase, (phrases,).
    """

    starts: IntArray
    ends: IntArray
    first: NDArray[np.intp]
    last: NDArray[np.intp]


def words_of(document: TokenizedDocument, phrases: Sequence[Phrase]) -> PhraseWords:
    """The words of a document, with spans, and of at least one phrase."""
    firsts = np.flatnonzero(np.diff(document.words, prepend=-1))
    lasts = np.append(firsts[1:], len(document.words)) - 1
    starts, ends = document.starts[firsts], document.ends[lasts]
    first = np.searchsorted(starts, [phrase.first for phrase in phrases], side="right") - 1
    last = np.searchsorted(ends, [phrase.last for phrase in phrases], side="left") + 1
    return PhraseWords(starts, ends, first, last)


def buckets_of(text: str, phrases: Sequence[Phrase], words: PhraseWords) -> HashArray:
    """The buckets of `KINDS` (feature hashing, Weinberger et al. 2009), (phrases, kinds).

    The words before and after the phrase include the blank or sign that parts them from it, so that
    they show where a sentence or a title ends.
    """
    starts, ends = words.starts.tolist(), words.ends.tolist()
    rows = []
    for phrase, first, last in zip(phrases, words.first.tolist(), words.last.tolist(), strict=True):
        parts = (
            text[starts[first] : ends[first]],
            text[starts[last - 1] : ends[last - 1]],
            text[starts[max(first - 1, 0)] : phrase.first],
            text[phrase.last : ends[min(last, len(ends) - 1)]],
            phrase.text[:2],
            *(phrase.text[-size:] for size in (1, 2, 3)),
        )
        rows.append(
            [hash_of(f"{kind}: {part}") % BUCKETS for kind, part in zip(KINDS, parts, strict=True)]
        )
    return np.array(rows, dtype=np.uint32)


def word_hashes(text: str, words: PhraseWords) -> tuple[NDArray[np.bool_], HashArray]:
    """The words of each phrase, at least one: which columns are filled, and the hash in each.

    Both are (phrases, most words).
    """
    most = int((words.last - words.first).max())
    numbers = words.first[:, None] + np.arange(most)  # (phrases, most)
    inside = numbers < words.last[:, None]
    hashes = np.zeros(numbers.shape, dtype=np.uint32)
    known: dict[int, int] = {}
    for row, column in zip(*np.nonzero(inside), strict=True):
        word = int(numbers[row, column])
        if word not in known:
            known[word] = hash_of(text[words.starts[word] : words.ends[word]])
        hashes[row, column] = known[word]
    return inside, hashes
