"""Noise as real text has it, for training: pure functions, decided by `rng` alone.

No noise changes what a text says: the emoji express no feeling, and masks replace only what
platforms mask. Cleaning undoes changes of case, width and script; they are included so that a
change to cleaning cannot silently make models depend on them.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final, Literal

import numpy as np

from worker.training.cleaning import clean_text, cleaned
from worker.training.rows import KeywordsRow, LabelledRow
from worker.training.scripts import full_width, traditional

Noise = Literal["typo", "case", "punctuation", "emoji", "mask", "traditional", "full_width"]

MIX: Final[Mapping[Noise, float]] = {
    "typo": 0.15,
    "case": 0.10,
    "punctuation": 0.12,
    "emoji": 0.08,
    "mask": 0.10,
    "traditional": 0.08,
    "full_width": 0.04,
}
"""Probability of each noise, drawn independently; a little over half of all texts stay as is."""

TYPOS_A_LETTER: Final = 0.02
"""Expected typos per letter beyond the first typo, in a text that gets any."""

_KEYS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_CONFUSED: Final = (
    "的地得",
    "在再",
    "做作",
    "那哪",
    "他她它",
    "以已",
    "吗嘛",
    "有又",
    "座坐",
    "像象向",
)
"""Chinese characters that sound alike and are often typed in place of each other."""
_EMOJI: Final = "📌🔎🎧📷📅📎🍵🚲🌐📖🕒🏠"
_MASKS: Final = {
    "url": ("URL", "http", "[link]", "[网址]", "网页链接"),
    "name": ("@user", "USERNAME", "[用户]", "@某某"),
    "digits": ("DIGIT", "NUMBER", "[数字]", "***", "xxx"),
}
_URL: Final = re.compile(r"(?:https?://|www\.)[^\s\u3000-\u9fff\uff00-\uffef]{1,500}")
_NAME: Final = re.compile(r"@\w{2,30}")
_DIGITS: Final = re.compile(r"\d{1,30}")
_LETTER: Final = re.compile(r"[a-zA-Z\u4e00-\u9fff]")
_SENTENCE_END: Final = re.compile(r"[.!?。！？]+$")
_PUNCTUATION: Final = re.compile(r"(?<!\w)[^\w\s@#]|[^\w\s@#](?!\w)|[，。！？；：、]")
"""Marks, except between two letters or digits (`3.5`, `don't`, `a-b`); Chinese marks always."""


def augment_row(row: LabelledRow, rng: np.random.Generator) -> LabelledRow:
    """Put noise on the text of a row; its gold stays valid.

    The row is returned unchanged if cleaning would leave nothing of the noisy text, or if a keyword
    that occurs in the cleaned text would no longer occur in it.
    """
    text = augment(row.text, rng)
    if text == row.text or clean_text(text) is None:
        return row
    if isinstance(row, KeywordsRow) and not _keeps(row, text):
        return row
    return row.model_copy(update={"text": text})


def augment(text: str, rng: np.random.Generator, mix: Mapping[Noise, float] = MIX) -> str:
    """Put noise on a text.

    Args:
        text: any text.
        rng: decides everything; the same state gives the same text.
        mix: probability of each noise; a noise that does not apply leaves the text unchanged.

    Returns:
        The text; masks and upper case apart, at most twice as long as before plus 16 characters.
    """
    # One draw per noise for every text, whether or not the noise applies to it.
    for noise, draw in zip(_NOISES, rng.random(len(_NOISES)), strict=True):
        if draw < mix.get(noise, 0.0):
            text = _NOISES[noise](text, rng)
    return text


def _typo(text: str, rng: np.random.Generator) -> str:
    letters = [match.start() for match in _LETTER.finditer(text)]
    if not letters:
        return text
    count = min(1 + int(rng.poisson(TYPOS_A_LETTER * len(letters))), len(letters))
    characters = list(text)
    for at in sorted(rng.choice(letters, count, replace=False).tolist()):
        characters[at] = _mistyped(characters, at, int(rng.integers(4)), rng)
    return "".join(characters)


def _mistyped(characters: list[str], at: int, kind: int, rng: np.random.Generator) -> str:
    """The characters that replace a letter after one slip; a swap also changes the next letter."""
    letter = characters[at]
    match kind:
        case 0 if letter.isascii():  # a Chinese character may be the text's only negation
            return ""
        case 0 | 1:
            return letter * 2
        case 2 if at + 1 < len(characters) and _LETTER.match(characters[at + 1]):
            characters[at + 1], swapped = letter, characters[at + 1]
            return swapped
        case _:
            near = _neighbours().get(letter.lower(), letter)
            return near[int(rng.integers(len(near)))]


@cache
def _neighbours() -> dict[str, str]:
    """Characters typed by mistake for each: from neighbouring keys, or of the same sound."""
    near = {
        row[place]: row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
        for row in _KEYS
        for place in range(len(row))
    }
    alike = {one: group.replace(one, "") for group in _CONFUSED for one in group}
    return near | alike


def _case(text: str, rng: np.random.Generator) -> str:
    changes: tuple[Callable[[str], str], ...] = (str.lower, str.upper, str.title, str.swapcase)
    return changes[int(rng.integers(len(changes)))](text)


def _punctuation(text: str, rng: np.random.Generator) -> str:
    """Remove all punctuation, remove the sentence end, or repeat its last mark."""
    match int(rng.integers(3)):
        case 0:
            return " ".join(_PUNCTUATION.sub(" ", text).split())
        case 1:
            return _SENTENCE_END.sub("", text)
        case _:
            last = _SENTENCE_END.search(text)
            return text + last[0][-1] * int(rng.integers(1, 4)) if last else text


def _emoji(text: str, rng: np.random.Generator) -> str:
    """Insert an emoji of a thing, at either end or at a blank."""
    put = _EMOJI[int(rng.integers(len(_EMOJI)))] * int(rng.integers(1, 3))
    blanks = [place for place, character in enumerate(text) if character == " "]
    places = [0, len(text), len(text), *blanks[:64]]
    at = places[int(rng.integers(len(places)))]
    return text[:at] + put + text[at:]


def _mask(text: str, rng: np.random.Generator) -> str:
    """Mask addresses, names and numbers as platforms and data sets do, or change the digits."""
    for pattern, kind in ((_URL, "url"), (_NAME, "name"), (_DIGITS, "digits")):
        masks = _MASKS[kind]
        mask = masks[int(rng.integers(len(masks)))]
        if kind == "digits" and rng.random() < 1 / 2:
            shift = int(rng.integers(1, 10))
            text = pattern.sub(lambda found, by=shift: _other_number(found[0], by), text)  # type: ignore[misc]
        else:
            text = pattern.sub(mask, text)
    return text


def _other_number(digits: str, shift: int) -> str:
    return "".join(str((int(unicodedata.digit(digit, 0)) + shift) % 10) for digit in digits)


_NOISES: Final[dict[Noise, Callable[[str, np.random.Generator], str]]] = {
    "mask": _mask,
    "typo": _typo,
    "case": _case,
    "punctuation": _punctuation,
    "emoji": _emoji,
    "traditional": lambda text, _: traditional(text),
    "full_width": lambda text, _: full_width(text),
}
"""In the order in which they are applied."""


def _keeps(row: KeywordsRow, text: str) -> bool:
    before, after = cleaned(row.text), cleaned(text)
    phrases = map(cleaned, row.keywords)
    return all(phrase in after for phrase in phrases if phrase in before)
