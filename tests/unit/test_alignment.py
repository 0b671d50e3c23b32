"""Edits of a text that keep the source of each character."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import any_texts
from worker.pipeline.alignment import AlignedText, Edit

Placed = list[tuple[str, int, int]]
"""Characters, each with the start and end of its source."""


def placed(aligned: AlignedText) -> Placed:
    """The characters of `aligned` with their sources."""
    if aligned.starts is None or aligned.ends is None:
        return [(character, at, at + 1) for at, character in enumerate(aligned.text)]
    sources = zip(aligned.starts.tolist(), aligned.ends.tolist(), strict=True)
    return [(character, *source) for character, source in zip(aligned.text, sources, strict=True)]


def edited(text: Placed, edits: list[Edit]) -> Placed:
    """The same as `AlignedText.apply`, one character at a time."""
    result: Placed = []
    at = 0
    for first, last, put in edits:
        source = text[first][1], text[last - 1][2]
        result += text[at:first] + [(character, *source) for character in put]
        at = last
    return result + text[at:]


def edits_of(text: str) -> st.SearchStrategy[list[Edit]]:
    """Edits of `text`, in order, possibly adjacent."""
    borders = st.lists(st.integers(0, len(text)), unique=True, max_size=8).map(sorted)
    pieces = st.lists(st.text("xyz", max_size=3), min_size=4, max_size=4)
    return st.tuples(borders, pieces, st.booleans()).map(
        lambda drawn: [
            Edit(first, last, put)
            for (first, last), put in zip(
                zip(drawn[0][int(drawn[2]) :: 2], drawn[0][1 + int(drawn[2]) :: 2], strict=False),
                drawn[1],
                strict=False,
            )
        ]
    )


@given(any_texts, st.data())
def test_edits_over_edits_keep_each_characters_source(text: str, data: st.DataObject) -> None:
    """Without it a span of the cleaned text would point to the wrong part of the original."""
    aligned = AlignedText(text)
    expected = placed(aligned)

    for _ in range(3):
        edits = data.draw(edits_of(aligned.text))
        expected = edited(expected, edits)
        aligned.apply(edits)

        assert placed(aligned) == expected


def test_neighbouring_edits_do_not_mix() -> None:
    """Without it a repaired character would include its neighbour's source."""
    aligned = AlignedText("abcd")

    aligned.apply([Edit(0, 2, "x"), Edit(2, 3, ""), Edit(3, 4, "yz")])

    assert placed(aligned) == [("x", 0, 2), ("y", 3, 4), ("z", 3, 4)]


def test_what_is_put_in_stands_for_the_whole_match() -> None:
    """Without it a span could begin or end inside the text that was replaced."""
    aligned = AlignedText("fish &amp; chips")

    aligned.substitute(re.compile("&amp;"), lambda _: "&")

    assert aligned.text == "fish & chips"
    assert placed(aligned)[5:7] == [("&", 5, 10), (" ", 10, 11)]


def test_a_text_without_matches_stays_unmapped() -> None:
    """Without it ordinary documents would pay for an offset map that they do not need."""
    aligned = AlignedText("plain")

    aligned.substitute(re.compile("x"), lambda _: "y")
    aligned.substitute(re.compile("p"), lambda found: found)
    aligned.strip()

    assert aligned.starts is None
    assert aligned.ends is None


@pytest.mark.parametrize("text", ["", " ", "  \n", " a b ", "a ", " a"])
def test_stripping_keeps_the_sources_of_the_rest(text: str) -> None:
    """Without it every span of a text that begins with a blank would be shifted."""
    aligned = AlignedText(text)

    aligned.strip()

    assert aligned.text == text.strip()
    assert [text[start:end] for _, start, end in placed(aligned)] == list(aligned.text)


def test_sources_are_small_integers() -> None:
    """Without it the offset map of a document would take twice the memory."""
    aligned = AlignedText("a  b")

    aligned.substitute(re.compile(" +"), lambda _: " ")

    assert aligned.starts is not None
    assert aligned.ends is not None
    assert aligned.starts.dtype == aligned.ends.dtype == np.int32
