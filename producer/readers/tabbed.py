"""TSV with a header row, of both kinds: dumps that quote nothing, and what spreadsheets write.

Nothing says which kind a file is of, so each value is looked at: its quotes are quoting only where
they cannot have swallowed another row.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from producer.readers.lines import Line
from producer.readers.rows import Expected, Row
from producer.readers.separated import assembled
from schema.documents import Rejected

LINE_BYTES = 100
"""What a line takes of memory beside its text."""


def read_tabbed(
    lines: Iterable[Line], expected: Expected, *, limit: int
) -> Iterator[Row | Rejected]:
    """Make a row of every record.

    A tab always separates. A value counts as quoted where a quote begins it, and the next quote
    that is not doubled stands before a tab or at the end of a line, without a tab in between. Such
    a value may hold line breaks: a row of two columns has a tab, so none is lost in it. Any other
    quote is text. Of a file with one column every line is a record, since nothing tells its rows
    from line breaks in a value. A blank line is a record only there.
    Without any line there is no record.

    Args:
        lines: the physical lines.
        expected: columns that the header must name.
        limit: most bytes of a value that goes over several lines.

    Raises:
        InputError: there is no header row, or it lacks an expected column.
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
        """Have these lines come next."""
        self._again.extendleft(reversed(lines))

    def take_until_closed(self, room: int) -> list[Line]:
        """The lines up to the one that closes an open quote; none where the quote is text.

        A line that opens a quote itself, as its first character, ends the search of any quote
        above it, and so does a tab. The lines that are looked through twice are few.
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
        # The closing quote is the first value of another row.
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
    """Whether no quote closes what an opening quote stands before."""
    return '"' not in inside.replace('""', "")


def _closes(inside: str) -> bool:
    """Whether the first quote that closes it is its last character."""
    single = inside.replace('""', "")
    return single.endswith('"') and single.count('"') == 1
