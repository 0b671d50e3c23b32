"""Counts of words and phrases in the training texts for keywords."""

from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from worker.pipeline.records import FloatArray

STEPS: Final = 12
"""Steps of a stored count from one power of two to the next."""

ByteArray = NDArray[np.uint8]
HashArray = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class KeywordCounts:
    """Counts of words and phrases in the training texts; a missing hash counts 0.

    Attributes:
        texts: number of training texts, (1,).
        word_hashes: hashes of the words that are counted, ascending, (words,).
        word_texts: number of texts in which each occurs, (words,), as `stored`.
        word_keys: number of texts in which each is part of a keyword, (words,), as `stored`.
        phrase_hashes: hashes of the training keywords, ascending, (phrases,).
        phrase_texts: number of texts in which each occurs, (phrases,), as `stored`.
        phrase_keys: number of texts of which each is a keyword, (phrases,), as `stored`.
    """

    texts: FloatArray
    word_hashes: HashArray
    word_texts: ByteArray
    word_keys: ByteArray
    phrase_hashes: HashArray
    phrase_texts: ByteArray
    phrase_keys: ByteArray

    def without(self) -> "KeywordCounts":
        """The same without any counts: what a document of an unseen field would find."""
        hashes, steps = np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.uint8)
        return KeywordCounts(self.texts, hashes, steps, steps, hashes, steps, steps)


def hash_of(text: str) -> int:
    """The hash under which a word or phrase is counted."""
    return crc32(text.encode(errors="surrogatepass"))


def stored(counts: NDArray[np.int64]) -> ByteArray:
    """Counts, (n,), as uint8 steps of their logarithm; see `STEPS`."""
    steps: ByteArray = np.minimum(np.rint(STEPS * np.log2(1 + counts)), 255).astype(np.uint8)
    return steps


def look_up(hashes: HashArray, known: HashArray, *steps: ByteArray) -> list[NDArray[np.float64]]:
    """The counts of each hash, in the shape of `hashes`, for each array of `steps`."""
    if not len(known):
        return [np.zeros(hashes.shape) for _ in steps]
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    is_known = known[at] == hashes
    return [np.where(is_known, np.exp2(each[at] / STEPS) - 1, 0.0) for each in steps]
