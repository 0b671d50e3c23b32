"""Sweeps: every row once, whatever happens in between."""

import json
import threading

import pytest
import sqlalchemy as sa

from producer.cli.durations import parse_duration
from producer.jobs import latest
from producer.sweeps import Sweeper
from producer.sweeps.definitions import add, make_due
from schema.documents import Task
from schema.settings import SweepSettings
from tests.fixtures.outcomes import RESULTS, SPAM, work_off
from tests.fixtures.processes import Start
from tests.fixtures.shop import QUERY, change, definition, one, swept, wait_for, write
from tests.fixtures.waiting import PATIENCE

SCAM = SPAM.model_copy(update={"labels": ["spam", "fraud"]})

WAITING = "select 1 from pg_locks where locktype = 'advisory' and not granted and objid = {}"


def test_every_row_is_swept_once(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    sweeper: Sweeper,
) -> None:
    """Without it, every night moderates the same posts again, or none."""
    add(engine, definition(), shop_settings, None)
    write(shop, -3, 7, 12)
    sweeper.step()
    assert swept(engine) == []

    make_due(engine, "posts")
    sweeper.step()
    job = latest(producer_engine, 1)[0]
    work_off(producer_engine, worker_engine, job.job_id, SCAM)
    sweeper.step()
    first = one(engine, "sweep_history")
    write(shop, 13)
    make_due(engine, "posts")
    sweeper.step()

    assert swept(engine) == [["-3", "7", "12"], ["13"]]
    assert (job.name, job.submitted_by, job.task) == ("sweep posts", "sweep posts", "moderation")
    assert (first.state, first.swept, first.flagged, first.labels) == (
        "finished",
        3,
        3,
        {"fraud": 3, "spam": 3},
    )
    assert (first.flag_rate, first.to_watermark, first.job_id) == (1, "12", job.job_id)
    assert one(engine, "sweep_status").watermark == "13"


def test_watermarks_that_share_a_long_beginning_are_told_apart(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, the second night's job is refused as a repeat of the first, or taken for it."""
    path = "repeat('a long path/', 40) || id"
    query = f"select id, body as text, {path} as path from posts where {path} > :watermark"
    add(engine, definition(query=query, watermark_column="path"), shop_settings, None)

    for number in (1, 2, 3):
        write(shop, number)
        make_due(engine, "posts")
        sweeper.step()
        change(engine, "update textmill.sweep_run set state = 'finished', finished_at = now()")

    assert swept(engine) == [["1"], ["2"], ["3"]]


def test_rows_are_swept_again_where_the_watermark_is_set_back(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, the run of a sweep that was set back is taken for an earlier one, and hangs."""
    add(engine, definition(), shop_settings, None)

    for body in ("before", "after"):
        change(shop, "delete from posts")
        change(shop, f"insert into posts values (1, '{body}')")
        change(engine, "update textmill.sweep set watermark = '0'")
        make_due(engine, "posts")
        sweeper.step()
        change(engine, "update textmill.sweep_run set state = 'finished', finished_at = now()")

    assert swept(engine) == [["1"], ["1"]]


def test_query_that_sweeps_its_last_row_again_says_so(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, a sweep moderates its last row every night, or hangs on it."""
    add(engine, definition(query=QUERY.replace(">", ">=")), shop_settings, None)
    write(shop, 1)

    make_due(engine, "posts")
    sweeper.step()
    change(engine, "update textmill.sweep_run set state = 'finished', finished_at = now()")
    make_due(engine, "posts")
    sweeper.step()

    assert swept(engine) == [["1"]]
    assert "write > instead of >=" in one(engine, "sweep_history").error


def test_row_committed_late_with_a_lower_id_is_swept(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    sweeper: Sweeper,
) -> None:
    """Without it, a post whose transaction took a minute is never moderated."""
    add(engine, definition(settle=parse_duration("5m")), shop_settings, None)
    make_due(engine, "posts")
    with shop.connect() as late:
        late.exec_driver_sql("insert into posts values (1, 'late')")
        write(shop, 2)
        sweeper.step()
        settling = one(engine, "sweep_history")
        late.commit()
    write(shop, 3)
    sweeper.step()
    assert swept(engine) == []

    change(engine, "update textmill.sweep_run set ready_at = now()")
    sweeper.step()
    work_off(
        producer_engine,
        worker_engine,
        latest(producer_engine, 1)[0].job_id,
        RESULTS[Task.MODERATION],
    )
    sweeper.step()
    make_due(engine, "posts")
    sweeper.step()
    change(engine, "update textmill.sweep_run set ready_at = now()")
    sweeper.step()

    assert (settling.state, settling.to_watermark) == ("settling", "2")
    assert [sorted(ids) for ids in swept(engine)] == [["1", "2"], ["3"]]


def test_watermark_moves_with_its_job_or_not_at_all(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, a crash at the wrong moment skips a night or doubles it."""
    add(engine, definition(), shop_settings, None)
    write(shop, 1, 2)
    make_due(engine, "posts")
    change(
        engine,
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'not today'; end $$;"
        "create trigger refuse before update of watermark on textmill.sweep"
        " for each row execute function refuse()",
    )

    sweeper.step()
    refused = one(engine, "sweep_history")
    assert swept(engine) == []
    change(
        engine,
        "drop trigger refuse on textmill.sweep; update textmill.sweep_run set ready_at = now()",
    )
    sweeper.step()

    assert (refused.state, refused.job_id) == ("settling", None)
    assert swept(engine) == [["1", "2"]]
    assert one(engine, "sweep_status").watermark == "2"


def test_step_whose_lease_was_lost_writes_nothing(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, a dispatcher that was frozen hands over rows that another one has handed over."""
    query = f"{QUERY} and pg_advisory_xact_lock_shared(42) is not null"
    add(engine, definition(query=query, settle=parse_duration("5m")), shop_settings, None)
    write(shop, 1)
    make_due(engine, "posts")
    sweeper.step()
    change(engine, "update textmill.sweep_run set ready_at = now()")
    with shop.connect() as holder:
        holder.exec_driver_sql("select pg_advisory_lock(42)")
        frozen = threading.Thread(target=sweeper.step)
        frozen.start()
        wait_for(shop, "select 1 from pg_locks where locktype = 'advisory' and not granted")

        change(engine, "update textmill.sweep_run set attempt = attempt + 1")
        holder.exec_driver_sql("select pg_advisory_unlock(42)")
        frozen.join()

    assert swept(engine) == []
    assert one(engine, "sweep_status").last_state == "settling"


@pytest.mark.parametrize("slow", ["move", "fetch"])
def test_step_that_counts_or_reads_slowly_keeps_its_lease(
    engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    sweeper: Sweeper,
    monkeypatch: pytest.MonkeyPatch,
    slow: str,
) -> None:
    """Without it, two dispatchers take a run of a slow source from each other, for ever."""
    monkeypatch.setattr("producer.sweeps.runner.RENEW_AFTER", 0.0)
    monkeypatch.setattr("producer.sweeps.source.ROWS_AT_ONCE", 1)
    monkeypatch.setattr("producer.sweeps.source.ROWS_PASSED_AT_ONCE", 1)
    change(shop, f"alter database {shop.url.database} set enable_seqscan = off")  # row by row
    waits = "pg_advisory_xact_lock_shared(id) is not null"
    query = f"{QUERY} and (current_query() not ilike '{slow}%' or {waits})"
    add(engine, definition(query=query, settle=parse_duration("5m")), shop_settings, None)
    write(shop, 1, 2)
    make_due(engine, "posts")
    sweeper.step()
    change(engine, "update textmill.sweep_run set ready_at = now()")
    with shop.connect() as holder:
        holder.exec_driver_sql("select pg_advisory_lock(1), pg_advisory_lock(2)")
        reading = threading.Thread(target=sweeper.step)
        reading.start()
        wait_for(shop, WAITING.format(1))

        change(engine, "update textmill.sweep_run set lease_expires_at = now()")
        holder.exec_driver_sql("select pg_advisory_unlock(1)")
        wait_for(shop, WAITING.format(2))
        with engine.connect() as connection:
            left = connection.exec_driver_sql(
                "select lease_expires_at - now() from textmill.sweep_run"
            ).scalar_one()
        holder.exec_driver_sql("select pg_advisory_unlock(2)")
        reading.join()

    assert left > parse_duration("5m")  # what a statement may take at the source
    assert swept(engine) == [["1", "2"]]


def test_sweep_never_overlaps_itself_and_catches_up_once(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    sweeper: Sweeper,
) -> None:
    """Without it, runs pile up after a slow night or a week of downtime."""
    due = "update textmill.sweep set next_run_at = now() - interval '3 days'"
    add(engine, definition(), shop_settings, None)
    write(shop, 1)
    change(engine, due)
    sweeper.step()
    following = one(engine, "sweep_status").next_run_at
    write(shop, 2)
    change(engine, due)
    sweeper.step()
    assert swept(engine) == [["1"]]

    work_off(
        producer_engine,
        worker_engine,
        latest(producer_engine, 1)[0].job_id,
        RESULTS[Task.MODERATION],
    )
    sweeper.step()
    sweeper.step()

    assert swept(engine) == [["1"], ["2"]]
    with engine.connect() as connection:
        assert following > connection.execute(sa.text("select now()")).scalar_one()


def test_run_without_rows_is_finished(
    engine: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, a quiet night makes an empty job."""
    add(engine, definition(), shop_settings, "17")
    make_due(engine, "posts")

    sweeper.step()

    run = one(engine, "sweep_history")
    assert (run.state, run.swept, run.job_id, run.alert) == ("finished", 0, None, None)
    assert one(engine, "sweep_status").watermark == "17"


def test_run_that_is_late_fails(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, last night's sweep still runs at noon."""
    add(engine, definition(deadline=parse_duration("4h")), shop_settings, None)
    write(shop, 1)
    make_due(engine, "posts")
    sweeper.step()
    job = one(engine, "job_status")
    change(
        engine,
        "update textmill.sweep_run set state = 'settling',"
        " started_at = started_at - interval '5 hours'",
    )
    sweeper.step()

    run = one(engine, "sweep_history")
    assert job.deadline_at is not None
    assert (run.state, "deadline" in str(run.alert)) == ("failed", True)


def test_dispatch_runs_what_is_due(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, shop_url: str, start: Start
) -> None:
    """Without it, all of this happens only in tests."""
    add(engine, definition(), shop_settings, None)
    write(shop, 1, 2)
    make_due(engine, "posts")

    process = start("producer.cli", "dispatch", TEXTMILL_SOURCES=json.dumps({"shop": shop_url}))
    wait_for(engine, "select 1 from textmill.sweep_status where last_state = 'running'")
    process.terminate()

    assert process.wait(PATIENCE) == 0
    assert swept(engine) == [["1", "2"]]
