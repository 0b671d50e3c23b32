"""Physical lines of a stream, with a bound on the memory that one of them may take."""

import codecs
import re
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
        text: its text with its line break; if the line has a fault, as much as is known.
        fault: why no record can be made from it.
    """

    number: int
    text: str
    fault: Rejected | None = None


def read_lines(stream: Stream, limit: int) -> Iterator[Line]:
    """Split a stream at line feeds and decode each line by itself.

    A byte order mark is dropped. A line of more than `limit` bytes is skipped without being held
    in memory. If the stream breaks, one last line with a fault covers the rest.
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
        if number == 1:
            content = content.removeprefix(codecs.BOM_UTF8)
        if not content:
            return
        yield _decode(number, content)


def _skip_rest(stream: Stream, content: bytes) -> None:
    while content and not content.endswith(b"\n"):
        content = stream.readline(_SKIP)


def _decode(number: int, content: bytes) -> Line:
    try:
        return Line(number, content.decode())
    except UnicodeDecodeError as error:
        remedy = (
            " but may be GB18030 (GBK); convert the file with: iconv -f GB18030 -t UTF-8"
            if _may_be_gb18030(content)
            else "; convert the file to UTF-8"
        )
        fault = Rejected(
            line=number,
            code=ErrorCode.INVALID_ENCODING,
            message=f"byte {error.start + 1} of the line is not UTF-8{remedy}",
        )
        return Line(number, content.decode(errors="replace"), fault)


def _may_be_gb18030(content: bytes) -> bool:
    """Whether a line reads as Chinese in GB18030, and hardly as UTF-8.

    Chinese in UTF-8 can often be read as GB18030, too.
    """
    try:
        content.decode("gb18030")
    except UnicodeDecodeError:
        return False
    in_utf8 = [sign for sign in content.decode(errors="replace") if not sign.isascii()]
    # Accented letters are seldom adjacent, Chinese characters are.
    side_by_side = re.search(rb"[\x81-\xfe]{4}", content)
    return side_by_side is not None and 2 * in_utf8.count("\ufffd") > len(in_utf8)


def _too_long(number: int, limit: int) -> Rejected:
    return Rejected(
        line=number,
        code=ErrorCode.TEXT_TOO_LARGE,
        message=f"the line has more than {limit} bytes; split its text",
    )
