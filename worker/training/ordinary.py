"""Ordinary text: what a moderation model must not flag."""

import json
import re
from pathlib import Path
from typing import Final

from schema.documents import Task
from schema.outcomes import MODERATION_LABELS, ModerationLabel
from worker.training.corpus import Source, Split
from worker.training.data_sets import COARSE_SOURCES
from worker.training.rows import (
    KeywordsRow,
    LabelledRow,
    ModerationRow,
    SentimentRow,
    read_lines,
)
from worker.training.sampling import draw_of

_REVIEW_LABELS: Final[frozenset[ModerationLabel]] = frozenset(
    {"sexual", "violence", "spam", "fraud", "illicit"}
)
_ROWS_A_SOURCE: Final = 4000
_PRAISE_LABELS: Final[frozenset[ModerationLabel]] = frozenset({"abuse", "hate", "violence"})
_IDENTITY: Final = re.compile(
    r"\b(?:african|arab|asian|bisexual|black (?:man|men|people|woman|women)|chinese|christian|deaf"
    r"|disabled|feminis[mt]|gay|hindu|immigrant|indian|islam|jew|jewish|latin[ao]|lesbian|mexican"
    r"|muslim|queer|refugee|trans|transgender|white (?:man|men|people|woman|women)|wom[ae]n)s?\b"
    "|黑人|白人|同性恋|双性恋|变性|女权|女性|女司机|女生|穆斯林|回族|藏族|少数民族|河南|东北|外地人|农民工"
    "|残疾|盲人|聋人|老人|单亲|犹太|印度|日本人|韩国人|移民|难民",
    re.IGNORECASE,
)
"""Words that name people by their identity. In moderation sources most of them occur in attacks."""


def ordinary_rows(source: Source, split: Split) -> list[ModerationRow]:
    """Ordinary text of another task, as weak negatives for moderation.

    Moderation sources are collected around offence, so without these rows a model flags text that
    is merely ordinary. Titles, abstracts, posts, praise and neutral text count as clean of every
    label. Negative reviews and dialogue may hold insults, so they are not annotated for abuse and
    hate. From Reddit and tweets only praise without a term of the data folder's lexicon is taken,
    as clean of abuse, hate and violence. Text that names an identity is taken first (Dixon et al.
    2018).

    Returns:
        A bounded sample, the same at every call.
    """
    if source.task is Task.MODERATION:
        return []
    rows = source.rows(split)
    if source.name in COARSE_SOURCES:
        explicit = _lexicon(source.folder.parents[1])
        rows = [row for row in rows if _is_praise(row) and not explicit.search(row.text.lower())]
    rows = sorted(rows, key=_precedence)[:_ROWS_A_SOURCE]
    if source.name in COARSE_SOURCES:
        return [_without(row.text, _PRAISE_LABELS) for row in rows]
    return [ordinary_row(row) for row in rows]


def ordinary_row(row: LabelledRow) -> ModerationRow:
    """A row of another task as a moderation row; a negative text may hold an insult."""
    if isinstance(row, KeywordsRow):
        return _without(row.text.partition("\n")[0], frozenset(MODERATION_LABELS))
    calm = isinstance(row, SentimentRow) and row.label != "negative"
    known = frozenset(MODERATION_LABELS) if calm else _REVIEW_LABELS
    return _without(row.text, known)


def names_identity(text: str) -> bool:
    """Whether a word of the text names people by their identity; the word list is incomplete."""
    return _IDENTITY.search(text) is not None


def _precedence(row: LabelledRow) -> tuple[bool, float]:
    """A sort key: text that names an identity first, otherwise by chance."""
    return not names_identity(row.text), draw_of(row.text)


def _without(text: str, labels: frozenset[ModerationLabel]) -> ModerationRow:
    return ModerationRow(text=text, labels=frozenset(), annotated=labels)


def _is_praise(row: LabelledRow) -> bool:
    return isinstance(row, SentimentRow) and row.label == "positive"


def _lexicon(data: Path) -> re.Pattern[str]:
    """Matches whole words of the data folder's lexicon, English only; nothing without a lexicon."""
    path = data / "lexicon" / "lexicon.jsonl.gz"
    lines = read_lines(path) if path.is_file() else ()
    terms = [str(json.loads(line)["term"]) for line in lines]
    english = sorted(re.escape(term.lower()) for term in terms if term.isascii())
    return re.compile(rf"\b(?:{'|'.join(english)})\b" if english else r"(?!)")
