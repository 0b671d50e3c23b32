"""Plain text: one document per line."""

from collections.abc import Iterable, Iterator

from producer.readers.lines import Line
from producer.readers.rows import Expected, Row
from schema.documents import Rejected

TEXT_FIELD = "text"


def read_plain(lines: Iterable[Line], expected: Expected) -> Iterator[Row | Rejected]:
    """Make a row from every line, even a blank one; the line break is not part of the text.

    Raises:
        InputError: a field other than `text` is requested.
    """
    expected.check([TEXT_FIELD])
    for line in lines:
        if line.fault:
            yield line.fault
        else:
            text = line.text.removesuffix("\n").removesuffix("\r")
            yield Row(line.number, {TEXT_FIELD: text})
