"""Convert values that JSON cannot hold, from programs and files, into a form that it can."""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import inf, isfinite, isnan, nan
from typing import Any
from uuid import UUID

from schema.errors import DocumentError
from schema.outcomes import ErrorCode, Stage

MAX_METADATA_DEPTH = 64
"""Levels of objects and lists that metadata may nest."""

_NO_TIME = "NaT"  # of pandas and numpy
_NO_VALUE = ("NAType", "MaskedConstant")
"""Types of what pandas and numpy put where there is no value of whatever type."""


def plain(value: object, depth: int = 2) -> object:
    """A value in a form that JSON can hold.

    Dates and times are written in ISO 8601; decimals, durations and UUIDs as strings; bytes are
    decoded as UTF-8. Mappings become objects with strings as keys, tuples become lists, and numpy
    numbers become Python numbers. NaN, also of decimals, NaT, which means that there is no time,
    NA of pandas and the masked value of numpy become None. Values that JSON can hold stay as they
    are.

    Args:
        value: of any type.
        depth: its nesting level; 2 for a field of metadata, which is itself an object.

    Raises:
        DocumentError: there is no such form; the message describes the value, as in
            "holds an infinity".
    """
    match value:
        case Mapping() | list() | tuple() if depth > MAX_METADATA_DEPTH:
            msg = f"is nested more than {MAX_METADATA_DEPTH} levels deep; flatten it"
            raise intake_error(ErrorCode.INVALID_METADATA, msg)
        case Mapping():
            return {str(key): plain(inner, depth + 1) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner, depth + 1) for inner in value]
        case int() | float():
            return _number(value)
        case str() | None:
            return value
        case _:
            return _written_out(value)


def is_none(value: object) -> bool:
    """Whether a value that is neither a string nor bytes becomes None in `plain`."""
    try:
        return plain(value) is None
    except DocumentError:
        return False


def intake_error(code: ErrorCode, message: str) -> DocumentError:
    """The error of a document that breaks a rule of intake."""
    return DocumentError(code, Stage.INTAKE, message)


def _number(value: float) -> float | None:
    if isinstance(value, float) and isnan(value):
        return None
    try:
        if isinstance(value, int) or isfinite(value):
            str(value)  # Python does not convert integers of thousands of digits
            return value
    except ValueError:
        msg = "holds an integer of too many digits; write it as a string"
    else:
        msg = "holds an infinity, which JSON cannot represent; give null (None) instead"
    raise intake_error(ErrorCode.INVALID_METADATA, msg)


def _written_out(value: object) -> object:
    match value:
        case datetime() | date() | time():
            text = value.isoformat()
            return None if text == _NO_TIME else text
        case Decimal() if not value.is_finite():
            return _number(nan if value.is_nan() else inf)
        case Decimal() | UUID() | timedelta():
            return str(value)
        case bytes():
            return _decoded(value)
        case _:
            return _of_numpy(value)


def _decoded(value: bytes) -> str:
    # Old writers of Parquet do not mark strings, so binary values count as text if they decode.
    try:
        return value.decode()
    except UnicodeDecodeError:
        msg = "is not UTF-8; convert it, or write it in hexadecimal or base64"
        raise intake_error(ErrorCode.INVALID_ENCODING, msg) from None


def _of_numpy(value: Any) -> object:  # noqa: ANN401  # numpy is not imported for its types
    if type(value).__name__ in _NO_VALUE:
        return None
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "f" and value.shape == ():
        return plain(float(value))  # what `item` makes of a long double is a long double again
    if kind in ("b", "i", "u") and value.shape == ():
        return plain(value.item())
    if kind in ("M", "m") and value.shape == ():
        return None if str(value) == _NO_TIME else str(value)
    msg = (
        f"holds a value of type {type(value).__name__}, which JSON cannot represent;"
        " give a string, a number or null (None) instead"
    )
    raise intake_error(ErrorCode.INVALID_METADATA, msg)
