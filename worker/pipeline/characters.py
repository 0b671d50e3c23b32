"""Sets and tables of characters that cleaning, segmentation and keyword keys share.

Tables are built when first asked for, never at import.
"""

import unicodedata
from functools import cache

import opencc

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Han characters, as the inside of a character class."""

_NORMALISED_RANGES = (
    (0x0041, 0x3400),
    (0xA640, 0xAC00),
    (0xF900, 0xFFF0),
    (0x10400, 0x11900),
    (0x16E40, 0x16F00),
    (0x1CC00, 0x1FC00),
    (0x2F800, 0x2FA20),
)
"""Ranges that contain every character that NFKC or lower-casing changes."""

_HAN_RANGES = ((0x3400, 0x4DC0), (0x4E00, 0xA000))

_KEPT = {"…", "\ufdfa"}
"""Exempt from NFKC here: an ellipsis is one sign, which is frequent in Chinese text; the Arabic
ligature would become a sentence of 18 characters."""


@cache
def folding() -> dict[int, str]:
    """Maps one character to one: NFKC, lower case, traditional to simplified.

    It is made for `str.translate`, so that no position moves.
    """
    table = {}
    for character in _characters(_NORMALISED_RANGES):
        seen = unicodedata.normalize("NFKC", character).lower()
        if len(seen) == 1 and seen != character and character not in _KEPT:
            table[ord(character)] = seen
    for character, simple in _simplified():
        if character != simple:
            table[ord(character)] = simple
    # What NFKC maps to a traditional character is simplified in turn.
    return {code: table.get(ord(seen), seen) for code, seen in table.items()}


@cache
def expanding() -> str:
    """Characters that NFKC turns into several, as the inside of a character class."""
    return "".join(
        character
        for character in _characters(_NORMALISED_RANGES)
        if len(unicodedata.normalize("NFKC", character)) > 1 and character not in _KEPT
    )


def _characters(ranges: tuple[tuple[int, int], ...]) -> list[str]:
    return [chr(code) for first, last in ranges for code in range(first, last)]


def _simplified() -> list[tuple[str, str]]:
    """Each Han character with its simplified form, converted on its own: words never merge here."""
    characters = _characters(_HAN_RANGES)
    converted = opencc.OpenCC("t2s").convert("\n".join(characters)).split("\n")
    return [pair for pair in zip(characters, converted, strict=True) if len(pair[1]) == 1]
