"""A text under repair that remembers where each of its characters came from."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from worker.pipeline.records import IntArray


class Edit(NamedTuple):
    """Replaces the non-empty range `[first, last)` of a text with `put`, possibly nothing."""

    first: int
    last: int
    put: str


class AlignedText:
    """A text and, once something moved, the source range of each character.

    Attributes:
        text: the text in its current form.
        starts: source start of each character, (characters,); None while nothing moved.
        ends: source end of each character, (characters,); None while nothing moved.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts: IntArray | None = None
        self.ends: IntArray | None = None

    def substitute(self, pattern: re.Pattern[str], replace: Callable[[str], str]) -> None:
        """Replace every match; each inserted character maps to the whole match.

        Args:
            pattern: what to look for; must not match the empty string.
            replace: maps a match to what takes its place, possibly nothing.
        """
        self.apply(
            [
                Edit(*match.span(), put)
                for match in pattern.finditer(self.text)
                if (put := replace(match[0])) != match[0]
            ]
        )

    def strip(self) -> None:
        """Drop blanks at both ends."""
        left = len(self.text) - len(self.text.lstrip())
        right = len(self.text.rstrip())
        outside = Edit(0, left, ""), Edit(right, len(self.text), "")
        self.apply([edit for edit in outside if edit.first < edit.last])

    def apply(self, edits: Sequence[Edit]) -> None:
        """Carry out edits, which are in order and do not overlap.

        Each inserted character maps to the whole source of the range that it replaces.
        """
        if not edits:
            return
        starts, ends = self._sources()
        firsts = np.array([edit.first for edit in edits])
        lasts = np.array([edit.last for edit in edits])
        copies = self._kept(firsts, lasts)
        lengths = [len(edit.put) for edit in edits]
        # A replacement takes its start from the first replaced character, its end from the last.
        copies[firsts] = lengths
        self.starts = np.repeat(starts, copies)
        copies[firsts] = 0
        copies[lasts - 1] = lengths
        self.ends = np.repeat(ends, copies)
        self.text = self._spliced(edits)

    def _sources(self) -> tuple[IntArray, IntArray]:
        if self.starts is not None and self.ends is not None:
            return self.starts, self.ends
        starts = np.arange(len(self.text), dtype=np.int32)
        return starts, starts + np.int32(1)

    def _kept(self, firsts: IntArray, lasts: IntArray) -> IntArray:
        """1 for each character outside all ranges, 0 inside, (characters,)."""
        borders = np.zeros(len(self.text) + 1, dtype=np.int32)
        borders[0] = 1
        borders[firsts] -= 1
        borders[lasts] += 1
        return np.cumsum(borders[:-1], dtype=np.int32)

    def _spliced(self, edits: Sequence[Edit]) -> str:
        pieces: list[str] = []
        at = 0
        for first, last, put in edits:
            pieces += (self.text[at:first], put)
            at = last
        return "".join((*pieces, self.text[at:]))
