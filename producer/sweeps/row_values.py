"""The values of a source's rows, in a form that JSON can hold."""

import json
from collections.abc import Callable
from math import isinf
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa
from psycopg.types.string import TextLoader

if TYPE_CHECKING:
    import psycopg

_TIMES = ("date", "time", "timetz", "timestamp", "timestamptz", "interval")
"""Types read as text: Python cannot hold infinite times, nor years before 1 and after 9999."""
_JSON = ("json", "jsonb")
"""Types read as text at first: Python cannot read all JSON that Postgres can hold."""
_JSON_TYPES = frozenset({114, 3802, 199, 3807})
"""OIDs of the JSON types and of their arrays."""


def read_as_text(connection: sa.Connection) -> None:
    """Let a connection return times and JSON as Postgres writes them, until it is closed."""
    driver = cast("psycopg.Connection", connection.connection.driver_connection)
    for kept in (*_TIMES, *_JSON):
        driver.adapters.register_loader(kept, TextLoader)


def converter(oid: int) -> Callable[[object], object]:
    """The function that turns values of the type with this OID into what JSON can hold."""
    return _parsed if oid in _JSON_TYPES else _as_text


def _as_text(value: object) -> object:
    """JSON values as they are, anything else as text, in the form that Postgres writes in JSON."""
    match value:
        case list():
            return [_as_text(item) for item in value]
        case float() if isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case bytes():
            return rf"\x{value.hex()}"
        case None | str() | int() | float():
            return value
        case _:
            return str(value)


def _parsed(value: object) -> object:
    """A JSON value; its text if it is nested too deep or holds a number that is too long."""
    if isinstance(value, list):
        return [_parsed(item) for item in value]
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (RecursionError, ValueError):
        return value
