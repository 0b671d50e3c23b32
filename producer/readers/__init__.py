"""Files of documents, of every format, as records: documents, and refusals that name a line.

A file is in one of the formats of `Format`, plain or gzip-compressed, and is streamed: memory
does not grow with it. Whatever stands in it, a record is read or refused, and its neighbours are
not affected. Only a blank line is no record, in JSON Lines and between the rows of a CSV or
TSV file of several columns.
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

    The file is opened and its head is checked at the call, before a record is asked for, so that
    a caller can check many files before it acts on the first. A regular file is not held open
    between the call and the first record.

    Args:
        path: the file; `-` is standard input.
        file_format: None guesses from the name; standard input is then JSON Lines.
        text_field: field or column of the text.
        id_field: field or column of the external id; `id` may be absent, any other must exist. An
            empty cell of CSV and TSV is no id, as null is none.
        limits: largest text, metadata and id.

    Returns:
        Records in the order of the file, each with its line (in Parquet: its row). Where a file
        turns out to be damaged, one last refusal stands for all that could not be read.

    Raises:
        InputError: the file is missing, unreadable, of another format, or has no such field;
            raised later, with a record, where it is made to decompress without end, or holds
            what the library for its format does not read.
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
    """The same records; refused ones name the file, as the line alone would not do among several.

    Args:
        path: where `records` come from.
        records: those of one file.
    """
    # A name need not be UTF-8, a message must.
    name = display_name(path).encode(errors="replace").decode()
    for record in records:
        if isinstance(record, Rejected):
            yield record.model_copy(update={"message": f"{name}: {record.message}"})
        else:
            yield record


def read_rows(
    stream: Stream, file_format: Format, expected: Expected, limits: IntakeSettings
) -> Iterator[Row | Rejected]:
    """Read what may become documents, or something else that comes in such files.

    Args:
        stream: the bytes, decompressed.
        file_format: of the stream.
        expected: the name to tell people, and the columns that must be there.
        limits: largest text, which bounds what a row may take of memory.

    Returns:
        The fields of each record, or why they cannot be told.

    Raises:
        InputError: it is of another format, or has not the expected columns.
    """
    limit = LINE_MARGIN + JSON_BYTES_PER_BYTE * limits.max_document_bytes
    if file_format is Format.PARQUET:
        # Its import takes a third of a second, which no other format should cost.
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
