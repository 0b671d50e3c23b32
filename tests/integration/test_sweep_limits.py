"""Sweeps that meet a limit of intake."""

import pytest
import sqlalchemy as sa

from producer.cli.durations import parse_duration
from producer.sweeps import Sweeper
from producer.sweeps.definitions import add, make_due
from schema.settings import IntakeSettings, SweepSettings
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.shop import change, definition, one, swept, write
from tests.fixtures.submits import documents, hand_over

READY = "update textmill.sweep_run set ready_at = now()"
ENDED = (
    "update textmill.sweep_run set state = 'finished', finished_at = now() where job_id is not null"
)


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.sweeps.source.ROWS_PASSED_AT_ONCE", 2)


def test_run_waits_while_intake_is_full(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
) -> None:
    """Without it, a queue that is full for some minutes puts a night's rows off by a day."""
    sweeper = Sweeper(producer_engine, shop_settings, IntakeSettings(max_pending=2))
    others = hand_over(producer_engine, documents(2))
    add(engine, definition(deadline=parse_duration("4h")), shop_settings, None)
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
    assert "as many documents are pending as TEXTMILL_MAX_PENDING allows" in str(waiting.error)
    assert (passed.run_id, passed.state, passed.error) == (waiting.run_id, "running", None)


def test_run_waits_for_a_full_intake_no_longer_than_its_deadline(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
) -> None:
    """Without it, a run that never finds room says so to nobody."""
    sweeper = Sweeper(producer_engine, shop_settings, IntakeSettings(max_pending=2))
    hand_over(producer_engine, documents(2))
    add(engine, definition(deadline=parse_duration("4h")), shop_settings, None)
    write(shop, 1)
    make_due(engine, "posts")
    sweeper.step()

    change(engine, f"{READY}, started_at = started_at - interval '5 hours'")
    sweeper.step()

    run = one(engine, "sweep_history")
    assert (run.state, "deadline" in str(run.alert)) == ("failed", True)


MARKS = [
    "id / 10",
    "round((id / 10)::numeric, (id % 3)::integer)",  # 1, 1.0 and 1.00 are one value
    "(id / 10) / 3.0::float8",
    "'m ' || id / 10",
    "timestamptz 'epoch' + id / 10 * interval '1 day'",
    "('00000000-0000-0000-0000-00000000000' || id / 10)::uuid",
]
"""Watermarks of which ten ids may share one; the lowest ids have the lowest."""


@pytest.mark.parametrize("mark", MARKS)
def test_more_rows_than_a_job_may_have_are_swept_run_after_run(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    mark: str,
) -> None:
    """Without it, a large table is never swept, or rows that share a watermark are left out."""
    query = f"select id, body as text, {mark} as mark from posts where {mark} > :watermark"
    sweeper = Sweeper(producer_engine, shop_settings, IntakeSettings(max_job_documents=3))
    due = add(engine, definition(query=query, watermark_column="mark"), shop_settings, None)
    write(shop, 11, 12, 21, 22, 31, 32, 33)
    make_due(engine, "posts")

    for _ in range(4):
        sweeper.step()
        sweeper.step()  # for nothing: the first one's job has not ended
        change(engine, ENDED)

    assert [sorted(ids) for ids in swept(engine)] == [
        ["11", "12"],
        ["21", "22"],
        ["31", "32", "33"],
    ]
    status = one(engine, "sweep_status")
    last = one(engine, "sweep_history")
    assert (status.next_run_at, status.watermark) == (due, last.to_watermark)
    with engine.connect() as connection:
        joined = connection.exec_driver_sql(
            "select count(*) from textmill.sweep_run a join textmill.sweep_run b"
            " on a.to_watermark = b.from_watermark"
        ).scalar_one()
    assert joined == 2


def test_rows_that_come_late_do_not_fill_a_job_too_much(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
) -> None:
    """Without it, a run loads all rows that a job may have, and fails for one that came late."""
    sweeper = Sweeper(producer_engine, shop_settings, IntakeSettings(max_job_documents=2))
    add(engine, definition(settle=parse_duration("5m")), shop_settings, None)
    write(shop, 2, 3)
    make_due(engine, "posts")
    sweeper.step()

    write(shop, 1)
    change(engine, READY)
    sweeper.step()

    assert [sorted(ids) for ids in swept(engine)] == [["1", "2"]]
    assert one(engine, "sweep_history").to_watermark == "2"


@pytest.mark.parametrize(
    "limits",
    [
        IntakeSettings(max_job_documents=2),
        IntakeSettings(max_pending=2),
        IntakeSettings(max_pending_per_submitter=2),
    ],
)
def test_rows_of_one_watermark_that_no_job_may_have_fail_the_run_at_once(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    limits: IntakeSettings,
) -> None:
    """Without it, the sweep waits for room that there never is, or loads them again and again."""
    sweeper = Sweeper(producer_engine, shop_settings, limits)
    query = "select id, body as text, id / 10 as ten from posts where id / 10 > :watermark"
    add(engine, definition(query=query, watermark_column="ten"), shop_settings, None)
    write(shop, 11, 12, 13)
    make_due(engine, "posts")

    sweeper.step()

    run = one(engine, "sweep_history")
    assert (run.state, swept(engine)) == ("failed", [])
    assert "more than 2 rows have ten '1', and TEXTMILL_MAX_" in str(run.alert)


def test_query_that_gives_its_last_row_again_moves_no_bounded_run_in_circles(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
) -> None:
    """Without it, a run takes the last row again, and is followed by the same one, for ever."""
    sweeper = Sweeper(producer_engine, shop_settings, IntakeSettings(max_job_documents=2))
    query = "select id, body as text, id / 10 as ten from posts where id / 10 >= :watermark"
    add(engine, definition(query=query, watermark_column="ten"), shop_settings, "1")
    write(shop, 11, 21, 22)
    make_due(engine, "posts")

    sweeper.step()

    assert swept(engine) == []
    assert "write > instead of >=" in str(one(engine, "sweep_history").error)


def test_run_takes_what_intake_has_room_for_beside_other_jobs(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
) -> None:
    """Without it, a sweep with a backlog waits for the moment at which nothing else is pending."""
    sweeper = Sweeper(producer_engine, shop_settings, IntakeSettings(max_pending=10))
    hand_over(producer_engine, documents(7))
    add(engine, definition(), shop_settings, None)
    write(shop, *range(1, 31))
    make_due(engine, "posts")
    sweeper.step()
    change(engine, READY)

    sweeper.step()

    assert one(engine, "sweep_history").state == "running"
    assert swept(engine)[-1] == ["1", "2", "3"]


def test_run_that_waits_for_long_is_an_alert_until_there_is_room(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
) -> None:
    """Without it, intake that is full for good stops a sweep, and nobody hears of it."""
    sweeper = Sweeper(producer_engine, shop_settings, IntakeSettings(max_pending=2))
    others = hand_over(producer_engine, documents(2))
    add(engine, definition(), shop_settings, None)
    write(shop, 1)
    make_due(engine, "posts")
    sweeper.step()

    change(engine, f"{READY}, started_at = started_at - interval '31 minutes'")
    sweeper.step()
    waiting = one(engine, "sweep_status")
    work_off(producer_engine, worker_engine, others.job_id, POSITIVE)
    change(engine, READY)
    sweeper.step()

    assert str(waiting.alert).startswith("the run waits: as many documents are pending")
    assert one(engine, "sweep_status").alert is None
