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
)

LicenceClass = Literal["A", "B", "C"]
"""A permissive; B share-alike or terms of the texts' own; C none found."""
Split = Literal["train", "valid", "test"]

_SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
_MASKS: Final = re.compile(r"NAME|PLACE|DIGIT|URL|CELLPHONE|PHONE|WECHAT|QQ|EMAIL|BANKCARD")
"""Words that a source put in the place of private data; a model would learn them, not the text."""
_MASKED_SOURCES: Final = frozenset({"zh-fbs-sms"})
_CLEAN_REVIEW_LABELS: Final[frozenset[ModerationLabel]] = frozenset(
    {"sexual", "violence", "spam", "fraud", "illicit"}
)
_CLEAN_ROWS_A_SOURCE: Final = 4000
_NEVER_CLEAN: Final = frozenset({"en-goemotions", "en-semeval2017", "en-vader-tweets"})
"""Reddit and tweets: insults and explicit talk are common here, whatever the polarity."""


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

        Raises:
            InputError: a line is broken.
        """
        if not self.path(split).is_file():
            return []
        rows = list(RowFile(self.path(split), ROW_TYPES[self.task]))
        if self.name in _MASKED_SOURCES and split == "train":
            rows = [row for row in map(_unmask, rows) if row.text]
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
    reviews and dialogue may hold insults, so of abuse and hate they say nothing.

    Returns:
        A bounded sample, the same at every call.
    """
    if source.task is Task.MODERATION or source.name in _NEVER_CLEAN:
        return []
    rows = sorted(source.rows(split), key=lambda row: sha256(row.text.encode()).digest())
    return [_clean_row(row) for row in rows[:_CLEAN_ROWS_A_SOURCE]]


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


def _clean_row(row: LabelledRow) -> ModerationRow:
    doubtful = isinstance(row, SentimentRow) and row.label != "positive"
    known = _CLEAN_REVIEW_LABELS if doubtful else frozenset(MODERATION_LABELS)
    text = row.text.partition("\n")[0] if isinstance(row, KeywordsRow) else row.text
    return ModerationRow(text=text, labels=frozenset(), annotated=known)
