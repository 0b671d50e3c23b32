"""Clean a text for the model, with every character still mapped to the original.

Encoding damage is repaired, HTML undone, invisible characters removed, blanks folded; then, for
the model's eyes only, NFKC, lower case and simplified characters. Spans in results always point
into the original text. All patterns take linear time.
"""

import html
import re
import unicodedata
from functools import cache

import ftfy
import ftfy.badness

from schema.errors import DocumentError
from schema.outcomes import ErrorCode, Language, Stage
from worker.pipeline.alignment import AlignedText
from worker.pipeline.characters import HAN, expanding, model_eyes
from worker.pipeline.records import CleanText

CHINESE_SHARE = 0.8
"""Share of the words that are Chinese, from which a text counts as `zh`."""

ENGLISH_SHARE = 0.1
"""Share of the words that are Chinese, up to which a text counts as `en`."""

LETTERS_PER_WORD = {"han": 1.5, "latin": 5.0}

_INVISIBLE = (
    r"\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff"
)
_COMBINING = r"\u0300-\u036f\u0483-\u0487\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\u3099\u309a"
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
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_REMOVED = re.compile(f"[{_INVISIBLE}]+")
_BLANKS = re.compile(r"\s+")
_HAN_LETTERS = re.compile(f"[{HAN}]+")
_LATIN_LETTERS = re.compile(r"[a-zA-Z\u00c0-\u024f]+")
_LETTERS = re.compile(r"[^\W\d_]+")


def preprocess(text: str) -> CleanText:
    """Clean a document.

    Args:
        text: any text; the one that spans will point into.

    Raises:
        DocumentError: nothing is left after cleaning.
    """
    aligned = AlignedText(text)
    if _moves().search(text) or text[:1].isspace() or text[-1:].isspace():
        _repair(aligned)
    if not aligned.text:
        msg = "nothing is left of the text after cleaning: it holds blanks or invisible signs only"
        raise DocumentError(ErrorCode.NO_CONTENT, Stage.PREPROCESS, msg)
    seen = aligned.text.translate(model_eyes())
    return CleanText(seen, language_of(seen), aligned.starts, aligned.ends)


def language_of(text: str) -> Language:
    """The language of a cleaned text, by its share of Chinese words among Chinese and Latin ones.

    Words are estimated from letters. Text without letters, or with more of other scripts than of
    these two, is `other`.
    """
    han = sum(map(len, _HAN_LETTERS.findall(text)))
    latin = sum(map(len, _LATIN_LETTERS.findall(text)))
    if text.isascii():
        return "en" if latin else "other"
    known = han + latin
    letters = sum(map(len, _LETTERS.findall(text)))
    if known == 0 or letters > 2 * known:
        return "other"
    han_words = han / LETTERS_PER_WORD["han"]
    share = han_words / (han_words + latin / LETTERS_PER_WORD["latin"])
    if share >= CHINESE_SHARE:
        return "zh"
    return "en" if share <= ENGLISH_SHARE else "mixed"


@cache
def _moves() -> re.Pattern[str]:
    """Finds a text in which cleaning may move a character; most texts have none."""
    return re.compile(
        rf"[&<{_INVISIBLE}{_COMBINING}{re.escape(expanding())}]|\s\s|[^\S \u3000\xa0]"
        r"|[\x80-\xff\u0152-\u0192\u02c6\u02dc\u2018-\u203a]"  # where encoding damage shows
    )


@cache
def _composed() -> re.Pattern[str]:
    """Finds what NFKC turns into another number of characters."""
    return re.compile(rf"[{re.escape(expanding())}]|[^{_COMBINING}][{_COMBINING}]{{1,30}}")


def _repair(aligned: AlignedText) -> None:
    if ftfy.badness.is_bad(aligned.text):
        aligned.substitute(_NOT_ASCII, _undo_mojibake)
    aligned.substitute(_ENTITY, html.unescape)
    aligned.substitute(_TAG, lambda _: " ")
    aligned.substitute(_REMOVED, lambda _: "")
    aligned.substitute(_composed(), _nfkc)
    aligned.substitute(_BLANKS, lambda _: " ")
    aligned.strip()


def _undo_mojibake(run: str) -> str:
    return ftfy.fix_encoding(run) if ftfy.badness.is_bad(run) else run


def _nfkc(cluster: str) -> str:
    return unicodedata.normalize("NFKC", cluster)
