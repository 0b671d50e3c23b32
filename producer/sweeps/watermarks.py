"""Which types of columns tell which rows are new, and where their values begin."""

from collections.abc import Mapping
from typing import NamedTuple

from schema.errors import InputError
from schema.sweep_tables import WatermarkKind


class WatermarkType(NamedTuple):
    """The type of a watermark column.

    Attributes:
        kind: what its values are.
        lowest: below every value of the type.
    """

    kind: WatermarkKind
    lowest: str


_DATE = 1082

# By the type's OID in Postgres.
_TYPES: Mapping[int, WatermarkType] = {
    20: WatermarkType(WatermarkKind.NUMBER, "-9223372036854775808"),  # bigint
    21: WatermarkType(WatermarkKind.NUMBER, "-32768"),  # smallint
    23: WatermarkType(WatermarkKind.NUMBER, "-2147483648"),  # integer
    25: WatermarkType(WatermarkKind.TEXT, ""),
    701: WatermarkType(WatermarkKind.NUMBER, "-Infinity"),  # double precision
    1043: WatermarkType(WatermarkKind.TEXT, ""),  # varchar
    1114: WatermarkType(WatermarkKind.TIMESTAMP, "-infinity"),
    1184: WatermarkType(WatermarkKind.TIMESTAMPTZ, "-infinity"),
    1700: WatermarkType(WatermarkKind.NUMBER, "-Infinity"),  # numeric
    2950: WatermarkType(WatermarkKind.UUID, "00000000-0000-0000-0000-000000000000"),
}


def watermark_type(column: str, oid: int) -> WatermarkType:
    """The type of the watermark column that has this OID.

    Raises:
        InputError: no column of this type tells which rows are new.
    """
    if oid == _DATE:
        msg = (
            f"the watermark {column!r} is a date, which rows that come later on the same day"
            " share; take the time or the number that each row is given"
        )
        raise InputError(msg)
    if oid not in _TYPES:
        msg = f"the watermark {column!r} must be a number, a time, a uuid or text"
        raise InputError(msg)
    return _TYPES[oid]


def is_lowest(watermark: str) -> bool:
    """Whether it is the watermark of a sweep that has seen no row."""
    return any(watermark == type_.lowest for type_ in _TYPES.values())
