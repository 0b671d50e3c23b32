"""JSON Lines: one object per line."""

import json
import re
from collections.abc import Iterable, Iterator

from pydantic_core import from_json

from producer.readers.lines import Line
from producer.readers.rows import Expected, Row
from schema.documents import Rejected
from schema.errors import InputError
from schema.outcomes import ErrorCode

HEAD = 100
"""Records to read before a field counts as unknown; a single one may just be broken."""

HEAD_SIZE = 16 * 1024 * 1024
"""Characters of such records after which no more of them are held, unless there is only one."""

_JOINED = re.compile(r"\}[ \t]*\r\s*\{")  # a carriage return between two objects


def read_jsonl(lines: Iterable[Line], expected: Expected) -> Iterator[Row | Rejected]:
    """Make a row from every line that is not blank.

    Raises:
        InputError: none of the first objects has an expected field, the file is one JSON array,
            or its lines end in a carriage return alone.
    """
    unread = iter(lines)
    head: list[Row | Rejected] = []
    size = 0
    found: dict[str, None] = {}
    for line in unread:
        for row in _rows([line], expected):
            head.append(row)
            if isinstance(row, Row):
                found |= dict.fromkeys(row.fields)
        size += len(line.text)
        full = len(head) == HEAD or (size > HEAD_SIZE and len(head) > 1)
        if full or found.keys() >= set(expected.fields):
            break
    if found:
        expected.check(list(found))
    yield from head
    yield from _rows(unread, expected)


def _rows(lines: Iterable[Line], expected: Expected) -> Iterator[Row | Rejected]:
    for line in lines:
        if line.fault:
            yield line.fault
        elif line.text and not line.text.isspace():
            if line.number == 1:
                _refuse_array(line, expected.name)
            parsed = _parse(line, expected.example)
            if line.number == 1 and isinstance(parsed, Rejected) and _JOINED.search(line.text):
                raise expected.carriage_returns()
            yield parsed


def _refuse_array(line: Line, name: str) -> None:
    start = line.text[:64].split()
    if start == ["["] or "".join(start).startswith("[{"):
        msg = (
            f"{name} is one JSON array; write an object a line, for instance with: jq -c '.[]' FILE"
        )
        raise InputError(msg)


def _parse(line: Line, example: str) -> Row | Rejected:
    try:
        fields = _value(line.text.rstrip("\r\n"))  # else a cut string seems to hold them
    except json.JSONDecodeError as error:
        # Some of Python's messages end in "at", which needs a place after it.
        said, place = error.msg.removesuffix(" at"), error.pos + 1
        if said.startswith("Unterminated string"):
            said = "it breaks off inside the string that begins here"
        reason = f"the line is not JSON: {said}, character {place}"
        return _rejected(line, ErrorCode.INVALID_JSON, reason)
    except ValueError:
        reason = "the line holds an integer of too many digits; write it as a string"
        return _rejected(line, ErrorCode.INVALID_JSON, reason)
    except RecursionError:
        reason = "the line is nested too deep"
        return _rejected(line, ErrorCode.INVALID_JSON, reason)
    if not isinstance(fields, dict):
        reason = f"the line is JSON but not an object; write {example}"
        return _rejected(line, ErrorCode.INVALID_RECORD, reason)
    return Row(line.number, fields)


def _value(text: str) -> object:
    """The value that a line holds.

    What the fast parser refuses goes to Python's own, which takes three times as long: it accepts
    some of it, such as lone surrogates, and otherwise says what is wrong.
    """
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        return json.loads(text)


def _rejected(line: Line, code: ErrorCode, message: str) -> Rejected:
    return Rejected(line=line.number, code=code, message=message)
