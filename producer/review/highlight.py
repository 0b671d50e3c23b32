"""A text in pieces: spans marked, hidden characters made visible.

Strangers wrote the text. Characters that a reader does not see, or that reverse the text, are shown
by name and have no effect.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from schema.outcomes import Evidence, Keyword

LEVELS = 4
"""Number of strengths of a mark."""

_JOINERS = "\u200c\u200d"
"""Part of emoji and of some scripts; after ASCII or Chinese characters they only hide something."""

_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters and marks by their category, but nothing is seen of them."""


class Mark(NamedTuple):
    """A part of a text to mark.

    Attributes:
        start: first code point.
        end: code point after the last one.
        level: how strongly to mark it, 1 to `LEVELS`.
        against: whether it speaks against the label.
        title: what is shown to a person who points at it.
    """

    start: int
    end: int
    level: int
    against: bool
    title: str


class Part(NamedTuple):
    """Plain characters, or one hidden character by its name."""

    text: str
    hidden: str | None = None


class Piece(NamedTuple):
    """A run of the text under one mark, or under none."""

    parts: list[Part]
    mark: Mark | None


def of_keywords(keywords: Sequence[Keyword]) -> list[Mark]:
    """Marks for every place where a keyword occurs."""
    return [
        Mark(
            start,
            end,
            _level(keyword.score, 1),
            against=False,
            title=f"{keyword.text} {keyword.score:.2f}",
        )
        for keyword in keywords
        for start, end in keyword.spans
    ]


def of_evidence(evidence: Sequence[Evidence], label: str) -> list[Mark]:
    """Marks for what moved a score, relative to what moved it most."""
    most = max((abs(part.weight) for part in evidence), default=0)
    return [
        Mark(
            *part.span,
            _level(abs(part.weight), most),
            part.weight < 0,
            f"{label} {part.weight:+.2f}",
        )
        for part in evidence
        if part.weight
    ]


def pieces(text: str, marks: Sequence[Mark]) -> list[Piece]:
    """The text cut where marks begin and end; where they overlap, the strongest one counts."""
    within = [mark for mark in marks if mark.start < len(text)]
    cuts = {0, len(text)}
    for mark in within:
        cuts |= {mark.start, min(mark.end, len(text))}
    edges = sorted(cuts)
    begins = sorted(within, key=lambda mark: mark.start, reverse=True)
    running: list[Mark] = []
    found: list[Piece] = []
    for start, end in pairwise(edges):
        running = [mark for mark in running if mark.end > start]
        while begins and begins[-1].start <= start:
            running.append(begins.pop())
        strongest = max(running, key=lambda mark: mark.level, default=None)
        found.append(Piece(list(_parts(text, start, end)), strongest))
    return found


def parts(text: str) -> list[Part]:
    """A text without marks, such as a keyword, which is a part of what strangers wrote."""
    return list(_parts(text, 0, len(text)))


def _level(value: float, most: float) -> int:
    return max(1, min(LEVELS, ceil(LEVELS * value / most)))


def _parts(text: str, start: int, end: int) -> Iterator[Part]:
    plain = start
    for position in range(start, end):
        character = text[position]
        if not _is_hidden(text, position):
            continue
        if plain < position:
            yield Part(text[plain:position])
        yield Part(f"U+{ord(character):04X}", unicodedata.name(character, "control character"))
        plain = position + 1
    if plain < end:
        yield Part(text[plain:end])


def _is_hidden(text: str, position: int) -> bool:
    character = text[position]
    if character.isprintable():
        return character in _FILLERS
    if character in _JOINERS and position:
        before = text[position - 1]
        return before.isascii() or unicodedata.name(before, "").startswith("CJK")
    # Control, format, private use, unassigned; blanks are not printable either, but not hidden.
    return unicodedata.category(character) in ("Cc", "Cf", "Co", "Cn") and character not in "\n\t\r"
