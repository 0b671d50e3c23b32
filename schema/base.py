"""The base class of every value that crosses a process boundary."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

_CONTROL = re.compile("[\x7f-\x9f]")


class Frozen(BaseModel):
    """Immutable; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def json_line(fields: Mapping[str, object]) -> str:
    """A database row as a one-line JSON object; times are written as `2026-01-31T06:00:00Z`."""
    return controls_escaped(to_json(_in_utc(fields), fallback=str).decode())


def json_text(value: object) -> str:
    """`value` as JSON in one line, safe to print on a terminal."""
    return controls_escaped(json.dumps(value, ensure_ascii=False))


def controls_escaped(written: str) -> str:
    """JSON of the same value; control characters beyond ASCII, which a terminal obeys, escaped."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def _in_utc(value: object) -> object:
    match value:
        case datetime():
            return value.astimezone(UTC)
        case Mapping():
            return {name: _in_utc(item) for name, item in value.items()}
        case list():
            return [_in_utc(item) for item in value]
    return value
