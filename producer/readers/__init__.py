"""Read files of documents as records: documents, and rejected ones that name a line.

A file is in one of the formats of `Format`, plain or gzip-compressed, and is streamed: memory use
does not grow with its size. Whatever a record contains, it is read or rejected, and its neighbours
are not affected. A blank line is not a record in JSON Lines, nor between the rows of a CSV or TSV
file of several columns.
"""

from collections.abc import Generator, Iterable, Iterator
from itertools import chain, islice

from producer.intake import from_mapping
from producer.readers.delimited import read_delimited
from producer.readers.formats import Format, guess_format
from producer.readers.jsonl import read_jsonl
from producer.readers.lines import read_lines
from producer.readers.plain import read_plain
from producer.readers.rows import Expected, Row
from producer.readers.source import (
    Stream,
    display_name,
    opened,
    refuse_directory,
    refuse_other_formats,
    rereadable,
    seekable,
)
from producer.readers.tabbed import read_tabbed
from schema.documents import Record, Rejected
from schema.settings import IntakeSettings

__all__ = ["Format", "naming_file", "read_documents", "read_rows"]

ID_FIELD = "id"
LINE_MARGIN = 16 * 1024 * 1024
JSON_BYTES_PER_BYTE = 6  # `\u0041` is an A


def read_documents(
    path: str,
    *,
    file_format: Format | None = None,
    text_field: str = "text",
    id_field: str = ID_FIELD,
    limits: IntakeSettings,
) -> Iterator[Record]:
    """Read the documents of a file.

    The call itself opens the file and checks its beginning, before any record is requested, so
    that a caller can check many files before it acts on the first. A regular file is not held open
    between the call and the first record.

    Args:
        path: the file; `-` is standard input.
        file_format: None guesses from the name; standard input is then JSON Lines.
        text_field: field or column of the text.
        id_field: field or column of the external id; `id` may be absent, any other must exist. An
            empty cell in CSV and TSV means no id, as null does.
        limits: largest text, metadata and id.

    Returns:
        Records in the order of the file, each with its line (in Parquet: its row). If a file turns
        out to be damaged, one last rejected record covers everything that could not be read.

    Raises:
        InputError: the file is missing, unreadable, of another format, or lacks a field; raised
            later, when a record is requested, if the file is built to decompress without end, or
            holds something that the library for its format cannot read.
    """
    fields = (text_field,) if id_field == ID_FIELD else (text_field, id_field)

    def records() -> Generator[Record]:
        with opened(path) as stream:
            for row in read_rows(stream, chosen, expected, limits):
                if isinstance(row, Row):
                    no_id = has_cells and row.fields.get(id_field) == ""
                    yield from_mapping(
                        {**row.fields, id_field: None} if no_id else row.fields,
                        limits=limits,
                        text_field=text_field,
                        id_field=id_field,
                        line=row.line,
                    )
                else:
                    yield row

    refuse_directory(path)
    chosen = file_format or guess_format(path)
    has_cells = chosen in (Format.CSV, Format.TSV)
    expected = Expected(display_name(path), fields)
    reading = records()
    first = list(islice(reading, 1))
    if not rereadable(path):
        return chain(first, reading)
    reading.close()
    return records()


def naming_file(path: str, records: Iterable[Record]) -> Iterator[Record]:
    """The same records; rejected ones also name the file: with several, the line is not enough.

    Args:
        path: the file of `records`.
        records: the records of one file.
    """
    # A file name need not be UTF-8, but a message must be.
    name = display_name(path).encode(errors="replace").decode()
    for record in records:
        if isinstance(record, Rejected):
            yield record.model_copy(update={"message": f"{name}: {record.message}"})
        else:
            yield record


def read_rows(
    stream: Stream, file_format: Format, expected: Expected, limits: IntakeSettings
) -> Iterator[Row | Rejected]:
    """Read rows that may become documents, or something else that such files hold.

    Args:
        stream: the bytes, decompressed.
        file_format: of the stream.
        expected: the file's name for messages, and the columns that must exist.
        limits: largest text, which bounds the memory that a row may take.

    Returns:
        The fields of each record, or why they cannot be read.

    Raises:
        InputError: it is of another format, or lacks an expected column.
    """
    limit = LINE_MARGIN + JSON_BYTES_PER_BYTE * limits.max_document_bytes
    if file_format is Format.PARQUET:
        # Importing it takes a third of a second, which only this format should cost.
        from producer.readers.parquet import read_parquet  # noqa: PLC0415

        with seekable(stream, expected.name) as file:
            yield from read_parquet(file, expected, limit=limit)
        return
    refuse_other_formats(stream, expected.name)
    lines = read_lines(stream, limit)
    match file_format:
        case Format.JSONL:
            yield from read_jsonl(lines, expected)
        case Format.CSV:
            yield from read_delimited(lines, expected, limit=limit)
        case Format.TSV:
            yield from read_tabbed(lines, expected, limit=limit)
        case Format.TXT:
            yield from read_plain(lines, expected)
