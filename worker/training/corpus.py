"""The data folder: its sources with their licences, and the training texts of each task.

::

    DIR/counts.json                            licence class of each source
    DIR/<task>/<source>/{train,valid,test}.jsonl.gz
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from schema.documents import Task
from schema.errors import InputError
from schema.outcomes import MODERATION_LABELS, ModerationLabel
from worker.training.rows import (
    ROW_TYPES,
    KeywordsRow,
    LabelledRow,
    ModerationRow,
    RowFile,
    SentimentRow,
    place_of,
    read_lines,
)

LicenceClass = Literal["A", "B", "C"]
"""A permissive; B share-alike or terms of the texts' own; C none found."""
Split = Literal["train", "valid", "test"]

_SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
_MASKS: Final = re.compile(r"NAME|PLACE|DIGIT|URL|CELLPHONE|PHONE|WECHAT|QQ|EMAIL|BANKCARD")
"""Words that a source put in the place of private data; a model would learn them, not the text."""
_MASKED_SOURCES: Final = frozenset({"zh-fbs-sms"})
_ADVERTISING: Final[frozenset[ModerationLabel]] = frozenset({"spam", "fraud", "illicit"})
_RULED_OUT: Final[dict[str, frozenset[ModerationLabel]]] = {
    "en-sms-smishing": frozenset({"hate", "violence"}),
    "zh-fbs-sms": frozenset({"abuse", "hate", "violence"}),
    **dict.fromkeys(("en-davidson", "en-edos", "en-stormfront"), _ADVERTISING),
    **dict.fromkeys(("zh-cold", "zh-swsr"), _ADVERTISING),
}
"""Labels of which a source says nothing since it was collected where they hardly occur. Without
them as negatives, all that is like an advertisement looks like a threat, too: no source says no."""
_CLEAN_REVIEW_LABELS: Final[frozenset[ModerationLabel]] = frozenset(
    {"sexual", "violence", "spam", "fraud", "illicit"}
)
_CLEAN_ROWS_A_SOURCE: Final = 4000
_UNLABELLED_TEXTS_A_SOURCE: Final = 10_000
_COARSE: Final = frozenset({"en-goemotions", "en-semeval2017", "en-vader-tweets"})
"""Reddit and tweets: explicit talk is common here, so only praise without any is taken."""
_PRAISE_LABELS: Final[frozenset[ModerationLabel]] = frozenset({"abuse", "hate", "violence"})
_IDENTITY: Final = re.compile(
    r"\b(?:african|arab|asian|bisexual|black (?:man|men|people|woman|women)|chinese|christian|deaf"
    r"|disabled|feminis[mt]|gay|hindu|immigrant|indian|islam|jew|jewish|latin[ao]|lesbian|mexican"
    r"|muslim|queer|refugee|trans|transgender|white (?:man|men|people|woman|women)|wom[ae]n)s?\b"
    "|黑人|白人|同性恋|双性恋|变性|女权|女性|女司机|女生|穆斯林|回族|藏族|少数民族|河南|东北|外地人|农民工"
    "|残疾|盲人|聋人|老人|单亲|犹太|印度|日本人|韩国人|移民|难民",
    re.IGNORECASE,
)
"""Words that name people for what they are. In moderation sources they mostly stand in attacks."""


@dataclass(frozen=True, slots=True)
class Source:
    """One data set of one task.

    Attributes:
        task: what its labels are for.
        name: its folder.
        licence_class: see `LicenceClass`; C where the data folder does not say.
        folder: where its splits lie.
    """

    task: Task
    name: str
    licence_class: LicenceClass
    folder: Path

    def path(self, split: Split) -> Path:
        """The file of a split; it need not exist."""
        return self.folder / f"{split}.jsonl.gz"

    def rows(self, split: Split) -> list[LabelledRow]:
        """The rows of a split, none where it has no file.

        Training rows are made ready to learn from: masks are taken out, and what the collection
        rules out counts as annotated.

        Raises:
            InputError: a line is broken.
        """
        if not self.path(split).is_file():
            return []
        rows = list(RowFile(self.path(split), ROW_TYPES[self.task]))
        if self.name in _MASKED_SOURCES and split == "train":
            rows = [row for row in map(_unmask, rows) if row.text]
        if self.name in _RULED_OUT and split == "train":
            rows = [_with_ruled_out(row, _RULED_OUT[self.name]) for row in rows]
        return rows


def sources(data: Path, task: Task, most_permissive: LicenceClass = "C") -> list[Source]:
    """The sources of a task, by name, whose licence class is not beyond `most_permissive`.

    Raises:
        InputError: the folder holds none.
    """
    classes = _licence_classes(data)
    found = [
        Source(task, folder.name, classes.get(folder.name, "C"), folder)
        for folder in sorted((data / task).glob("*"))
        if (folder / "train.jsonl.gz").is_file() or (folder / "test.jsonl.gz").is_file()
    ]
    allowed = [source for source in found if source.licence_class <= most_permissive]
    if not allowed:
        msg = f"{data / task} holds no source of class {most_permissive}; --data names the folder"
        raise InputError(msg)
    return allowed


def clean_rows(source: Source, split: Split) -> list[ModerationRow]:
    """Ordinary text of another task, as weak negatives for moderation.

    Moderation sources are collected around offence, so without these rows a model flags what is
    merely ordinary. Titles, abstracts, posts and praise count as clean of every label; other
    reviews and dialogue may hold insults, so of abuse and hate they say nothing. Of tweets only
    praise is taken that holds no term of the data folder's lexicon, as clean of abuse, hate and
    violence. Text that names an identity is taken before other text (Dixon et al. 2018).

    Returns:
        A bounded sample, the same at every call.
    """
    if source.task is Task.MODERATION:
        return []
    rows = source.rows(split)
    if source.name in _COARSE:
        explicit = _lexicon(source.folder.parents[1])
        rows = [row for row in rows if _is_praise(row) and not explicit.search(row.text.lower())]
    rows = sorted(rows, key=_precedence)[:_CLEAN_ROWS_A_SOURCE]
    if source.name in _COARSE:
        return [_clean_of(row.text, _PRAISE_LABELS) for row in rows]
    return [_clean_row(row) for row in rows]


def unlabelled_texts(source: Source) -> list[str]:
    """Training texts of another task, of which a teacher says what nobody else did.

    Returns:
        A bounded sample, the same at every call; of keywords the titles.
    """
    texts = [
        row.text.partition("\n")[0] if isinstance(row, KeywordsRow) else row.text
        for row in source.rows("train")
    ]
    return sorted(texts, key=place_of)[:_UNLABELLED_TEXTS_A_SOURCE]


def names_identity(text: str) -> bool:
    """Whether a word of it names people for what they are; in no way complete."""
    return _IDENTITY.search(text) is not None


def all_texts(data: Path, most_permissive: LicenceClass, split: Split) -> Iterator[str]:
    """Texts of all tasks, from which the vocabulary and the language model are made.

    Raises:
        InputError: a line is broken, or no task has a source.
    """
    for task in Task:
        for source in sources(data, task, most_permissive):
            for row in source.rows(split):
                yield row.text


def data_hash(used: list[Source]) -> str:
    """Hash over every file of the sources, 16 hex digits."""
    digest = sha256()
    for source in used:
        for split in _SPLITS:
            if source.path(split).is_file():
                digest.update(f"{source.task}/{source.name}/{split}".encode())
                digest.update(sha256(source.path(split).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _licence_classes(data: Path) -> dict[str, LicenceClass]:
    path = data / "counts.json"
    if not path.is_file():
        return {}
    try:
        counts = json.loads(path.read_bytes())
        return {name: entry["klass"] for name, entry in counts.items() if "klass" in entry}
    except (ValueError, TypeError, AttributeError) as error:
        msg = f"{path} is broken ({error}); restore it"
        raise InputError(msg) from error


def _unmask(row: LabelledRow) -> LabelledRow:
    return row.model_copy(update={"text": _MASKS.sub(" ", row.text).strip()})


def _with_ruled_out(row: LabelledRow, ruled_out: frozenset[ModerationLabel]) -> LabelledRow:
    if not isinstance(row, ModerationRow):
        return row
    return row.model_copy(update={"annotated": row.annotated | ruled_out})


def _precedence(row: LabelledRow) -> tuple[bool, float]:
    """Text that names an identity comes first, the rest by chance."""
    return not names_identity(row.text), place_of(row.text)


def _clean_row(row: LabelledRow) -> ModerationRow:
    if isinstance(row, KeywordsRow):
        return _clean_of(row.text.partition("\n")[0], frozenset(MODERATION_LABELS))
    known = frozenset(MODERATION_LABELS) if _is_praise(row) else _CLEAN_REVIEW_LABELS
    return _clean_of(row.text, known)


def _clean_of(text: str, labels: frozenset[ModerationLabel]) -> ModerationRow:
    return ModerationRow(text=text, labels=frozenset(), annotated=labels)


def _is_praise(row: LabelledRow) -> bool:
    return isinstance(row, SentimentRow) and row.label == "positive"


def _lexicon(data: Path) -> re.Pattern[str]:
    """Matches the English terms of the data folder's lexicon, whole words; nothing without one."""
    path = data / "lexicon" / "lexicon.jsonl.gz"
    lines = read_lines(path) if path.is_file() else ()
    terms = [str(json.loads(line)["term"]) for line in lines]
    english = sorted(re.escape(term.lower()) for term in terms if term.isascii())
    return re.compile(rf"\b(?:{'|'.join(english)})\b" if english else r"(?!)")
