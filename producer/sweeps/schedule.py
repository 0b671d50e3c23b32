"""When a sweep is due: a cron expression, read as local time of a time zone.

Where clocks jump, it behaves as Debian's cron: a time that is skipped counts once, right after
the jump; a time that comes twice counts the first time. With `*` in minutes or hours it follows
elapsed time.
"""

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from schema.errors import InputError


def next_after(cron: str, timezone: str, after: datetime) -> datetime:
    """The first time after `after` that the expression names.

    Args:
        cron: minute, hour, day of month, month, day of week.
        timezone: name of the zone whose clocks count, such as `Asia/Shanghai`.
        after: any aware time.

    Raises:
        InputError: the expression or the zone is not understood, or it names no time.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # ValueError: such as ../x
        msg = f"there is no time zone {timezone!r}; it looks like Asia/Shanghai or UTC"
        raise InputError(msg) from None
    fields = len(cron.split())
    if fields != 5:  # noqa: PLR2004
        given = f"{fields} field{'' if fields == 1 else 's'}"
        msg = f"the cron expression {cron!r} has {given}; it needs 5, such as '0 2 * * *'"
        raise InputError(msg)
    try:
        times = CronSim(cron, after.astimezone(zone))
        # Within an hour that comes twice, it may name one of the first time, which is past.
        return next(time for time in times if time.timestamp() > after.timestamp())
    except CronSimError as error:
        msg = f"the cron expression {cron!r} is not understood: {error}"
        raise InputError(msg) from None
    except StopIteration:
        msg = f"the cron expression {cron!r} names no time in the next years"
        raise InputError(msg) from None
