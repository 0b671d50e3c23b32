"""The rules that every document must meet at intake, wherever it comes from."""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from producer.values import MAX_METADATA_DEPTH, intake_error, is_none, plain
from schema.documents import Document, Record, Rejected
from schema.errors import DocumentError
from schema.outcomes import ErrorCode
from schema.settings import IntakeSettings

NAME_SHOWN = 100
"""Most characters of a field's name that a message repeats."""

MAX_EXACT = 2**53
"""Largest whole number for which a float, such as 3.0, is surely the number that was written."""

_CONTROL = re.compile(r"[\x01-\x1f\x7f-\x9f]")  # NUL has a separate error code


def from_mapping(
    fields: Mapping[str, object],
    *,
    limits: IntakeSettings,
    text_field: str = "text",
    id_field: str = "id",
    line: int | None = None,
) -> Record:
    """Make a record from a mapping; fields that are neither text nor id become its metadata.

    Args:
        fields: a row of a file, or what a program submits.
        limits: largest text, metadata and id.
        text_field: which field is the text.
        id_field: which field is the external id; it may be absent.
        line: the record's line in its file, counted from 1.

    Returns:
        The document, or why it is rejected; broken content raises nothing.
    """
    metadata = dict(fields)
    metadata.pop(text_field, None)
    metadata.pop(id_field, None)
    return examine(
        external_id=fields.get(id_field),
        text=fields.get(text_field),
        metadata=metadata,
        limits=limits,
        line=line,
        text_field=text_field,
    )


def examine(
    *,
    external_id: object,
    text: object,
    metadata: Mapping[str, object],
    limits: IntakeSettings,
    line: int | None = None,
    text_field: str = "text",
) -> Record:
    """Make a record from unchecked parts.

    Args:
        external_id: a string without control characters; an integer, also as a decimal or as a
            float, into which pandas turns a column with gaps; a value that `plain` turns into a
            string or an integer; or None, or what `plain` turns into None, if the document has no
            id.
        text: a string that is not blank, or its bytes in UTF-8.
        metadata: anything that JSON can hold or `plain` can convert.
        limits: largest text, metadata and id.
        line: the record's line in its file, counted from 1.
        text_field: which field the text was in, for the message if there is none.

    Returns:
        The document, or the first rule that it breaks; broken content raises nothing.
    """
    known_id = None
    try:
        known_id = _examine_id(external_id, limits.max_id_characters)
        known_text = _examine_text(text, text_field, limits.max_document_bytes)
        most = limits.max_metadata_bytes
        try:
            return _document(known_id, known_text, metadata, line, most)
        except (TypeError, ValueError):  # it is not plain JSON; checking that first is slow
            return _document(known_id, known_text, _plain_metadata(metadata), line, most)
    except DocumentError as error:
        return Rejected(external_id=known_id, line=line, code=error.code, message=str(error))


def examine_rejected(rejected: Rejected, *, limits: IntakeSettings) -> Rejected:
    """The record, without anything that Postgres cannot store.

    Args:
        rejected: a record that a program rejected.
        limits: longest id; an id that breaks a rule is left out.
    """
    try:
        known_id = _examine_id(rejected.external_id, limits.max_id_characters)
    except DocumentError:
        known_id = None
    message = rejected.message.encode(errors="replace").decode().replace("\x00", "\ufffd")
    return rejected.model_copy(update={"external_id": known_id, "message": message})


def _document(
    external_id: str | None,
    text: str,
    metadata: Mapping[str, object],
    line: int | None,
    most: int,
) -> Document:
    checked = _examine_metadata(metadata, most) if metadata else {}
    return Document(external_id=external_id, text=text, metadata=checked, line=line)


def _examine_id(value: object, limit: int) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else written_id(value)
    if text is None:
        return None
    if not text or text.isspace() or len(text) > limit:
        msg = f"the id must have 1 to {limit} characters and not be blank"
        raise intake_error(ErrorCode.INVALID_ID, msg)
    if _CONTROL.search(text):
        msg = "the id holds a control character, such as a tab or a line break; remove it"
        raise intake_error(ErrorCode.INVALID_ID, msg)
    _examine_characters(text, "id")
    return text


def written_id(value: object) -> str | None:
    """The string for an id that is not a string; None if there is no id.

    Raises:
        DocumentError: no id can be made from it.
    """
    if not isinstance(value, int) and not (isinstance(value, Decimal) and value.is_finite()):
        value = _plain("the id", value, broken=ErrorCode.INVALID_ID)
    if value is None:
        return None
    if isinstance(value, float | Decimal) and _is_whole(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        fraction = " with a fraction" if isinstance(value, float | Decimal) else ""
        msg = f"the id is {_kind(value)}{fraction}; it must be a string or an integer"
        raise intake_error(ErrorCode.INVALID_ID, msg)
    try:
        return str(value)
    except ValueError:  # Python does not convert integers of thousands of digits
        return ""


def _is_whole(value: float | Decimal) -> bool:
    if isinstance(value, Decimal) and value.as_tuple().exponent == 0:
        return True
    # The range is checked first: a short decimal may have millions of digits.
    return -MAX_EXACT <= value <= MAX_EXACT and int(value) == value


def _examine_text(value: object, field: str, limit: int) -> str:
    if not isinstance(value, str | bytes) and is_none(value):
        msg = f"the field {field[:NAME_SHOWN]!r} is missing or null"
        raise intake_error(ErrorCode.MISSING_TEXT, msg)
    if isinstance(value, bytes):
        value = _plain("the text", value)
    if not isinstance(value, str):
        msg = f"the text is {_kind(value)}; it must be a string"
        raise intake_error(ErrorCode.INVALID_RECORD, msg)
    if not value or value.isspace():
        msg = "the text is empty"
        raise intake_error(ErrorCode.EMPTY_TEXT, msg)
    size = _examine_characters(value, "text")
    if size > limit:
        msg = (
            f"the text has {size} bytes, the limit is {limit};"
            " split it, or raise TEXTMILL_MAX_DOCUMENT_BYTES"
        )
        raise intake_error(ErrorCode.TEXT_TOO_LARGE, msg)
    return value


def _examine_metadata(value: Mapping[str, object], limit: int) -> dict[str, object]:
    metadata = dict(value)
    try:
        # As long as what Postgres prints, since a submit with SQL applies the limit to that.
        encoded = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise _too_deep() from None
    size = _examine_characters(encoded, "metadata")
    if size > limit:
        msg = (
            f"the metadata has {size} bytes as JSON, the limit is {limit};"
            " hand over fewer fields, or raise TEXTMILL_MAX_METADATA_BYTES"
        )
        raise intake_error(ErrorCode.METADATA_TOO_LARGE, msg)
    # Only such metadata can hold a NUL (JSON escapes it) or nest too deep; the walk is slow.
    if "\\u0000" in encoded or encoded.count("{") + encoded.count("[") > MAX_METADATA_DEPTH:
        _walk(metadata)
    return metadata


def _plain_metadata(metadata: Mapping[str, object]) -> dict[str, object]:
    return {
        str(name): _plain(f"the metadata field {str(name)[:NAME_SHOWN]!r}", value)
        for name, value in metadata.items()
    }


def _plain(what: str, value: object, broken: ErrorCode = ErrorCode.INVALID_METADATA) -> object:
    """`value` as JSON can hold it; `broken` is the error code if it has no such form."""
    try:
        return plain(value)
    except DocumentError as error:
        code = broken if error.code is ErrorCode.INVALID_METADATA else error.code
        raise intake_error(code, f"{what} {error}") from None


def _walk(metadata: dict[str, object]) -> None:
    for value, depth in _values(metadata):
        if depth > MAX_METADATA_DEPTH:
            raise _too_deep()
        if isinstance(value, str):
            _examine_characters(value, "metadata")


def _values(root: object) -> Iterator[tuple[object, int]]:
    """Every key and value under `root` with its depth, without recursion."""
    waiting = [(root, 1)]
    while waiting:
        value, depth = waiting.pop()
        yield value, depth
        if isinstance(value, dict):
            waiting.extend((key, depth) for key in value)
            waiting.extend((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list | tuple):
            waiting.extend((inner, depth + 1) for inner in value)


def _examine_characters(value: str, what: str) -> int:
    """Bytes of `value` in UTF-8; rejects NULs and lone surrogates, which Postgres cannot store."""
    if "\x00" in value:
        msg = f"the {what} holds a NUL character; remove it"
        raise intake_error(ErrorCode.INVALID_CHARACTER, msg)
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        msg = f"the {what} holds half of a surrogate pair; write the character whole"
        raise intake_error(ErrorCode.INVALID_CHARACTER, msg) from None


def _too_deep() -> DocumentError:
    msg = f"the metadata is nested more than {MAX_METADATA_DEPTH} levels deep"
    return intake_error(ErrorCode.INVALID_METADATA, msg)


def _kind(value: object) -> str:
    """What JSON calls the type of `value`, with an article."""
    match value:
        case bool():
            return "a boolean"
        case int() | float() | Decimal():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"of type {type(value).__name__}"
