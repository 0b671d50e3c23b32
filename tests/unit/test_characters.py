"""The tables of characters that cleaning folds or expands."""

import sys
import unicodedata

import pytest

from worker.pipeline.characters import expanding, folding

KEPT = {"…", "\ufdfa"}


def test_the_tables_leave_out_no_character() -> None:
    """Without it two spellings of a word would be two words to the model."""
    single, several = folding(), set(expanding())

    missed = []
    for character in map(chr, range(sys.maxunicode + 1)):
        normalised = unicodedata.normalize("NFKC", character)
        seen = normalised.lower()
        changes = len(seen) == 1 and seen != character and ord(character) not in single
        expands = len(normalised) > 1 and character not in several
        if (changes or expands) and character not in KEPT:
            missed.append(character)

    assert missed == []


def test_each_character_becomes_exactly_one() -> None:
    """Without it every position after the character would be shifted."""
    assert {len(seen) for seen in folding().values()} == {1}


def test_what_the_model_sees_is_seen_as_itself() -> None:
    """Without it a keyword could not be found again by its cleaned text."""
    table = folding()

    assert [seen for seen in table.values() if seen.translate(table) != seen] == []


@pytest.mark.parametrize(
    ("character", "seen"), [("A", "a"), ("Ａ", "a"), ("\u3000", " "), ("機", "机"), ("車", "车")]
)
def test_case_width_and_script_are_folded(character: str, seen: str) -> None:
    """Without it a word would be unknown in capitals, full width or traditional characters."""
    assert character.translate(folding()) == seen


@pytest.mark.parametrize("character", sorted({"a", "é", "机", "。", "😀", *KEPT}))
def test_plain_characters_stay(character: str) -> None:
    """Without it cleaning would change text that needs none."""
    assert ord(character) not in folding()
    assert character not in expanding()
