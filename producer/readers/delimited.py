"""CSV with a header row, as RFC 4180 describes it."""

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from producer.readers.lines import Line
from producer.readers.rows import Expected, Row
from producer.readers.separated import assembled
from schema.documents import Rejected
from schema.errors import InputError
from schema.outcomes import ErrorCode


def read_delimited(
    lines: Iterable[Line], expected: Expected, *, limit: int
) -> Iterator[Row | Rejected]:
    """Make a row from every record; quoted values may hold line breaks.

    Of a broken record, only the first line is rejected: reading continues with the line below it,
    so that a stray quote does not swallow the records that follow. A blank line is a record only if
    there is one column. A file without lines has no records.

    Args:
        lines: the physical lines.
        expected: columns that the header must name.
        limit: most characters of a record.

    Raises:
        InputError: there is not a header row, or it lacks an expected column.
    """
    allow_cells(limit)
    source = _RecordLines(lines, limit)
    values = csv.reader(source, strict=True)
    if not source.begin():
        return
    header = _header(source, values, expected)
    while source.begin():
        row = _row(source, values, header)
        if row is not None:
            yield row


class _RecordLines:
    """Feeds csv.reader the lines of one record at a time, and takes back those of a broken one.

    Attributes:
        taken: the lines of the record so far.
    """

    def __init__(self, lines: Iterable[Line], limit: int) -> None:
        self.taken: list[Line] = []
        self._lines = iter(lines)
        self._again: deque[Line] = deque()
        self._limit = limit
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        # A record with an open quote already ran through the lines of `_again` into an error. A
        # later record that reaches them would run into the same error, so stop here: this keeps
        # the work linear.
        if self.taken and (self._again or self._size > self._limit):
            raise StopIteration
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        self._size += len(line.text)
        return line.text

    def begin(self) -> bool:
        """Move to the next record; return False if there is none."""
        self.taken.clear()
        self._size = 0
        if not self._again:
            self._again.extend(line for line in (next(self._lines, None),) if line)
        return bool(self._again)

    def take_back(self) -> Line:
        """Give up the record and return its first line; its other lines are read again."""
        first, *others = self.taken
        self._again.extendleft(reversed(others))
        return first


def allow_cells(size: int) -> None:
    """Let the csv module read cells of up to `size` characters.

    The module has one limit for the whole process, so the limit is never lowered.
    """
    csv.field_size_limit(max(csv.field_size_limit(), size))


def _header(source: _RecordLines, values: Iterator[list[str]], expected: Expected) -> list[str]:
    try:
        header = next(values)
    except csv.Error as error:
        if _is_carriage_return(error):
            raise expected.carriage_returns() from None
        _refuse_semicolons(source.taken[0], expected)
        msg = (
            f"the first line of {expected.name} is not a header row ({error});"
            " close quotes, and double those in names"
        )
        raise InputError(msg) from error
    fault = next((line.fault for line in source.taken if line.fault), None)
    if not header or fault:
        raise expected.no_header(fault)
    if not set(expected.fields).issubset(header):
        _refuse_semicolons(source.taken[0], expected)
    expected.check(header)
    return header


def _refuse_semicolons(header: Line, expected: Expected) -> None:
    if ";" in header.text and "," not in header.text:
        msg = (
            f"{expected.name} seems to be separated by semicolons; separate it by commas, for"
            " instance with: python3 -c 'import csv, sys;"
            ' csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, delimiter=";"))\''
            " < FILE > NEW"
        )
        raise InputError(msg)


def _row(
    source: _RecordLines, values: Iterator[list[str]], header: list[str]
) -> Row | Rejected | None:
    try:
        record = next(values)
    except csv.Error as error:
        first = source.take_back()
        return first.fault or Rejected(
            line=first.number, code=ErrorCode.INVALID_RECORD, message=_broken(error, first.text)
        )
    return assembled(source.taken, record, header, _too_many)


def _too_many(values: Sequence[str]) -> str:
    if any(value.lstrip().startswith('"') for value in values if value[:1].isspace()):
        return "remove the blank before a quote: only directly after the separator it quotes"
    return "quote values that hold the separator"


def _broken(error: csv.Error, first: str) -> str:
    if _is_carriage_return(error):
        return "a carriage return stands outside quotes; quote values that hold line breaks"
    remedy = (
        r'write a quote in a value as "", not as \"'
        if '\\"' in first
        else 'close a quote that begins a value, and double one within it: "say ""hi"" to her"'
    )
    return f"no record starts here ({error}); {remedy}"


def _is_carriage_return(error: csv.Error) -> bool:
    # The csv module's message advises how to open a file in Python.
    return str(error).startswith("new-line character")
