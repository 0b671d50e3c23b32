"""Dispatch while servers forget or refuse, and after others left their work undone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import sqlalchemy as sa

from producer import clock, dispatch, loading, turn
from producer.batches import batches
from producer.broker import Broker
from producer.dispatch import Dispatcher
from producer.loading import Load
from schema.documents import Document, JobOptions, Lane, Task
from schema.errors import ServiceUnavailableError, SettingsError
from schema.messages import queue_name
from schema.settings import DispatchSettings
from tests.fixtures.chunks import chunk_store, chunks, claim_one, expire
from tests.fixtures.dispatch import LIMITS, THREADS, add_chunks, dispatcher, states
from tests.fixtures.postgres import read_only
from tests.fixtures.waiting import until


def forget(broker_url: str, key_prefix: str) -> None:
    """What FLUSHALL would do, for the keys of this test."""
    with redis.Redis.from_url(broker_url) as client:
        client.delete(*client.scan_iter(match=f"{key_prefix}*"))


@pytest.mark.usefixtures("live_worker")
def test_lost_messages_are_published_again_once(
    producer_engine: sa.Engine, broker: Broker, key_prefix: str, broker_url: str
) -> None:
    """Without it, chunks wait for ever for messages that Redis has forgotten."""
    add_chunks(producer_engine, 10)
    dispatcher(producer_engine, broker).step()
    forget(broker_url, key_prefix)
    impatient = dispatcher(producer_engine, broker, republish_after=1e-6)

    published = [impatient.step(), impatient.step()]

    assert published == [THREADS - 1, 0]
    assert sum(broker.queued().values()) == THREADS - 1


@pytest.mark.usefixtures("live_worker")
def test_lost_messages_are_published_again_though_the_clock_was_set_back(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    broker: Broker,
    key_prefix: str,
    broker_url: str,
) -> None:
    """Without it, chunks wait until the time at which they seem to have been dispatched."""
    add_chunks(producer_engine, 10)
    dispatcher(producer_engine, broker).step()
    forget(broker_url, key_prefix)
    with engine.begin() as connection:
        connection.exec_driver_sql("set local session_replication_role = replica")
        connection.exec_driver_sql(
            "update textmill.chunk set dispatched_at = dispatched_at + interval '10 minutes'"
            " where state = 'dispatched'"
        )

    published = dispatcher(producer_engine, broker).step()

    assert published == THREADS - 1


@pytest.mark.usefixtures("live_worker")
def test_message_taken_by_a_dead_worker_is_published_again(
    producer_engine: sa.Engine, broker: Broker, key_prefix: str, broker_url: str
) -> None:
    """Without it, a chunk waits for Celery's visibility timeout when its consumer dies."""
    add_chunks(producer_engine, 1)
    dispatcher(producer_engine, broker).step()
    with redis.Redis.from_url(broker_url) as client:
        queue = key_prefix + queue_name(Task.SENTIMENT, Lane.BULK)
        taken = client.rpop(queue)
        client.hset(f"{key_prefix}unacked", "tag", taken)

    published = dispatcher(producer_engine, broker, republish_after=1e-6).step()

    assert published == 1


@pytest.mark.usefixtures("live_worker")
def test_chunks_marked_while_redis_is_away_are_published_later(
    producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, an outage of Redis loses what was being dispatched."""
    job = add_chunks(producer_engine, 2)
    with pytest.raises(ServiceUnavailableError, match="TEXTMILL_BROKER_URL"):
        dispatcher(producer_engine, Broker("redis://127.0.0.1:1/0", "away:")).step()
    assert states(producer_engine)[job, "dispatched"] == 2

    published = dispatcher(producer_engine, broker, republish_after=1e-6).step()

    assert published == 2


def test_dispatch_that_begins_ends_no_lease_until_workers_could_renew_theirs(
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, innocent chunks count as crashed if dispatch restarts in an outage of Postgres.

    Workers were cut off as well: their leases lapsed, and their heartbeats have not arrived yet.
    """
    add_chunks(producer_engine, 1)
    claim_one(producer_engine, chunk_store(worker_engine))
    expire(worker_engine)

    dispatcher(producer_engine, broker).step()

    assert chunks(producer_engine)[0].state == "running"
    monkeypatch.setattr(dispatch, "RECONNECTING", 0)
    dispatcher(producer_engine, broker).step()
    assert chunks(producer_engine)[0].state == "pending"


def test_leases_that_a_jump_of_the_clock_ended_are_renewed_first(
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, a laptop that wakes from sleep takes all running chunks for crashed.

    The same if the clock of Postgres is set ahead, or after a failover to a server whose clock is.
    """
    monkeypatch.setattr(dispatch, "RECONNECTING", 0)
    add_chunks(producer_engine, 1)
    claim_one(producer_engine, chunk_store(worker_engine))
    ours = dispatcher(producer_engine, broker)
    ours.step()

    expire(worker_engine)
    monkeypatch.setattr(dispatch, "RECONNECTING", 60)
    with monkeypatch.context() as jumped:
        jumped.setattr(clock, "monotonic", lambda: time.monotonic() - 3600)
        ours.step()

    assert chunks(producer_engine)[0].state == "running"
    monkeypatch.setattr(ours, "_rescue_due", 0)
    ours.step()
    assert chunks(producer_engine)[0].state == "pending"


def test_lease_that_lapses_while_redis_is_away_is_ended(
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without it, one failing Redis command keeps all chunks of a dead host from being rescued."""
    monkeypatch.setattr(dispatch, "RECONNECTING", 1)  # twenty poll intervals
    add_chunks(producer_engine, 1)
    claim_one(producer_engine, chunk_store(worker_engine))
    away = Broker("redis://127.0.0.1:1/0", "away:")
    settings = DispatchSettings(poll_interval=0.05)
    stop = threading.Event()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            Dispatcher(producer_engine, away, settings, LIMITS.abandoned_after).run, stop
        )
        try:
            until(lambda: "Redis at redis://127.0.0.1:1" in caplog.text)
            expire(worker_engine)
            until(lambda: chunks(producer_engine)[0].state == "pending")
        finally:
            stop.set()

    running.result()


@pytest.mark.parametrize("login", ["", ":wrong@", "someone:wrong@"])
def test_dispatch_ends_where_redis_refuses_its_login(
    producer_engine: sa.Engine, broker_url: str, login: str
) -> None:
    """Without it, a wrong password looks like an outage, and dispatch waits for ever."""
    broker = Broker(f"redis://{login}{broker_url.rpartition('@')[2]}", "refused:")

    with pytest.raises(SettingsError, match=r"refuses the login .*; correct TEXTMILL_BROKER_URL"):
        dispatcher(producer_engine, broker).run(threading.Event())


@pytest.mark.usefixtures("live_worker")
def test_redis_that_refuses_a_command_is_not_told_to_be_started(
    producer_engine: sa.Engine, broker_url: str, key_prefix: str
) -> None:
    """Without it, whoever has to give Redis memory or a right looks for a server that is down."""
    add_chunks(producer_engine, 1)
    with redis.Redis.from_url(broker_url) as client:
        client.acl_setuser(
            "weak", enabled=True, nopass=True, keys="*", commands=["+@all", "-lpush"]
        )
        try:
            weak = Broker(f"redis://weak:any@{broker_url.rpartition('@')[2]}", key_prefix)

            with pytest.raises(ServiceUnavailableError, match=r"refuses a command .*lpush"):
                dispatcher(producer_engine, weak).step()
        finally:
            client.acl_deluser("weak")


@pytest.mark.usefixtures("live_worker")
def test_dispatchers_take_turns(producer_engine: sa.Engine, broker: Broker) -> None:
    """Without it, a frozen dispatcher stops all others, or two publish a chunk twice."""
    add_chunks(producer_engine, 3)
    with producer_engine.begin() as frozen:
        assert frozen.scalar(sa.text("select textmill.dispatch_turn()"))

        assert dispatcher(producer_engine, broker).step() == 0

    assert dispatcher(producer_engine, broker).step() == THREADS - 1


def test_dispatcher_without_a_turn_says_so_once(
    producer_engine: sa.Engine,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without it, a session that keeps the turn stops every job, and no log says why."""
    waiting = dispatcher(producer_engine, broker)
    with producer_engine.begin() as frozen:
        assert frozen.scalar(sa.text("select textmill.dispatch_turn()"))
        waiting.step()
        assert "no turn" not in caplog.text
        monkeypatch.setattr(turn, "PATIENCE", 0)

        waiting.step()
        waiting.step()

    waiting.step()
    assert caplog.text.count("no turn") == 1


@pytest.mark.usefixtures("live_worker")
def test_dispatch_outlasts_a_database_that_takes_no_writes(
    producer_engine: sa.Engine, engine: sa.Engine, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it, a failover to a standby ends dispatch, and `textmill up` with it."""
    job = add_chunks(producer_engine, 1)
    settings = DispatchSettings(poll_interval=0.05)
    stop = threading.Event()

    with ThreadPoolExecutor(1) as pool:
        with read_only(engine):
            running = pool.submit(
                Dispatcher(producer_engine, broker, settings, LIMITS.abandoned_after).run, stop
            )
            until(lambda: running.done() or "takes no writes" in caplog.text)
        until(lambda: running.done() or bool(states(engine)[job, "dispatched"]))
        stop.set()

    running.result()
    assert states(engine)[job, "dispatched"] == 1


def test_load_that_outlasts_a_jump_of_the_clock_is_not_abandoned(
    producer_engine: sa.Engine, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a submit on a machine that slept is refused, though its producer lives."""
    limits = LIMITS.model_copy(update={"load_batch": 1})
    given = batches([Document(text="one"), Document(text="two")], limits)
    with producer_engine.connect() as connection:
        load = Load(connection, Task.SENTIMENT, JobOptions(), submitter="tester", limits=limits)
        load.add(next(given))
        ours = dispatcher(producer_engine, broker)
        ours.step()
        connection.execute(sa.text("update textmill.job set loaded_at = now() - interval '1 day'"))
        connection.commit()

        monkeypatch.setattr(ours, "_upkeep_due", 0)
        with monkeypatch.context() as jumped:
            jumped.setattr(clock, "monotonic", lambda: time.monotonic() - 3600)
            ours.step()

        load.add(next(given))


def test_abandoned_load_is_purged_in_parts(
    producer_engine: sa.Engine, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, rows of a killed submit stay for ever, or their removal holds up all jobs.

    A load that continues in between is refused.
    """
    monkeypatch.setattr(loading, "PURGED_AT_ONCE", 1)
    with producer_engine.connect() as connection:
        load = Load(connection, Task.SENTIMENT, JobOptions(), submitter="tester", limits=LIMITS)
        load.add(next(batches([Document(text="one"), Document(text="two")], LIMITS)))
        connection.execute(sa.text("update textmill.job set loaded_at = now() - interval '1 day'"))
        connection.commit()
        purging = dispatcher(producer_engine, broker)
        purging.step()
        with pytest.raises(ServiceUnavailableError, match="was purged"):
            load.add(next(batches([Document(text="three")], LIMITS)))
        connection.rollback()

    purging.step()
    purging.step()

    with producer_engine.connect() as connection:
        left = connection.scalar(
            sa.text(
                "select (select count(*) from textmill.job)"
                " + (select count(*) from textmill.document)"
                " + (select count(*) from textmill.chunk)"
            )
        )
    assert left == 0


@pytest.mark.usefixtures("live_worker")
def test_purge_that_meets_a_lock_holds_up_no_job(
    engine: sa.Engine, producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, dispatch stands still while an administrator makes an index, if a load is old."""
    with producer_engine.connect() as connection:
        load = Load(connection, Task.SENTIMENT, JobOptions(), submitter="tester", limits=LIMITS)
        load.add(next(batches([Document(text="one")], LIMITS)))
        connection.execute(sa.text("update textmill.job set loaded_at = now() - interval '1 day'"))
        connection.commit()
    add_chunks(producer_engine, 1)

    with engine.begin() as indexing, ThreadPoolExecutor(1) as pool:
        indexing.exec_driver_sql("lock table textmill.failure in share mode")
        stepping = pool.submit(dispatcher(producer_engine, broker).step)
        try:
            assert stepping.result(timeout=20) == 1
        finally:
            indexing.rollback()

    dispatcher(producer_engine, broker).step()
    with producer_engine.connect() as connection:
        assert connection.scalar(sa.text("select count(*) from textmill.job")) == 1
