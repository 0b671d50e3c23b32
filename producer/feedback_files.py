"""Files of verdicts, one per row, read in the same way as files of documents."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from producer import readers
from producer.feedback import Verdict
from producer.readers.formats import Format, guess_format
from producer.readers.rows import Expected, Row, listed
from producer.readers.source import display_name, opened
from schema.documents import Rejected
from schema.errors import InputError
from schema.settings import IntakeSettings

FORMATS: Final = (Format.JSONL, Format.CSV, Format.TSV, Format.PARQUET)
"""Formats whose rows have fields."""

_FIELDS: Final = tuple(Verdict.model_fields)
_NEEDED: Final = tuple(name for name, field in Verdict.model_fields.items() if field.is_required())
_EXAMPLE: Final = "{" + ", ".join(f'"{name}": ...' for name in _NEEDED) + "}"
_NAME_SHOWN: Final = 40  # characters of a column's name


def read_rows(
    path: str,
    file_format: Format | None,
    limits: IntakeSettings,
    *,
    given: Collection[str] = (),
    ignoring: Callable[[str], None],
) -> Iterator[Row | Rejected]:
    """Read rows that may be verdicts; rows of a table keep only the fields of a verdict.

    Args:
        path: the file, plain or gzip-compressed; `-` is standard input.
        file_format: one of `FORMATS`; None guesses from the name, and takes standard input for
            JSON Lines.
        limits: the largest text, since a row may hold one besides its verdict.
        given: fields that a row may lack, since they are given elsewhere.
        ignoring: called once with the columns of a table that are left out, if there are any.

    Raises:
        InputError: the file cannot be read, is of another format, or is a table that lacks a column
            which every verdict needs and `given` does not name.
    """
    chosen = file_format or guess_format(path, FORMATS)
    name = display_name(path)
    with opened(path) as stream:
        # Expects no fields: the message of `Expected` about a missing field is for documents.
        rows = readers.read_rows(stream, chosen, Expected(name, (), _EXAMPLE), limits)
        needed = [field for field in _NEEDED if field not in given]
        yield from rows if chosen is Format.JSONL else _known(rows, name, needed, ignoring)


def _known(
    rows: Iterator[Row | Rejected],
    name: str,
    needed: Sequence[str],
    ignoring: Callable[[str], None],
) -> Iterator[Row | Rejected]:
    """The rows of a table, with only the columns that a verdict has."""
    columns: Sequence[str] | None = None
    for row in rows:
        if isinstance(row, Row):
            if columns is None:
                columns = _checked(list(row.fields), name, needed, ignoring)
            yield Row(row.line, {column: row.fields[column] for column in columns})
        else:
            yield row


def _checked(
    found: Sequence[str], name: str, needed: Sequence[str], ignoring: Callable[[str], None]
) -> Sequence[str]:
    if lacking := [column for column in needed if column not in found]:
        msg = (
            f"{name} has no column {', '.join(lacking)}; verdicts have the columns"
            f" {', '.join(_FIELDS)}, of which {', '.join(needed)} are needed;"
            f" it has: {_named(found)}"
        )
        raise InputError(msg)
    if unknown := [column for column in found if column not in _FIELDS]:
        ignoring(_named(unknown))
    return [column for column in found if column in _FIELDS]


def _named(columns: Sequence[str]) -> str:
    return listed(
        [column if len(column) <= _NAME_SHOWN else f"{column[:_NAME_SHOWN]}…" for column in columns]
    )
