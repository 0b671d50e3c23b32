"""Sweeps after the clock of Postgres was set back: all times lie ahead by as much."""

from datetime import timedelta

import sqlalchemy as sa

from producer.cli.durations import parse_duration
from producer.sweeps import Sweeper
from producer.sweeps.definitions import add, make_due
from schema.settings import SweepSettings
from tests.fixtures.shop import change, definition, one, swept, write


def test_sweep_is_due_when_its_schedule_says(
    engine: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, a sweep silently rests for as long as the clock was set back."""
    due = add(engine, definition(), shop_settings, None)
    change(engine, "update textmill.sweep set next_run_at = next_run_at + interval '1 year'")

    sweeper.step()

    status = one(engine, "sweep_status")
    assert (status.next_run_at, status.last_state) == (due, None)


def test_run_waits_no_longer_than_it_settles(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, a run holds up later runs for that long, and cannot be ended."""
    wait = parse_duration("5m")
    add(engine, definition(settle=wait), shop_settings, None)
    write(shop, 1, 2)
    make_due(engine, "posts")
    sweeper.step()
    change(
        engine,
        "update textmill.sweep_run set ready_at = ready_at + interval '1 year',"
        " started_at = started_at + interval '1 year',"
        " lease_expires_at = now() + interval '1 year'",
    )

    sweeper.step()

    with engine.connect() as connection:
        run = connection.exec_driver_sql(
            "select started_at <= now() as begun, ready_at - now() as settles,"
            " lease_expires_at - now() as lease from textmill.sweep_run"
        ).one()
    assert run.begun
    assert timedelta(minutes=4) < run.settles <= wait
    assert run.lease < timedelta(minutes=10)
    change(engine, "update textmill.sweep_run set ready_at = now(), lease_expires_at = now()")
    sweeper.step()
    assert swept(engine) == [["1", "2"]]


def test_dispatcher_of_a_longer_lease_keeps_its_run(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, while a timeout is raised, the dispatcher with the longer one loses its runs."""
    add(engine, definition(settle=parse_duration("5m")), shop_settings, None)
    write(shop, 1)
    make_due(engine, "posts")
    sweeper.step()
    change(
        engine,
        "update textmill.sweep_run set ready_at = now(),"
        " lease_expires_at = now() + interval '30 minutes'",
    )

    sweeper.step()

    with engine.connect() as connection:
        left = connection.exec_driver_sql(
            "select lease_expires_at - now() from textmill.sweep_run"
        ).scalar_one()
    assert left > timedelta(minutes=25)
    assert swept(engine) == []
