"""Durations as people type them."""

import re
from datetime import timedelta

from schema.errors import InputError

_DURATION = re.compile(r"(\d{1,6})([smhd])")  # more digits may reach beyond the calendar
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `5m`, `4h` or `1d`.

    Raises:
        InputError: it has none of these forms.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        msg = f"{text!r} is not a duration; write 90s, 5m, 4h or 1d"
        raise InputError(msg)
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
