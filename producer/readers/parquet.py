"""Parquet: one document per row."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from producer.readers.rows import Expected, Row, damaged
from producer.readers.source import ALLOWED_EXPANSION, FREE_EXPANSION
from producer.values import intake_error, plain
from schema.documents import Rejected
from schema.errors import DocumentError, InputError
from schema.outcomes import ErrorCode

ROWS_AT_ONCE = 256
BYTES_AT_ONCE = 512 * 1024 * 1024
BUFFER = 1024 * 1024
BYTES_PER_VALUE = 8

_DELTA = {"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"}
_PLAIN_STRINGS = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
_UNSUPPORTED = "Not yet implemented"
_DAMAGED = (pa.ArrowException, OSError, ValueError)
_NO_VALUE = (ValueError, OverflowError, LookupError)  # LookupError: an unknown time zone


def read_parquet(file: BinaryIO, expected: Expected, *, limit: int) -> Iterator[Row | Rejected]:
    """Make a `Row` from every row.

    Values that JSON cannot hold are converted by `plain`, here or at intake.

    Args:
        file: with random access.
        expected: columns that must exist.
        limit: most bytes of strings in a value; a larger value is rejected without being held in
            memory.

    Raises:
        InputError: it is not a Parquet file, lacks an expected column, is built to decompress
            without end, or holds something that Arrow cannot read.
    """
    try:
        metadata = pq.read_metadata(file)
        _check_columns(pq.ParquetFile(file, metadata=metadata))
        repeating = repeating_chunks(metadata)
        # With a buffer size, a column is read piece by piece, not a row group at once. Strings stay
        # in their dictionary: a file of a few hundred bytes may refer to one a billion times.
        parquet = pq.ParquetFile(
            file,
            metadata=metadata,
            read_dictionary=[path for path in _string_columns(metadata) if path not in repeating],
            buffer_size=BUFFER,
            pre_buffer=False,
        )
        names = parquet.schema_arrow.names
    except _DAMAGED as error:
        _refuse_unsupported(expected.name, error)
        msg = f"{expected.name} is not a Parquet file: {error}"
        raise InputError(msg) from error
    expected.check(names)
    _refuse_bomb(metadata, expected.name)
    largest = max(repeating.values(), default=0)
    at_once = min(ROWS_AT_ONCE, BYTES_AT_ONCE // (largest + 1) + 1)
    batches = parquet.iter_batches(batch_size=at_once)
    yield from _rows(batches, expected.name, names, limit)


def repeating_chunks(metadata: pq.FileMetaData) -> dict[str, int]:
    """Columns whose strings Arrow holds as often as they occur, not in a dictionary.

    Each value in a delta encoding may repeat all of the previous one, and each value of the type
    JSON may be the same, although the file holds it once.

    Returns:
        The bytes of the largest column chunk of each.
    """
    largest: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            is_json = metadata.schema.column(number).logical_type.type == "JSON"
            if is_json or not _DELTA.isdisjoint(chunk.encodings):
                path = chunk.path_in_schema
                largest[path] = max(largest.get(path, 0), chunk.total_uncompressed_size)
    return largest


def _check_columns(parquet: pq.ParquetFile) -> None:
    """Raise an error if the description of any column is broken, without reading a column.

    Asking the metadata for such a column would crash the process; a reader raises an error.
    """
    columns = list(range(parquet.metadata.num_columns))
    for group in range(parquet.num_row_groups):
        list(parquet.reader.iter_batches(0, row_groups=[group], column_indices=columns))


def _string_columns(metadata: pq.FileMetaData) -> list[str]:
    columns = (metadata.schema.column(number) for number in range(metadata.num_columns))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _refuse_unsupported(name: str, error: Exception) -> None:
    """Raise an InputError if Arrow does not support the file; damage is left to the caller.

    Otherwise, the rows of a good file would be taken for damaged and lost.
    """
    # Readers of batches pass the same error on as an OSError.
    if isinstance(error, pa.ArrowNotImplementedError) or str(error).startswith(_UNSUPPORTED):
        msg = (
            f"{name} holds what Arrow does not read ({error}); write it anew with other encodings"
            " and types, or as JSON Lines"
        )
        raise InputError(msg) from error


def _refuse_bomb(metadata: pq.FileMetaData, name: str) -> None:
    """Refuse a file whose metadata announces more than its bytes can honestly hold."""
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            size = column.total_uncompressed_size
            if metadata.schema.column(number).max_repetition_level:
                # One row may hold all values, and nulls take no bytes.
                size = max(size, column.num_values * BYTES_PER_VALUE)
            if size > FREE_EXPANSION + ALLOWED_EXPANSION * column.total_compressed_size:
                msg = (
                    f"{name} decompresses to more than {ALLOWED_EXPANSION} times its size"
                    f" (column {column.path_in_schema}); write it anew, with smaller row groups"
                )
                raise InputError(msg)


def _rows(
    batches: Iterator[pa.RecordBatch], name: str, columns: Sequence[str], limit: int
) -> Iterator[Row | Rejected]:
    # Some damage, such as an index beyond its dictionary, shows only when values are read.
    rows = (
        values
        for batch in batches
        for values in zip(*(_values(column, limit) for column in batch.columns), strict=True)
    )
    line = 0
    while True:
        line += 1
        try:
            values = next(rows, None)
        except _DAMAGED as error:
            _refuse_unsupported(name, error)
            yield damaged(line, "row", error)
            return
        if values is None:
            return
        yield _row(line, columns, values)


def _values(column: pa.Array, limit: int) -> Iterator[object]:
    """The values of a column; one by one if they are too large to hold at once."""
    if _string_bytes(column) <= limit:
        yield from _held(column)
        return
    for row in range(len(column)):
        value = column.slice(row, 1)
        if _string_bytes(value) > limit:
            yield intake_error(ErrorCode.TEXT_TOO_LARGE, f"has more than {limit} bytes; split it")
        else:
            yield from _held(value)


def _string_bytes(column: pa.Array) -> int:
    """Bytes of all strings in a column, each counted as often as it occurs."""
    if isinstance(column, pa.ExtensionArray):  # JSON, or a UUID
        column = column.storage
    kind = column.type
    if pa.types.is_dictionary(kind):
        sizes = pc.take(pc.binary_length(column.dictionary), column.indices)
        return pc.sum(sizes).as_py() or 0
    if kind in _PLAIN_STRINGS:
        return pc.sum(pc.binary_length(column)).as_py() or 0
    if pa.types.is_map(kind):
        start, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
        return sum(_string_bytes(part[start:end]) for part in (column.keys, column.items))
    if pa.types.is_struct(kind):
        return sum(map(_string_bytes, column.flatten()))
    if pa.types.is_nested(kind):
        return _string_bytes(column.flatten())
    return 0


def _held(column: pa.Array) -> list[object]:
    if pa.types.is_timestamp(column.type):
        # Python's times have no nanoseconds; in UTC no time zone data is needed.
        unit = "us" if column.type.unit == "ns" else column.type.unit
        in_utc = pa.timestamp(unit, "UTC" if column.type.tz else None)
        column = column.cast(in_utc, safe=False)
    try:
        values: list[object] = column.to_pylist(maps_as_pydicts="lossy")
    except _NO_VALUE:
        return [_value(scalar) for scalar in column]
    if pa.types.is_temporal(column.type) or pa.types.is_decimal(column.type):
        # Intake would do this too, but only after first trying to do without.
        return [plain(value) for value in values]
    return values


def _value(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py(maps_as_pydicts="lossy")
    except UnicodeDecodeError:
        return intake_error(ErrorCode.INVALID_ENCODING, "is not UTF-8")
    except _NO_VALUE as error:
        return intake_error(ErrorCode.INVALID_METADATA, f"cannot be read: {error}")


def _row(line: int, names: Sequence[str], values: Sequence[object]) -> Row | Rejected:
    fields = dict(zip(names, values, strict=True))
    for name, value in fields.items():
        if isinstance(value, DocumentError):
            return Rejected(line=line, code=value.code, message=f"column {name!r} {value}")
    return Row(line, fields)
