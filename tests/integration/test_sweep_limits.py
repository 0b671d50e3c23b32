"""Sweeps that meet a limit of intake."""

import sqlalchemy as sa

from producer.durations import parse_duration
from producer.sweeps import Sweeper
from producer.sweeps.definitions import add, make_due
from producer.sweeps.source import Source
from schema.settings import IntakeSettings, SweepSettings
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.shop import change, definition, one, write
from tests.fixtures.submits import documents, hand_over

READY = "update textmill.sweep_run set ready_at = now()"


def test_run_waits_while_intake_is_full(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    shop: sa.Engine,
    source: Source,
    shop_settings: SweepSettings,
) -> None:
    """Without it, a queue that is full for some minutes puts a night's rows off by a day."""
    sweeper = Sweeper(producer_engine, shop_settings, IntakeSettings(max_pending=2))
    others = hand_over(producer_engine, documents(2))
    add(engine, definition(deadline=parse_duration("4h")), source, None)
    write(shop, 1)
    make_due(engine, "posts")

    for _ in range(7):
        sweeper.step()
        waiting = one(engine, "sweep_history")
        change(engine, READY)
    work_off(producer_engine, worker_engine, others.job_id, POSITIVE)
    sweeper.step()
    passed = one(engine, "sweep_history")

    assert (waiting.state, waiting.alert) == ("settling", None)
    assert "2 documents are pending and TEXTMILL_MAX_PENDING allows 2" in str(waiting.error)
    assert (passed.run_id, passed.state, passed.error) == (waiting.run_id, "running", None)


def test_run_waits_for_a_full_intake_no_longer_than_its_deadline(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    shop: sa.Engine,
    source: Source,
    shop_settings: SweepSettings,
) -> None:
    """Without it, a run that never finds room says so to nobody."""
    sweeper = Sweeper(producer_engine, shop_settings, IntakeSettings(max_pending=2))
    hand_over(producer_engine, documents(2))
    add(engine, definition(deadline=parse_duration("4h")), source, None)
    write(shop, 1)
    make_due(engine, "posts")
    sweeper.step()

    change(engine, f"{READY}, started_at = started_at - interval '5 hours'")
    sweeper.step()

    run = one(engine, "sweep_history")
    assert (run.state, "deadline" in str(run.alert)) == ("failed", True)
