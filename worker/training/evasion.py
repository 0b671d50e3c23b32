"""How people disguise words to get past moderation: training noise, and a test of robustness.

Pure functions, decided by `rng` alone. Cleaning undoes some disguises; a model learns the rest.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

import numpy as np

from worker.training.scripts import full_width, traditional

Evasion = Literal[
    "zero_width",
    "spaced",
    "leetspeak",
    "homoglyphs",
    "full_width",
    "repeated",
    "traditional",
    "split_characters",
    "pinyin_initials",
]

MIX: Final[Mapping[Evasion, float]] = {
    "zero_width": 0.02,
    "spaced": 0.05,
    "leetspeak": 0.08,
    "homoglyphs": 0.04,
    "full_width": 0.02,
    "repeated": 0.05,
    "traditional": 0.04,
    "split_characters": 0.05,
    "pinyin_initials": 0.05,
}
"""Probability of each evasion as training noise; at most one is applied to a text."""

SHARE: Final = 0.3
"""Probability that a word of the text is changed."""

_WORD: Final = re.compile(r"(?<![\w@#/&.])[A-Za-z]{3,24}(?![\w@/;.])|[\u4e00-\u9fff]{2,4}")
_HAN: Final = re.compile("[\u4e00-\u9fff]")
_ZERO_WIDTH: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_SEPARATORS: Final = (" ", ".", "*", "-", "_")
_LEET: Final = {"a": "4@", "e": "3", "i": "1!", "o": "0", "s": "5$", "t": "7"}
_LOOKALIKES: Final = str.maketrans("aceiopsxyABCEHIKMOPTXvu", "асеіорѕхуАВСЕНІКМОРТХνυ")
"""Latin letters, and the Cyrillic and Greek letters that look the same."""
_PARTS: Final = {
    "强": "弓虽",
    "好": "女子",
    "妈": "女马",
    "他": "亻也",
    "你": "亻尔",
    "的": "白勺",
    "狗": "犭句",
    "猪": "犭者",
    "枪": "木仓",
    "赌": "贝者",
    "博": "十尃",
    "证": "讠正",
    "税": "禾兑",
    "贷": "代贝",
    "款": "士示欠",
    "奸": "女干",
    "她": "女也",
    "骗": "马扁",
    "彩": "采彡",
    "粉": "米分",
    "炮": "火包",
    "钱": "钅戋",
    "微": "彳山王攵",
    "信": "亻言",
    "代": "亻弋",
    "什": "亻十",
    "们": "亻门",
    "伪": "亻为",
    "做": "亻故",
    "说": "讠兑",
    "话": "讠舌",
    "谁": "讠隹",
    "请": "讠青",
    "打": "扌丁",
    "操": "扌喿",
    "拍": "扌白",
    "找": "扌戈",
    "法": "氵去",
    "没": "氵殳",
    "酒": "氵酉",
    "滚": "氵衮",
    "活": "氵舌",
    "够": "句多",
    "性": "忄生",
    "恨": "忄艮",
    "怕": "忄白",
    "独": "犭虫",
    "猫": "犭苗",
    "胡": "古月",
}
"""Characters written as their parts."""
_INITIALS: Final = (
    ("a", 0xB0A1),
    ("b", 0xB0C5),
    ("c", 0xB2C1),
    ("d", 0xB4EE),
    ("e", 0xB6EA),
    ("f", 0xB7A2),
    ("g", 0xB8C1),
    ("h", 0xB9FE),
    ("j", 0xBBF7),
    ("k", 0xBFA6),
    ("l", 0xC0AC),
    ("m", 0xC2E8),
    ("n", 0xC4C3),
    ("o", 0xC5B6),
    ("p", 0xC5BE),
    ("q", 0xC6DA),
    ("r", 0xC8BB),
    ("s", 0xC8F6),
    ("t", 0xCBFA),
    ("w", 0xCDDA),
    ("x", 0xCEF4),
    ("y", 0xD1B9),
    ("z", 0xD4D1),
)
"""The first code of each initial in GB 2312, which orders its common characters by sound."""
_LAST_BY_SOUND: Final = 0xD7F9


def evade_randomly(text: str, rng: np.random.Generator) -> str:
    """Apply at most one evasion to a text, drawn from `MIX`."""
    draw = float(rng.random())
    for evasion, probability in MIX.items():
        if draw < probability:
            return evade(text, evasion, rng)
        draw -= probability
    return text


def evade(text: str, evasion: Evasion, rng: np.random.Generator, share: float = SHARE) -> str:
    """Disguise words of a text, as someone does who wants only people to read it.

    Args:
        text: any text.
        evasion: how; a text in a script that it does not apply to stays unchanged.
        rng: decides everything; the same state gives the same text.
        share: probability that a word is changed; words are Latin ones of 3 to 24 letters and runs
            of two to four Han characters.
    """
    change = _EVASIONS[evasion]
    return _WORD.sub(
        lambda match: change(match[0], rng) if rng.random() < share else match[0], text
    )


def _zero_width(word: str, rng: np.random.Generator) -> str:
    signs = (_ZERO_WIDTH[int(rng.integers(len(_ZERO_WIDTH)))] for _ in word)
    return "".join(map("".join, zip(word, signs, strict=True)))


def _spaced(word: str, rng: np.random.Generator) -> str:
    return _SEPARATORS[int(rng.integers(len(_SEPARATORS)))].join(word)


def _leetspeak(word: str, rng: np.random.Generator) -> str:
    """Replace one or two inner letters with digits or signs that look like them, if any do."""
    inside = [place for place in range(1, len(word) - 1) if word[place].lower() in _LEET]
    if not inside or not word.isascii():
        return word
    count = int(rng.integers(1, min(len(inside), 2) + 1))
    letters = list(word)
    for place in rng.choice(inside, count, replace=False).tolist():
        signs = _LEET[letters[place].lower()]
        letters[place] = signs[int(rng.integers(len(signs)))]
    return "".join(letters)


def _homoglyphs(word: str, rng: np.random.Generator) -> str:
    if not word.isascii():
        return word
    change = rng.random(len(word)) < 1 / 2
    return "".join(
        letter.translate(_LOOKALIKES) if changed else letter
        for letter, changed in zip(word, change.tolist(), strict=True)
    )


def _repeated(word: str, rng: np.random.Generator) -> str:
    """Write one letter three to six times."""
    if not word.isascii():
        return word
    at = int(rng.integers(len(word)))
    return word[:at] + word[at] * int(rng.integers(3, 7)) + word[at + 1 :]


def _split_characters(word: str, _: np.random.Generator) -> str:
    return "".join(_PARTS.get(character, character) for character in word)


def _pinyin_initials(word: str, rng: np.random.Generator) -> str:
    """Replace one Han character of the word with the initial of its sound."""
    if not _HAN.match(word):
        return word
    at = int(rng.integers(len(word)))
    return word[:at] + _initial(word[at]) + word[at + 1 :]


def _initial(character: str) -> str:
    code = int.from_bytes(character.encode("gb2312", errors="ignore"), "big")
    if not _INITIALS[0][1] <= code <= _LAST_BY_SOUND:
        return character
    return max((first, initial) for initial, first in _INITIALS if first <= code)[1]


_EVASIONS: Final[dict[Evasion, Callable[[str, np.random.Generator], str]]] = {
    "zero_width": _zero_width,
    "spaced": _spaced,
    "leetspeak": _leetspeak,
    "homoglyphs": _homoglyphs,
    "full_width": lambda word, _: full_width(word),
    "repeated": _repeated,
    "traditional": lambda word, _: traditional(word),
    "split_characters": _split_characters,
    "pinyin_initials": _pinyin_initials,
}
EVASIONS: Final = tuple(_EVASIONS)
"""The names of all evasions."""
