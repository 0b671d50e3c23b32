"""When a sweep is due: a cron expression, read as local time of a time zone.

When clocks jump, it behaves like Debian's cron: a skipped time counts once, right after the jump;
a time that occurs twice counts the first time. With `*` in minutes or hours it follows elapsed
time.
"""

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from schema.errors import InputError


def next_after(cron: str, timezone: str, after: datetime) -> datetime:
    """The first time after `after` that the expression names.

    Args:
        cron: minute, hour, day of month, month, day of week.
        timezone: name of the time zone, such as `Asia/Shanghai`.
        after: any aware time.

    Raises:
        InputError: the expression or the zone is not understood, or the expression names no time.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # ValueError: for ../x, for example
        msg = f"there is no time zone {timezone!r}; it looks like Asia/Shanghai or UTC"
        raise InputError(msg) from None
    fields = len(cron.split())
    if fields != 5:  # noqa: PLR2004
        given = f"{fields} field{'' if fields == 1 else 's'}"
        msg = f"the cron expression {cron!r} has {given}; it needs 5, such as '0 2 * * *'"
        raise InputError(msg)
    try:
        times = CronSim(cron, after.astimezone(zone))
        # Within an hour that occurs twice, it may name a time of the first one, which is past.
        return next(time for time in times if time.timestamp() > after.timestamp())
    except CronSimError as error:
        msg = f"the cron expression {cron!r} is not understood: {error}"
        raise InputError(msg) from None
    except StopIteration:
        msg = f"the cron expression {cron!r} names no time in the next years"
        raise InputError(msg) from None
