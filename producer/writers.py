"""Write outcomes to a file: one row per document, with the same fields in every format.

CSV and Parquet have additional columns for what people look at first.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from stat import S_IMODE
from typing import BinaryIO
from uuid import uuid4

from producer.outcomes import FIELDS, TEXT
from schema.base import json_text

COLUMNS = (*FIELDS[:2], "label", "score", "keywords", "code", "message", *FIELDS[2:])
"""Columns of CSV and Parquet: `FIELDS`, and before `result`, parts of `result` and `error`."""

ROWS_AT_ONCE = 5000
"""Most rows of a Parquet row group."""

CHARACTERS_AT_ONCE = 32_000_000
"""Characters after which a row group ends, so that memory is bounded for long documents."""

_NUMBERS = {"score": "float64", "line": "int64"}


class OutputFormat(StrEnum):
    """How outcomes are written; CSV and Parquet hold objects as JSON text."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


def write_outcomes(
    rows: Iterable[Mapping[str, object]],
    file_format: OutputFormat,
    out: BinaryIO,
    *,
    texts: bool = False,
) -> None:
    """Write `rows` to `out` as they arrive; `out` stays open.

    Values are written as they are: a spreadsheet may take a text that begins with `=` for a
    formula. If `rows` raises, `out` holds a part that looks complete, so write to a file with
    `replacing`.

    Args:
        rows: mappings with all of `FIELDS`, and with `text` if `texts` is set; other keys are left
            out.
        file_format: the format of the file.
        out: open for writing bytes.
        texts: whether the documents' texts are written.
    """
    more = (TEXT,) if texts else ()
    match file_format:
        case OutputFormat.JSONL:
            _write_jsonl(rows, out, (*FIELDS, *more))
        case OutputFormat.CSV:
            _write_csv(rows, out, (*COLUMNS, *more))
        case OutputFormat.PARQUET:
            _write_parquet(rows, out, (*COLUMNS, *more))


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` only once it is complete.

    It can be read by whoever may read the file at `path`, if there is one. A link, a pipe or a
    device is written to directly, so that it stays one.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        with path.open("wb") as file:
            yield file
        return
    part = path.with_name(f".{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            with suppress(OSError):  # there is no file, or its file system keeps no modes
                part.chmod(S_IMODE(path.stat().st_mode))
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write_jsonl(
    rows: Iterable[Mapping[str, object]], out: BinaryIO, fields: Sequence[str]
) -> None:
    for row in rows:
        line = json_text({name: row[name] for name in fields})
        out.write(line.encode() + b"\n")


def _write_csv(rows: Iterable[Mapping[str, object]], out: BinaryIO, columns: Sequence[str]) -> None:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    try:
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_flat(row, columns) for row in rows)
    finally:
        text.detach()


def _write_parquet(
    rows: Iterable[Mapping[str, object]], out: BinaryIO, columns: Sequence[str]
) -> None:
    # Importing it takes a third of a second, which only this format should cost.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = pa.schema([(name, _NUMBERS.get(name, "string")) for name in columns])
    flat = (_flat(row, columns) for row in rows)
    with pq.ParquetWriter(out, schema) as writer:
        for group in _groups(flat):
            writer.write_table(pa.Table.from_pylist(group, schema))


def _groups(rows: Iterable[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    group: list[dict[str, object]] = []
    characters = 0
    for row in rows:
        group.append(row)
        characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(group) == ROWS_AT_ONCE or characters > CHARACTERS_AT_ONCE:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _flat(row: Mapping[str, object], columns: Sequence[str]) -> dict[str, object]:
    fields = {name: row[name] for name in (*FIELDS, TEXT) if name in columns}
    objects = {
        name: json_text(value)
        for name, value in fields.items()
        if name in ("result", "error", "metadata") and value is not None
    }
    return dict.fromkeys(columns) | fields | objects | _answer(row["result"]) | _fault(row["error"])


def _answer(result: object) -> dict[str, object]:
    """The label, score or keywords of a result; lists are written `a;b`, as in verdicts.

    A generated keyword begins with `+`, as `textmill-worker predict` prints it.
    """
    match result:
        case {"task": "sentiment", "label": label, "score": score}:
            return {"label": label, "score": score}
        case {"task": "moderation", "labels": labels, "scores": scores}:
            return {"label": ";".join(labels) or "clean", "score": max(scores.values())}
        case {"task": "keywords", "keywords": keywords}:
            return {"keywords": ";".join(map(_keyword, keywords))}
    return {}


def _keyword(keyword: Mapping[str, object]) -> str:
    return f"{'+' if keyword.get('generated') else ''}{keyword['text']}"


def _fault(error: object) -> dict[str, object]:
    match error:
        case {"code": code, "message": message}:
            return {"code": code, "message": message}
    return {}
