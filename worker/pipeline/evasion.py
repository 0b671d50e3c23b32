"""Undo what people do to words to get past moderation, as far as that spares ordinary text.

Works on text as the model sees it: lower case, single width, simplified, blanks folded. Each rule
requires more than chance produces: `u s a`, `3.5`, `log4j`, `TNFα` and Russian stay as they are.
What cannot be told from ordinary text, such as pinyin initials, is left to the model. All patterns
take linear time.
"""

import re
from itertools import pairwise
from typing import Final

from worker.pipeline.alignment import AlignedText, Edit
from worker.pipeline.characters import HAN

_VOWELS: Final = frozenset("aeiou")
_ACRONYMS: Final = frozenset({"ieee"})
_ROMAN: Final = frozenset("ivxlcdm")

_SPACED: Final = re.compile(r"(?<![^\W_])[a-z](?:([ .*_-])[a-z])(?:\1[a-z]){2,30}(?![^\W_])")
"""At least four letters; shorter runs are mostly initials and formulas."""
_SPACED_HAN: Final = re.compile(rf"(?<!\w)[{HAN}](?:[ *._|~·][{HAN}]){{1,30}}(?!\w)")

_LEET: Final = {
    "0": "o",
    "1": "i",
    "3": "e",
    "4": "a",
    "@": "a",
    "!": "i",
    "5": "s",
    "7": "t",
    "$": "s",
}
_VOWEL_SIGNS: Final = frozenset("0134@!")
_LEET_WORD: Final = re.compile(
    r"(?<![\w@./:#$%&=-])[a-z]{1,20}(?:[013457@!$]{1,2}[a-z]{1,20}){1,4}(?![\w@/:=(]|[.-]\w)"
)
_LEET_SIGNS: Final = re.compile(r"[013457@!$]{1,2}")
_FORMATS: Final = frozenset({"mp3", "mp4", "md5", "log4", "web3", "d3", "s3", "h5", "ps5", "ch3"})
"""Beginnings of words that are ordinarily written with a digit."""

_LOOKALIKES: Final = dict(
    zip("асеіорѕхујһԁԛԝӏвнкмт" + "ουνικρτ", "aceiopsxyjhdqwlbhkmt" + "ouvikpt", strict=True)
)
"""Cyrillic and Greek letters, and the Latin ones they look like, in lower case or as capitals."""
_LOOKALIKE: Final = "".join(_LOOKALIKES)
_MIXED_WORD: Final = re.compile(
    rf"(?<!\w)(?:[a-z]{{1,20}}[{_LOOKALIKE}]|[{_LOOKALIKE}]{{1,20}}[a-z])[a-z{_LOOKALIKE}]{{0,40}}(?!\w)"
)

_TRIPLE: Final = re.compile(r"([a-z])\1{2,}")
_DOUBLED: Final = frozenset("bcdefglmnoprstz")
"""Letters that may be doubled inside English words."""
_DOUBLED_AT_END: Final = frozenset("fls")
_NEAR: Final = 8
_WORD_BEFORE: Final = re.compile(r"[\w/\\]*$")
_WORD_AFTER: Final = re.compile(r"^[\w/\\]*")

_RADICALS: Final = {
    "亻": "也他尔你言信弋代十什门们为伪故做半伴",
    "讠": "正证兑说舌话隹谁青请午许己记射谢吾语",
    "氵": "去法殳没酉酒衮滚舌活工江胡湖每海",
    "犭": "句狗者猪虫独苗猫良狼",
    "扌": "丁打喿操白拍戈找包抱寺持",
    "忄": "生性艮恨白怕央快曼慢",
    "钅": "戋钱艮银同铜",
    "纟": "工红及级合给",
}
"""Radicals, which never stand alone in ordinary text; after each part comes what both make."""
_PAIRS: Final = {
    "弓虽": "强",
    "马扁": "骗",
    "贝者": "赌",
    "木仓": "枪",
    "十尃": "博",
    "白勺": "的",
    "禾兑": "税",
    "采彡": "彩",
    "女尔": "你",
    "歹匕": "死",
}
"""Other characters that are written as two; only pairs that do not occur in ordinary text."""
_SPLIT: Final = _PAIRS | {
    radical + parts[at]: parts[at + 1]
    for radical, parts in _RADICALS.items()
    for at in range(0, len(parts), 2)
}
_HALVES: Final = ["".join(sorted(set(half))) for half in zip(*_SPLIT, strict=True)]
_SPLIT_PAIR: Final = re.compile(f"[{_HALVES[0]}][{_HALVES[1]}]")


_HINT: Final = re.compile(r"[ .*_-][a-z]([ .*_-])[a-z]\1|^[a-z]([ .*_-])[a-z]\2|[013457@!$][a-z]")
"""Occurs in every spaced or spelled Latin word; found faster than the words themselves."""
_OTHER_HINT: Final = re.compile(
    f"[{_LOOKALIKE}]|[ *._|~·][{HAN}](?:[ *._|~·]|$)|[{_HALVES[0]}][{_HALVES[1]}]"
)
"""Occurs in every disguised word that is not ASCII."""


def undo_evasion(aligned: AlignedText) -> None:
    """Undo disguises in a text; every character still maps to its source.

    Args:
        aligned: a text as the model sees it.
    """
    if not aligned.text.isascii() and _OTHER_HINT.search(aligned.text):
        aligned.apply(_joined_parts(aligned.text))
        aligned.apply(_latin_letters(aligned.text))
        aligned.apply(_closed_up(aligned.text, _SPACED_HAN))
    if _HINT.search(aligned.text):
        aligned.apply(_closed_up(aligned.text, _SPACED))
        aligned.apply(_spelled(aligned.text))
    aligned.apply(_shortened(aligned.text))


def _joined_parts(text: str) -> list[Edit]:
    return [
        Edit(*match.span(), _SPLIT[match[0]])
        for match in _SPLIT_PAIR.finditer(text)
        if match[0] in _SPLIT
    ]


def _latin_letters(text: str) -> list[Edit]:
    """Replace lookalikes in words of three letters and more that are Latin otherwise."""
    return [
        Edit(index, index + 1, _LOOKALIKES[text[index]])
        for match in _MIXED_WORD.finditer(text)
        if _is_latin(match[0])
        for index in range(*match.span())
        if text[index] in _LOOKALIKES
    ]


def _is_latin(word: str) -> bool:
    """Whether a word is Latin but for its lookalikes: no formula, no Russian word with a slip."""
    latin = sum(map(str.isascii, word))
    return len(word) > 2 and 3 * latin >= len(word)  # noqa: PLR2004 - shorter ones are formulas


def _closed_up(text: str, spaced: re.Pattern[str]) -> list[Edit]:
    """Drop the separators of single letters that make up a word."""
    return [
        Edit(index, index + 1, "")
        for match in spaced.finditer(text)
        if spaced is _SPACED_HAN or _is_word(match[0][::2])
        for index in range(match.start() + 1, match.end(), 2)
    ]


def _is_word(letters: str) -> bool:
    """Whether letters may be a word, and not a formula, a list or a rhyme."""
    return (
        len(set(letters)) > 2  # noqa: PLR2004 - `a b a b`
        and bool(_VOWELS & set(letters))
        and not _VOWELS.issuperset(letters)
        and any(left >= right for left, right in pairwise(letters))
    )


def _spelled(text: str) -> list[Edit]:
    """Replace digits and signs inside words with letters."""
    return [
        Edit(match.start() + at, match.start() + at + 1, _LEET[match[0][at]])
        for match in _LEET_WORD.finditer(text)
        if _is_spelled(match[0])
        for at in range(len(match[0]))
        if match[0][at] in _LEET
    ]


def _is_spelled(word: str) -> bool:
    letters = sum(map(str.isalpha, word))
    signs = list(_LEET_SIGNS.finditer(word))
    return (
        letters > 2  # noqa: PLR2004 - `a11y`, `l10n`
        and word[: signs[0].start() + 1] not in _FORMATS
        and all(_stands_for_a_letter(word, *match.span()) for match in signs)
    )


def _stands_for_a_letter(word: str, first: int, last: int) -> bool:
    """Whether digits or signs stand where a letter is due: a vowel between consonants, or `s`."""
    left, right, sign = word[first - 1], word[last], word[first]
    if len(set(word[first:last])) > 1:
        return False
    if sign in "!@" and _VOWELS & set(word[:first]):
        return False  # `wow!great`, `joe@home`
    if sign in _VOWEL_SIGNS:
        if word[first:] == "3d":
            return False
        return left not in _VOWELS and right not in _VOWELS
    return left in _VOWELS and word[last:] != "s"  # `iphone5s`


def _shortened(text: str) -> list[Edit]:
    """Shorten runs of three and more of a letter to as many as words have."""
    edits = []
    for match in _TRIPLE.finditer(text):
        first, last = match.span()
        before, after = text[max(first - _NEAR, 0) : first], text[last : last + _NEAR]
        if _is_drawn_out(before, match[0], after):
            usual = _DOUBLED if after[:1].isalpha() else _DOUBLED_AT_END
            keep = 2 if match[1] in usual else 1
            edits.append(Edit(first + keep, last, ""))
    return edits


def _is_drawn_out(before: str, run: str, after: str) -> bool:
    """Whether a run of a letter is part of a word, unlike `www`, `xviii`, `0xfffa` or `ieee`."""
    word = _WORD_BEFORE.findall(before)[0] + run + _WORD_AFTER.findall(after)[0]
    known = word in _ACRONYMS or _ROMAN.issuperset(word)
    return word.isalpha() and not known and len(set(word)) > 1
