"""Clean a text for the model, with every character still mapped to the original.

Encoding damage is repaired, HTML undone, invisible characters removed and blanks folded. Then, for
the model only, the text is reduced to NFKC, lower case and simplified characters, and disguises of
words are undone. Spans in results always point into the original text. All patterns take linear
time.
"""

import html
import re
import unicodedata
from functools import cache

import ftfy
import ftfy.badness

from schema.errors import DocumentError
from schema.outcomes import ErrorCode, Language, Stage
from worker.pipeline.alignment import AlignedText, Edit
from worker.pipeline.characters import HAN, expanding, folding
from worker.pipeline.evasion import undo_evasion
from worker.pipeline.records import CleanText

CHINESE_SHARE = 0.8
"""A text counts as `zh` from this share of Chinese words on."""

ENGLISH_SHARE = 0.1
"""A text counts as `en` up to this share of Chinese words."""

LETTERS_PER_WORD = {"han": 1.5, "latin": 5.0}

_INVISIBLE = (
    r"\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff"
)
_COMBINING = (
    r"\u0300-\u036f\u0483-\u0487\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\u3099\u309a\uff9e\uff9f"
)
_LATIN = r"a-zA-Z\u00c0-\u024f"
_DAMAGE = r"\x80-\x9f\xc2-\xf4"
"""UTF-8 that was read as a Western encoding always contains one of these."""
_TAGS = (
    "a|abbr|article|b|big|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|figure|font|footer"
    "|h[1-6]|head|header|hr|html|i|img|ins|label|li|main|mark|nav|ol|p|pre|q|s|section|small|span"
    "|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul"
)
_ATTRIBUTE = (
    r"""\s{1,9}[a-zA-Z][\w:-]{0,40}\s?=\s?(?:"[^"<>]{0,2000}"|'[^'<>]{0,2000}'|[^\s"'<>]{1,2000})"""
)

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_TAG = re.compile(rf"</?(?:{_TAGS})(?:{_ATTRIBUTE}){{0,20}}\s{{0,9}}/?>", re.IGNORECASE)
_DAMAGED = re.compile(f"[{_DAMAGE}]")
_COMBINING_MARK = re.compile(f"[{_COMBINING}]")
_CLUSTER = re.compile(f"[^{_COMBINING}][{_COMBINING}]{{1,30}}")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_REMOVED = re.compile(f"[{_INVISIBLE}]+")
_BLANKS = re.compile(r"\s+")
_HAN_LETTERS = re.compile(f"[{HAN}]+")
_LATIN_LETTERS = re.compile(f"[{_LATIN}]+")
_OTHER_LETTERS = re.compile(rf"[^\W\d_{_LATIN}{HAN}]+")


def preprocess(text: str) -> CleanText:
    """Clean a document.

    Args:
        text: any text; spans will point into it.

    Raises:
        DocumentError: nothing is left after cleaning.
    """
    aligned = AlignedText(text)
    if _moves().search(text) or text[:1].isspace() or text[-1:].isspace():
        _repair(aligned)
    if not aligned.text:
        msg = (
            "nothing is left of the text after cleaning: it has only blanks or invisible characters"
        )
        raise DocumentError(ErrorCode.NO_CONTENT, Stage.PREPROCESS, msg)
    aligned.text = aligned.text.translate(folding())
    undo_evasion(aligned)
    return CleanText(aligned.text, language_of(aligned.text), aligned.starts, aligned.ends)


def language_of(text: str) -> Language:
    """The language of a cleaned text, by its share of Chinese words among Chinese and Latin ones.

    Words are estimated from letters. Text without letters, or with more letters of other scripts
    than of these two, is `other`.
    """
    latin = _count(_LATIN_LETTERS, text)
    if text.isascii():
        return "en" if latin else "other"
    han = _count(_HAN_LETTERS, text)
    if han + latin == 0 or _count(_OTHER_LETTERS, text) > han + latin:
        return "other"
    han_words = han / LETTERS_PER_WORD["han"]
    share = han_words / (han_words + latin / LETTERS_PER_WORD["latin"])
    if share >= CHINESE_SHARE:
        return "zh"
    return "en" if share <= ENGLISH_SHARE else "mixed"


def _count(letters: re.Pattern[str], text: str) -> int:
    return sum(map(len, letters.findall(text)))


@cache
def _moves() -> re.Pattern[str]:
    """Matches a text in which cleaning may move a character; most texts do not match."""
    return re.compile(
        rf"[&<{_DAMAGE}{_INVISIBLE}{_COMBINING}{re.escape(expanding())}]|\s\s|[^\S \u3000\xa0]"
    )


@cache
def _expanding() -> re.Pattern[str]:
    return re.compile(f"[{re.escape(expanding())}]")


def _repair(aligned: AlignedText) -> None:
    if _DAMAGED.search(aligned.text) and ftfy.badness.is_bad(aligned.text):
        aligned.apply(_undone_mojibake(aligned.text))
    aligned.substitute(_ENTITY, html.unescape)
    aligned.substitute(_TAG, lambda _: " ")
    aligned.substitute(_REMOVED, lambda _: "")
    aligned.substitute(_expanding(), _nfkc)
    if _COMBINING_MARK.search(aligned.text):
        aligned.substitute(_CLUSTER, _nfkc)
    aligned.substitute(_BLANKS, lambda _: " ")
    aligned.strip()


def _undone_mojibake(text: str) -> list[Edit]:
    """Edits that replace damaged runs with the intended characters.

    If each byte of a character had become one character, the intended one maps to just these;
    otherwise it maps to their whole run.
    """
    meant = {run: ftfy.fix_encoding(run) for run in set(_NOT_ASCII.findall(text))}
    edits: list[Edit] = []
    for match in _NOT_ASCII.finditer(text):
        run, repaired = match[0], meant[match[0]]
        at = match.start()
        if repaired == run:
            continue
        if _bytes(repaired) != len(run):
            edits.append(Edit(at, match.end(), repaired))
            continue
        for character in repaired:
            width = _bytes(character)
            edits.append(Edit(at, at + width, character))
            at += width
    return edits


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _nfkc(cluster: str) -> str:
    return unicodedata.normalize("NFKC", cluster)
