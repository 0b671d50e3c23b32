"""Parquet: a document a row."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import BinaryIO
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from producer.readers.rows import Expected, Row
from schema.documents import Rejected
from schema.errors import DocumentError, InputError
from schema.outcomes import ErrorCode, Stage

ROWS_AT_ONCE = 256
BUFFER = 1024 * 1024

_DAMAGED = (pa.ArrowException, OSError, ValueError)
_NO_VALUE = (ValueError, OverflowError, LookupError)  # LookupError: an unknown time zone


def read_parquet(file: BinaryIO, expected: Expected) -> Iterator[Row | Rejected]:
    """Make a row of every row.

    Values that JSON has no form for are written out: dates and times in ISO 8601, decimals,
    durations and UUIDs as strings; binary values are taken for UTF-8.

    Args:
        file: with random access.
        expected: columns that must exist.

    Raises:
        InputError: it is not a Parquet file, or lacks an expected column.
    """
    try:
        # With a buffer size a column is read piece by piece, not a row group at once.
        parquet = pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
        names = parquet.schema_arrow.names
    except _DAMAGED as error:
        msg = f"{expected.name} is not a Parquet file: {error}"
        raise InputError(msg) from error
    expected.check(names)
    yield from _rows(parquet.iter_batches(batch_size=ROWS_AT_ONCE), names)


def _rows(batches: Iterator[pa.RecordBatch], names: Sequence[str]) -> Iterator[Row | Rejected]:
    line = 0
    while True:
        try:
            batch = next(batches, None)
        except _DAMAGED as error:
            yield _damaged(line + 1, error)
            return
        if batch is None:
            return
        for values in zip(*map(_values, batch.columns), strict=True):
            line += 1
            yield _row(line, names, values)


def _values(column: pa.Array) -> list[object]:
    if pa.types.is_timestamp(column.type):
        # Python's times have no nanoseconds; in UTC no time zone data is needed.
        unit = "us" if column.type.unit == "ns" else column.type.unit
        in_utc = pa.timestamp(unit, "UTC" if column.type.tz else None)
        column = column.cast(in_utc, safe=False)
    try:
        values: list[object] = column.to_pylist(maps_as_pydicts="lossy")
    except _NO_VALUE:
        return [_value(scalar) for scalar in column]
    return values


def _value(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py(maps_as_pydicts="lossy")
    except UnicodeDecodeError:
        return _refusal(ErrorCode.INVALID_ENCODING, "is not UTF-8")
    except _NO_VALUE as error:
        return _refusal(ErrorCode.INVALID_METADATA, f"cannot be read: {error}")


def _row(line: int, names: Sequence[str], values: Sequence[object]) -> Row | Rejected:
    fields = {}
    for name, value in zip(names, values, strict=True):
        try:
            fields[name] = _as_json(value)
        except DocumentError as error:
            return Rejected(line=line, code=error.code, message=f"column {name!r} {error}")
    return Row(line, fields)


def _as_json(value: object) -> object:
    match value:
        case dict():
            return {str(key): _as_json(inner) for key, inner in value.items()}
        case list():
            return [_as_json(inner) for inner in value]
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal() | UUID() | timedelta():
            return str(value)
        case bytes():
            return _decode(value)
        case DocumentError():
            raise value
        case _:
            return value


def _decode(value: bytes) -> str:
    # Old writers do not mark strings as such, so binary is text until it proves otherwise.
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _refusal(ErrorCode.INVALID_ENCODING, "is not UTF-8") from None


def _refusal(code: ErrorCode, message: str) -> DocumentError:
    return DocumentError(code, Stage.INTAKE, message)


def _damaged(line: int, error: Exception) -> Rejected:
    return Rejected(
        line=line,
        code=ErrorCode.INVALID_ENCODING,
        message=(
            f"the file is damaged from row {line} on ({error}), nothing after it was read;"
            " make the file anew and submit it as a job of its own"
        ),
    )
