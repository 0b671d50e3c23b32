"""The formats that documents are read from."""

from collections.abc import Collection
from enum import StrEnum
from pathlib import PurePath

from schema.errors import InputError

STDIN = "-"


class Format(StrEnum):
    """How a file holds its documents.

    `jsonl` has an object per line, `csv` and `tsv` a header row, `txt` a document per line.
    """

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    TXT = "txt"


_BY_SUFFIX = {f".{known}": known for known in Format} | {
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
}


def guess_format(path: str, formats: Collection[Format] = tuple(Format)) -> Format:
    """The format that the name of a file implies; `.gz` at its end is ignored.

    Raises:
        InputError: its suffix is that of none of `formats`.
    """
    if path == STDIN:
        return Format.JSONL
    name = PurePath(path.lower().removesuffix(".gz"))
    found = _BY_SUFFIX.get(name.suffix)
    if found is None or found not in formats:
        msg = f"{path}: its name does not tell its format; give --format {'|'.join(formats)}"
        raise InputError(msg)
    return found
