"""TSV with a header row, of both kinds: dumps that quote nothing, and files from spreadsheets.

Nothing says which kind a file is, so this is decided for each value: its quotes count as quoting
only if they cannot have swallowed another row.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from producer.readers.lines import Line
from producer.readers.rows import Expected, Row
from producer.readers.separated import assembled
from schema.documents import Rejected

LINE_BYTES = 100
"""Bytes of memory that a line takes besides its text."""


def read_tabbed(
    lines: Iterable[Line], expected: Expected, *, limit: int
) -> Iterator[Row | Rejected]:
    """Make a row from every record.

    A tab always separates values. A value counts as quoted if it begins with a quote, and the next
    quote that is not doubled is followed by a tab or the end of a line, with no tab in between.
    Such a value may hold line breaks: a row of two or more columns has a tab, so no row is lost in
    it. Any other quote is text. In a file with one column every line is a record, even a blank one,
    since nothing tells its rows from line breaks in a value; in other files a blank line is not a
    record. A file without lines has no records.

    Args:
        lines: the physical lines.
        expected: columns that the header must name.
        limit: most bytes of a value that spans several lines.

    Raises:
        InputError: there is not a header row, or it lacks an expected column.
    """
    source = _Lines(lines)
    top = source.take()
    if top is None:
        return
    header = _header(top, expected)
    while first := source.take():
        record = _record(first, source, len(header), limit)
        row = _row(record, header)
        if row is not None:
            yield row


class _Lines:
    """The lines of a file, some of which may be given back."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self._again: deque[Line] = deque()

    def take(self) -> Line | None:
        """The next line; None at the end."""
        return self._again.popleft() if self._again else next(self._lines, None)

    def give_back(self, lines: Sequence[Line]) -> None:
        """Let these lines be taken next."""
        self._again.extendleft(reversed(lines))

    def take_until_closed(self, room: int) -> list[Line]:
        """The lines up to the one that closes an open quote; none if the quote is text.

        A line whose first character is an opening quote ends the search for quotes above it, and so
        does a tab. Few lines are therefore searched twice.
        """
        taken: list[Line] = []
        while room > 0 and (line := self.take()):
            taken.append(line)
            room -= len(line.text) + LINE_BYTES
            inside, tab, _ = _content(line.text).partition("\t")
            if _closes(inside):
                return taken
            if tab or not _is_open(inside):
                break
        self.give_back(taken)
        return []


def _header(line: Line, expected: Expected) -> list[str]:
    if line.fault or not _content(line.text):
        raise expected.no_header(line.fault)
    if "\r" in _content(line.text):
        raise expected.carriage_returns()
    header = _values(line.text)
    expected.check(header)
    return header


def _record(first: Line, source: _Lines, columns: int, limit: int) -> list[Line]:
    """The lines of the record that begins with `first`."""
    taken = [first]
    text = first.text
    while 1 < columns > text.count("\t") and _opens(text.rpartition("\t")[2]):
        more = source.take_until_closed(limit - len(text))
        if not more:
            break
        taken += more
        text += "".join(line.text for line in more)
    if len(taken) > 1 and text.count("\t") + 1 != columns:
        # The closing quote belongs to the first value of another row.
        source.give_back(taken[1:])
        return [first]
    return taken


def _row(record: Sequence[Line], header: Sequence[str]) -> Row | Rejected | None:
    values = _values("".join(line.text for line in record))
    return assembled(record, [] if values == [""] else values, header, _too_many)


def _too_many(_: Sequence[str]) -> str:
    return "write blanks for tabs in values"


def _values(text: str) -> list[str]:
    values = _content(text).split("\t")
    return [_unquoted(value) for value in values] if '"' in text else values


def _content(text: str) -> str:
    """A line without its line break."""
    return text.removesuffix("\n").removesuffix("\r")


def _unquoted(value: str) -> str:
    quoted = value.startswith('"') and _closes(value[1:])
    return value[1:-1].replace('""', '"') if quoted else value


def _opens(value: str) -> bool:
    return value.startswith('"') and _is_open(value[1:])


def _is_open(inside: str) -> bool:
    """Whether `inside`, the text after an opening quote, has no closing quote."""
    return '"' not in inside.replace('""', "")


def _closes(inside: str) -> bool:
    """Whether the first closing quote of `inside` is its last character."""
    single = inside.replace('""', "")
    return single.endswith('"') and single.count('"') == 1
