"""Which sweeps are due, and the runs that begin then."""

import logging
from datetime import datetime

import sqlalchemy as sa

from producer.sweeps.schedule import next_after
from schema.errors import InputError

logger = logging.getLogger(__name__)

Sweep = sa.Row[tuple[object, ...]]


def begin_runs(engine: sa.Engine) -> None:
    """A run for every sweep that is due, however often it was due since its last one.

    A sweep that is due later than its schedule says gets the time anew: the clock of Postgres was
    set back, or somebody changed the schedule.
    """
    with engine.begin() as connection:
        wanted = [sweep.sweep_id for sweep in _look(connection) if _following(sweep) is not None]
        if not wanted:
            return
        for sweep in _look(
            connection, "and sweep_id = any(:wanted) for update of s skip locked", wanted
        ):
            following = _following(sweep)
            if following is None:
                continue  # another dispatcher was here
            if _begins(sweep):
                connection.execute(
                    sa.text(
                        "insert into textmill.sweep_run (sweep_id, scheduled_for, from_watermark)"
                        " values (:sweep_id, :next_run_at, :watermark)"
                        " on conflict (sweep_id) where state in ('settling', 'running') do nothing"
                    ),
                    sweep._asdict(),
                )
            connection.execute(
                sa.text(
                    "update textmill.sweep set next_run_at = :following where sweep_id = :sweep_id"
                ),
                {"following": following, "sweep_id": sweep.sweep_id},
            )


def _look(
    connection: sa.Connection, rest: str = "", wanted: list[int] | None = None
) -> list[Sweep]:
    return list(
        connection.execute(
            sa.text(f"""
                select sweep_id, name, cron, timezone, watermark, next_run_at, now() as now,
                    exists (
                        select from textmill.sweep_run r where r.sweep_id = s.sweep_id
                            and r.state in ('settling', 'running')) as under_way
                from textmill.sweep s where not paused {rest}
            """),  # noqa: S608
            {} if wanted is None else {"wanted": wanted},
        )
    )


def _following(sweep: Sweep) -> datetime | None:
    """When the sweep is due next, if that is another time than it says."""
    try:
        following = next_after(sweep.cron, sweep.timezone, sweep.now)
    except InputError as error:
        if _begins(sweep):
            logger.warning("sweep %s is not run: %s", sweep.name, error)
        return None
    # Aware times of one zone are compared without their offsets.
    later = sweep.next_run_at.timestamp() > following.timestamp()
    return following if later or _begins(sweep) else None


def _begins(sweep: Sweep) -> bool:
    due: bool = sweep.next_run_at <= sweep.now and not sweep.under_way
    return due
