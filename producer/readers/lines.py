"""Physical lines of a stream, with a bound on what one of them may take of memory."""

import codecs
from collections.abc import Iterator
from typing import NamedTuple

from producer.readers.rows import damaged
from producer.readers.source import DAMAGED, Stream
from schema.documents import Rejected
from schema.outcomes import ErrorCode

_SKIP = 1024 * 1024


class Line(NamedTuple):
    """One physical line.

    Attributes:
        number: counted from 1.
        text: its text with its line break; where the line has a fault, as much as is known.
        fault: why no record can be made of it.
    """

    number: int
    text: str
    fault: Rejected | None = None


def read_lines(stream: Stream, limit: int) -> Iterator[Line]:
    """Split a stream at line feeds and decode each line by itself.

    A byte order mark is dropped. A line of more than `limit` bytes is skipped without being
    held. Where the stream breaks, a last line with a fault stands for the rest.
    """
    number = 0
    while True:
        number += 1
        try:
            content = stream.readline(limit + 1)
            if len(content) > limit:
                _skip_rest(stream, content)
                yield Line(number, "", _too_long(number, limit))
                continue
        except DAMAGED as error:
            yield Line(number, "", damaged(number, "line", error))
            return
        if not content:
            return
        if number == 1:
            content = content.removeprefix(codecs.BOM_UTF8)
        yield _decode(number, content)


def _skip_rest(stream: Stream, content: bytes) -> None:
    while content and not content.endswith(b"\n"):
        content = stream.readline(_SKIP)


def _decode(number: int, content: bytes) -> Line:
    try:
        return Line(number, content.decode())
    except UnicodeDecodeError as error:
        fault = Rejected(
            line=number,
            code=ErrorCode.INVALID_ENCODING,
            message=f"byte {error.start + 1} of the line is not UTF-8; convert the file to UTF-8",
        )
        return Line(number, content.decode(errors="replace"), fault)


def _too_long(number: int, limit: int) -> Rejected:
    return Rejected(
        line=number,
        code=ErrorCode.TEXT_TOO_LARGE,
        message=f"the line has more than {limit} bytes; split its text",
    )
