"""Find the sweeps that are due, and begin their runs."""

import logging
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from producer.sweeps.schedule import next_after
from schema.errors import InputError

logger = logging.getLogger(__name__)

Sweep = sa.Row[tuple[object, ...]]


class Plan(NamedTuple):
    """What to do with a sweep.

    Attributes:
        begins: whether a run begins.
        following: when it is due next; None leaves that as it is.
        error: why its schedule gives no time.
    """

    begins: bool
    following: datetime | None
    error: str | None


def begin_runs(engine: sa.Engine) -> None:
    """Begin one run for every sweep that is due, however often it was due since its last run.

    The due time is computed again if it is later than the schedule says: the clock of Postgres was
    set back, or somebody changed the schedule. If a schedule gives no time, the reason is stored.
    """
    with engine.begin() as connection:
        wanted = [sweep.sweep_id for sweep in _select(connection) if _plan(sweep) != _rest(sweep)]
        if not wanted:
            return
        lock = "and sweep_id = any(:wanted) for update of s skip locked"
        for sweep in _select(connection, lock, {"wanted": wanted}):
            plan = _plan(sweep)
            if plan != _rest(sweep):  # no other dispatcher has carried it out
                _carry_out(connection, sweep, plan)


def _select(
    connection: sa.Connection, rest: str = "", values: dict[str, object] | None = None
) -> list[Sweep]:
    return list(
        connection.execute(
            sa.text(f"""
                select sweep_id, name, cron, timezone, schedule_error, watermark, next_run_at,
                    now() as now, exists (
                        select from textmill.sweep_run r where r.sweep_id = s.sweep_id
                            and r.state in ('settling', 'running')) as under_way
                from textmill.sweep s where not paused {rest}
            """),  # noqa: S608
            values or {},
        )
    )


def _plan(sweep: Sweep) -> Plan:
    try:
        following = next_after(sweep.cron, sweep.timezone, sweep.now)
    except InputError as error:
        return Plan(begins=False, following=None, error=str(error))
    begins = sweep.next_run_at <= sweep.now and not sweep.under_way
    # Python compares aware times of one zone without their offsets.
    later = sweep.next_run_at.timestamp() > following.timestamp()
    return Plan(begins, following if begins or later else None, None)


def _rest(sweep: Sweep) -> Plan:
    """The plan of a sweep that needs nothing done."""
    return Plan(begins=False, following=None, error=sweep.schedule_error)


def _carry_out(connection: sa.Connection, sweep: Sweep, plan: Plan) -> None:
    if plan.error is not None:
        logger.warning("sweep %s is not run: %s", sweep.name, plan.error)
    if plan.begins:
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
            "update textmill.sweep set next_run_at = coalesce(:following, next_run_at),"
            " schedule_error = :error where sweep_id = :sweep_id"
        ),
        {"following": plan.following, "error": plan.error, "sweep_id": sweep.sweep_id},
    )
