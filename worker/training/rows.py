"""Labelled rows of training and evaluation files."""

import gzip
import sys
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer

from schema.documents import Task
from schema.errors import InputError
from schema.outcomes import MODERATION_LABELS, ModerationLabel, SentimentLabel


class Row(BaseModel):
    """A text with its gold; fields that a task does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    text: Annotated[str, Field(min_length=1)]


class TextRow(Row):
    """A text without gold; it may be empty, and its document then fails."""

    text: str


class SentimentRow(Row):
    """A text of one polarity."""

    label: SentimentLabel


class TaughtSentimentRow(SentimentRow):
    """A sentiment row with a teacher's soft labels; no file holds such rows.

    Attributes:
        soft: how likely each label is according to the teacher.
    """

    soft: dict[SentimentLabel, float]


class ModerationRow(Row):
    """A text and the labels that hold of it.

    Attributes:
        labels: the labels that hold.
        annotated: the labels that the source annotates; nothing is known of the others.
    """

    labels: frozenset[ModerationLabel]
    annotated: frozenset[ModerationLabel] = frozenset(MODERATION_LABELS)

    @field_serializer("labels", "annotated")
    def _in_order(self, labels: frozenset[ModerationLabel]) -> list[ModerationLabel]:
        """Always the same order, since files are compared by their hash."""
        return sorted(labels)


class TaughtModerationRow(ModerationRow):
    """A moderation row with a teacher's soft labels; no file holds such rows.

    Attributes:
        soft: how likely each label is according to the teacher.
    """

    soft: dict[ModerationLabel, float]


class KeywordsRow(Row):
    """A text with its keywords, in any order; they need not occur in it.

    Attributes:
        keywords: what the tagger and the ranker learn.
        all_keywords: what the generator learns; the same as `keywords`, unless the source lists
            them here together with those that do not occur in the text.
    """

    keywords: tuple[str, ...]
    all_keywords: tuple[str, ...] = Field(default_factory=lambda known: known.get("keywords", ()))


LabelledRow = SentimentRow | ModerationRow | KeywordsRow
STANDARD_INPUT: Final = Path("-")
RowType = TypeVar("RowType", bound=Row)

ROW_TYPES: Final[dict[Task, type[LabelledRow]]] = {
    Task.SENTIMENT: SentimentRow,
    Task.MODERATION: ModerationRow,
    Task.KEYWORDS: KeywordsRow,
}


class RowFile(Generic[RowType]):
    """A file of JSON Lines, gzip-compressed if its name ends in `.gz`.

    Args:
        path: the file; `-` is standard input.
        row_type: the type of its rows.
    """

    def __init__(self, path: Path, row_type: type[RowType]) -> None:
        self._path = path
        self._row_type = row_type

    def __iter__(self) -> Iterator[RowType]:
        """Read the rows.

        Raises:
            InputError: the file cannot be read, or a line is broken; the message names the line.
        """
        for number, line in enumerate(read_lines(self._path), start=1):
            if line.strip():
                yield self._parse(line, number)

    def _parse(self, line: str, number: int) -> RowType:
        try:
            return self._row_type.model_validate_json(line)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"]) or "JSON"
            msg = f"{_name(self._path)}, line {number}: {where}: {fault['msg']}; correct the line"
            raise InputError(msg) from None


def of_type(row_type: type[RowType], rows: Iterable[Row]) -> list[RowType]:
    """The same rows, known to be of one type.

    Raises:
        TypeError: one is of another type.
    """
    typed = []
    for row in rows:
        if not isinstance(row, row_type):
            msg = f"{type(row).__name__} in place of {row_type.__name__}"
            raise TypeError(msg)
        typed.append(row)
    return typed


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a gzip-compressed file that `RowFile` reads; the same rows give the same bytes."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.writelines(row.model_dump_json().encode() + b"\n" for row in rows)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, possibly gzip-compressed (`.gz`); `-` is standard input.

    A byte order mark at its beginning is left out.

    Raises:
        InputError: the file cannot be read; the message says why.
    """
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                content = line.removeprefix(BOM_UTF8) if number == 1 else line
                yield _decode(path, number, content)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{_name(path)} cannot be read ({error}); name a .jsonl or .jsonl.gz file"
        raise InputError(msg) from error


def read_texts(path: Path) -> list[str]:
    """The documents of a file: one per line, or the `text` of each line of `.jsonl(.gz)`.

    Raises:
        InputError: the file cannot be read, or a line is broken.
    """
    if ".jsonl" in path.suffixes:
        return [row.text for row in RowFile(path, TextRow)]
    return [line.rstrip("\r\n") for line in read_lines(path)]


def _open(path: Path) -> AbstractContextManager[Iterable[bytes]]:
    if path != STANDARD_INPUT:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    if sys.stdin is None:
        msg = "standard input is closed; name a file"
        raise InputError(msg)
    return nullcontext(sys.stdin.buffer)


def _name(path: Path) -> str:
    return "standard input" if path == STANDARD_INPUT else str(path)


def _decode(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        msg = f"{_name(path)}, line {number}: byte {error.start + 1} is not UTF-8; convert it first"
        raise InputError(msg) from error
