"""A text under repair, that remembers where each of its characters came from."""

import re
from collections.abc import Callable

import numpy as np

from worker.pipeline.records import IntArray


class AlignedText:
    """A text and, once something moved, the source range of each character.

    Attributes:
        text: the text as it stands.
        starts: source start of each character, (characters,); None while nothing moved.
        ends: source end of each character, (characters,); None while nothing moved.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts: IntArray | None = None
        self.ends: IntArray | None = None

    def substitute(self, pattern: re.Pattern[str], replace: Callable[[str], str]) -> None:
        """Replace every match; each new character stands for the whole match.

        Args:
            pattern: what to look for; must not match the empty string.
            replace: maps a match to what takes its place, possibly nothing.
        """
        pieces: list[str] = []
        starts: list[IntArray] = []
        ends: list[IntArray] = []
        kept = 0
        for match in pattern.finditer(self.text):
            found = match[0]
            put = replace(found)
            if put == found:
                continue
            before, after = match.span()
            source = self._sources()
            pieces += (self.text[kept:before], put)
            starts += (source[0][kept:before], _repeat(source[0][before], len(put)))
            ends += (source[1][kept:before], _repeat(source[1][after - 1], len(put)))
            kept = after
        if kept:
            self.starts = np.concatenate([*starts, self._sources()[0][kept:]])
            self.ends = np.concatenate([*ends, self._sources()[1][kept:]])
            self.text = "".join((*pieces, self.text[kept:]))

    def strip(self) -> None:
        """Drop blanks at both ends."""
        left = len(self.text) - len(self.text.lstrip())
        right = len(self.text.rstrip())
        if left == 0 and right == len(self.text):
            return
        starts, ends = self._sources()
        self.text, self.starts, self.ends = (
            self.text[left:right],
            starts[left:right],
            ends[left:right],
        )

    def _sources(self) -> tuple[IntArray, IntArray]:
        if self.starts is None or self.ends is None:
            self.starts = np.arange(len(self.text), dtype=np.int32)
            self.ends = self.starts + np.int32(1)
        return self.starts, self.ends


def _repeat(value: np.int32, times: int) -> IntArray:
    return np.full(times, value, dtype=np.int32)
