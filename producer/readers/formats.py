"""The formats that documents are read from."""

from enum import StrEnum
from pathlib import PurePath

from schema.errors import InputError

STDIN = "-"


class Format(StrEnum):
    """How a file holds its documents.

    `jsonl` is an object a line, `csv` and `tsv` have a header row, `txt` is a document a line.
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


def guess_format(path: str) -> Format:
    """The format that the name of a file speaks of; `.gz` at its end does not matter.

    Raises:
        InputError: its suffix is not known.
    """
    if path == STDIN:
        return Format.JSONL
    name = PurePath(path.lower().removesuffix(".gz"))
    if name.suffix not in _BY_SUFFIX:
        msg = f"{path}: its name does not tell its format; give --format {'|'.join(Format)}"
        raise InputError(msg)
    return _BY_SUFFIX[name.suffix]
