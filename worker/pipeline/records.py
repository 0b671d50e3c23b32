"""What the pipeline's stages hand to each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from schema.errors import DocumentError
from schema.outcomes import Language

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]

PAD: Final = 0
"""Token id that pads a micro-batch; no text contains it."""


@dataclass(frozen=True, slots=True)
class CleanText:
    """A document as the model sees it, and where each of its characters came from.

    Attributes:
        text: cleaned text.
        language: language of the document.
        starts: for each character of `text`, where its source begins in the original text;
            None if cleaning moved nothing.
        ends: for each character of `text`, where its source ends in the original text.
    """

    text: str
    language: Language
    starts: IntArray | None = None
    ends: IntArray | None = None

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Map a non-empty span of the cleaned text to the original text."""
        if self.starts is None or self.ends is None:
            return start, end
        return int(self.starts[start]), int(self.ends[end - 1])


@dataclass(frozen=True, slots=True)
class TokenizedDocument:
    """A document cut into tokens and windows.

    Attributes:
        clean: the text that was tokenized.
        ids: vocabulary entry of each token, (tokens,).
        starts: where each token begins in `clean.text`, (tokens,); empty unless spans were
            wanted.
        ends: where each token ends in `clean.text`, (tokens,); empty if `starts` is.
        words: number of the word that each token is part of, (tokens,); empty if `starts` is.
        windows: token ranges `[first, last)` that cover the document, in order; consecutive ones
            overlap.
    """

    clean: CleanText
    ids: IntArray
    starts: IntArray
    ends: IntArray
    words: IntArray
    windows: Sequence[tuple[int, int]]

    def window_ids(self) -> list[IntArray]:
        """The token ids of each window, each (tokens of the window,)."""
        return [self.ids[first:last] for first, last in self.windows]

    def window_bounds(self, number: int) -> tuple[int, int]:
        """Where a window lies in `clean.text`, half-open.

        A document's only window is the whole text. If there are several, each reaches from its
        first token to its last, so the document must have `starts` and `ends`.
        """
        if len(self.windows) == 1:
            return 0, len(self.clean.text)
        first, last = self.windows[number]
        return int(self.starts[first]), int(self.ends[last - 1])

    def window_texts(self) -> Iterator[str]:
        """The cleaned text of each window; see `window_bounds`."""
        for start, end in map(self.window_bounds, range(len(self.windows))):
            yield self.clean.text[start:end]

    def first_window(self) -> IntArray:
        """The token ids of the first window, (tokens of the window,)."""
        return self.ids[slice(*self.windows[0])]


class Layout(NamedTuple):
    """How a document was laid out, which its cleaned text does not show.

    Attributes:
        original: the text before it was cleaned.
        title: length of the title in the cleaned text; 0 if there is none.
        ends: where the title and each paragraph end in the cleaned text, ascending.
    """

    original: str
    title: int = 0
    ends: Sequence[int] = ()


class Candidate(NamedTuple):
    """A possible keyword: tokens `[first, last)` of a window, and its probability."""

    first: int
    last: int
    score: float


class Encoded(NamedTuple):
    """A micro-batch of windows as the encoder leaves it.

    Attributes:
        ids: token ids, (windows, time).
        states: one per token, (windows, time, states).
        mask: True for tokens, (windows, time).
    """

    ids: Tensor
    states: Tensor
    mask: Tensor


class Generated(NamedTuple):
    """A generated phrase: vocabulary entries of each of its words, and its score."""

    words: tuple[tuple[int, ...], ...]
    score: float


class Phrase(NamedTuple):
    """A possible keyword of a document.

    Attributes:
        text: as it reads in the cleaned text.
        score: probability that it is a keyword.
        best: highest probability among its occurrences.
        proposed: number of occurrences that the model proposes.
        first: where the first of these begins in the cleaned text.
        last: where that one ends.
    """

    text: str
    score: float
    best: float
    proposed: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Cut:
    """How many phrases of a document are returned.

    Attributes:
        limit: most phrases to return.
        threshold: lowest score of a phrase.
        missed: average number of keywords that a document has besides its phrases. If set, as many
            are returned as promise the highest F1: `2 ∑ₖ p / (k + ∑ p + missed)`. If None, all are.
    """

    limit: int
    threshold: float
    missed: float | None = None


Prediction = FloatArray | list[Candidate] | list[Generated]
"""What a model predicts for one window: label probabilities (labels,), keyword candidates, or
phrases that need not occur in it."""

Answer = Prediction | DocumentError
"""A prediction, or the error of a window that fails even alone."""
