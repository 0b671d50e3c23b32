"""When sweeps are due, even when clocks go forward or back."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from producer.sweeps.schedule import next_after
from schema.errors import InputError


def due(cron: str, timezone: str, after: str, times: int) -> list[str]:
    """The next times as local time with its offset from UTC."""
    seen = []
    at = datetime.fromisoformat(after)
    for _ in range(times):
        at = next_after(cron, timezone, at)
        seen.append(at.astimezone(ZoneInfo(timezone)).isoformat(timespec="minutes"))
    return seen


def test_cron_is_local_time() -> None:
    """Without it, a nightly sweep runs in the morning."""
    at = next_after("0 2 * * *", "Asia/Shanghai", datetime(2026, 3, 2, 17, 59, tzinfo=UTC))

    assert at == datetime(2026, 3, 2, 18, 0, tzinfo=UTC)


def test_skipped_time_counts_right_after_the_jump() -> None:
    """Without it, the night on which clocks go forward is never swept."""
    assert due("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00+00:00", 3) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
        "2026-03-31T02:30+02:00",
    ]


def test_time_that_comes_twice_counts_once() -> None:
    """Without it, the night on which clocks go back is swept twice."""
    assert due("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00+00:00", 2) == [
        "2026-10-25T02:30+02:00",
        "2026-10-26T02:30+01:00",
    ]


@pytest.mark.parametrize(
    ("cron", "following"),
    [("30 2 * * *", "2026-10-26T02:30+01:00"), ("15 1,2,3 * * *", "2026-10-25T03:15+01:00")],
)
def test_next_time_is_never_past(cron: str, following: str) -> None:
    """Without it, a sweep that runs within the repeated hour runs again at once."""
    assert due(cron, "Europe/Berlin", "2026-10-25T01:05+00:00", 1) == [following]


def test_every_half_hour_follows_elapsed_time() -> None:
    """Without it, an hour goes unswept when clocks change, or runs come twice as often."""
    assert due("*/30 * * * *", "America/New_York", "2026-03-08T06:15+00:00", 3) == [
        "2026-03-08T01:30-05:00",
        "2026-03-08T03:00-04:00",
        "2026-03-08T03:30-04:00",
    ]
    assert due("*/30 * * * *", "America/New_York", "2026-11-01T05:15+00:00", 4) == [
        "2026-11-01T01:30-04:00",
        "2026-11-01T01:00-05:00",
        "2026-11-01T01:30-05:00",
        "2026-11-01T02:00-05:00",
    ]


@pytest.mark.parametrize(
    ("cron", "timezone", "reason"),
    [
        ("bad", "UTC", "has 1 field; it needs 5"),
        ("0 2 * *", "UTC", "has 4 fields"),
        ("0 0 2 * * *", "UTC", "has 6 fields"),
        ("0 25 * * *", "UTC", "Bad hour"),
        ("0 2 31 2 *", "UTC", "not understood|no time"),
        ("0 2 * * *", "Mars/Olympus", "no time zone"),
        ("0 2 * * *", "../etc/passwd", "no time zone"),
    ],
)
def test_schedule_that_means_nothing_is_refused(cron: str, timezone: str, reason: str) -> None:
    """Without it a sweep would never run, and nobody would know."""
    with pytest.raises(InputError, match=reason):
        next_after(cron, timezone, datetime(2026, 1, 1, tzinfo=UTC))
