"""Dispatch: bounded, fair, and at ease with a Redis that forgets."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
import redis
import sqlalchemy as sa

from producer import loading
from producer.batches import batches
from producer.broker import Broker
from producer.dispatch import Dispatcher
from producer.loading import Load
from producer.submit import submit
from schema.documents import Document, JobOptions, Lane, Task
from schema.errors import ServiceUnavailableError
from schema.messages import queue_name
from schema.settings import DispatchSettings, IntakeSettings
from tests.fixtures.postgres import read_only

LIMITS = IntakeSettings(chunk_documents=1)
THREADS = 4


def add_job(engine: sa.Engine, chunks: int, lane: Lane = Lane.BULK) -> UUID:
    return submit(
        engine,
        Task.SENTIMENT,
        [Document(text=f"text {n}") for n in range(chunks)],
        JobOptions(lane=lane),
        submitter="tester",
        limits=LIMITS,
    ).job_id


@pytest.fixture
def live_worker(worker_engine: sa.Engine) -> None:
    """A heartbeat row of a process with four threads."""
    with worker_engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into textmill.worker (worker, host, pid, device, tasks, threads)"
                " values ('w1', 'here', 1, 'cpu', '{sentiment}', :threads)"
            ),
            {"threads": THREADS},
        )


def dispatcher(engine: sa.Engine, broker: Broker, republish_after: float = 60) -> Dispatcher:
    settings = DispatchSettings(republish_after=republish_after)
    return Dispatcher(engine, broker, settings, LIMITS)


def forget(broker_url: str, key_prefix: str) -> None:
    """What FLUSHALL would do, for the keys of this test."""
    with redis.Redis.from_url(broker_url) as client:
        client.delete(*client.scan_iter(match=f"{key_prefix}*"))


def states(engine: sa.Engine) -> Counter[tuple[UUID, str]]:
    with engine.connect() as connection:
        rows = connection.execute(sa.text("select job_id, state from textmill.chunk"))
        return Counter((row.job_id, row.state) for row in rows)


@pytest.mark.usefixtures("live_worker")
def test_depth_leaves_a_thread_free(producer_engine: sa.Engine, broker: Broker) -> None:
    """Without it, Redis grows without bound and interactive chunks wait behind bulk ones."""
    bulk = add_job(producer_engine, 10)
    dispatch = dispatcher(producer_engine, broker)

    published = [dispatch.step(), dispatch.step()]

    assert published == [THREADS - 1, 0]
    assert sum(broker.queued().values()) == THREADS - 1
    assert states(producer_engine)[bulk, "dispatched"] == THREADS - 1


@pytest.mark.usefixtures("live_worker")
def test_interactive_chunks_go_while_bulk_is_full(
    producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, a person waits for the nightly load."""
    add_job(producer_engine, 10)
    dispatch = dispatcher(producer_engine, broker)
    dispatch.step()
    urgent = add_job(producer_engine, 1, Lane.INTERACTIVE)

    dispatch.step()

    assert states(producer_engine)[urgent, "dispatched"] == 1


@pytest.mark.usefixtures("live_worker")
def test_interactive_chunks_leave_a_thread_to_bulk(
    producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it a stream of interactive jobs stops the nightly load."""
    dispatch = dispatcher(producer_engine, broker)
    urgent = add_job(producer_engine, 20, Lane.INTERACTIVE)
    bulk = add_job(producer_engine, 10)

    dispatch.step()

    assert states(producer_engine)[urgent, "dispatched"] == THREADS - 1
    assert states(producer_engine)[bulk, "dispatched"] == THREADS - 1


@pytest.mark.usefixtures("live_worker")
def test_interactive_chunks_take_all_threads_when_no_bulk_waits(
    producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it a thread of every process idles through the day."""
    urgent = add_job(producer_engine, 20, Lane.INTERACTIVE)

    dispatcher(producer_engine, broker).step()

    assert states(producer_engine)[urgent, "dispatched"] == THREADS * 2


@pytest.mark.usefixtures("live_worker")
def test_jobs_share_by_tokens_not_by_chunks(producer_engine: sa.Engine, broker: Broker) -> None:
    """Without it a job of long documents takes most of the device's time."""
    heavy, light = add_job(producer_engine, 30), add_job(producer_engine, 30)
    with producer_engine.begin() as connection:
        connection.execute(
            sa.text(
                "update textmill.chunk set tokens = case job_id when :heavy then 200 else 100 end"
            ),
            {"heavy": heavy},
        )

    dispatcher(producer_engine, broker).step()

    assert states(producer_engine)[heavy, "dispatched"] == 1
    assert states(producer_engine)[light, "dispatched"] == 2


CHUNKS = 200_000
"""Of a job of a hundred million documents, at 500 a chunk."""


@pytest.fixture
def huge_job(producer_engine: sa.Engine, engine: sa.Engine) -> UUID:
    """A job half through: chunks done, a few under way, the others pending."""
    job = add_job(producer_engine, 1)
    with engine.begin() as connection:
        connection.execute(
            sa.text("""
                insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens, state,
                    attempt, worker, dispatched_at, lease_expires_at)
                select :job, n, n * 500 + 1, n * 500 + 500, 16000, state, 1, 'w1', now(),
                    case state when 'running' then now() + interval '1 hour' end
                from (
                    select n, case when n < :half then 'done' when n < :half + 2 then 'running'
                        else 'pending' end as state
                    from generate_series(1, :chunks) as n
                ) as numbered
            """),
            {"job": job, "half": CHUNKS // 2, "chunks": CHUNKS},
        )
        connection.execute(sa.text("update textmill.job set state = 'running'"))
        connection.execute(sa.text("update textmill.worker set heartbeat_at = now()"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("analyze textmill.chunk"))
        connection.execute(sa.text("analyze textmill.job"))
    return job


@pytest.mark.usefixtures("live_worker")
def test_step_reads_a_few_rows_of_a_huge_job(
    huge_job: UUID, producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it dispatch slows down with the size of a job, and stalls every other one."""
    plans: list[tuple[str, dict[str, Any]]] = []

    def explain(  # what the event hands over
        connection: sa.Connection,
        cursor: object,  # noqa: ARG001
        statement: str,
        parameters: object,
        context: object,  # noqa: ARG001
        executemany: bool,  # noqa: ARG001, FBT001
    ) -> None:
        if "textmill.chunk" in statement:
            beside: Any = connection.connection.cursor()
            beside.execute(f"explain (format json) {statement}", parameters or None)
            (answer,) = beside.fetchone()
            plans.append((statement, answer[0]["Plan"]))

    sa.event.listen(producer_engine, "before_cursor_execute", explain)
    published = dispatcher(producer_engine, broker).step()
    sa.event.remove(producer_engine, "before_cursor_execute", explain)

    assert published == THREADS - 1 - 2
    assert states(producer_engine)[huge_job, "dispatched"] == published
    assert len(plans) >= 5
    for statement, plan in plans:
        for node in nodes(plan):
            scans_all = node["Node Type"] == "Seq Scan" and node["Relation Name"] == "chunk"
            assert not scans_all, f"{statement} reads every chunk: {plan}"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's node and all below it."""
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


@pytest.mark.usefixtures("live_worker")
def test_small_job_does_not_wait_for_a_large_one(
    producer_engine: sa.Engine, worker_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, jobs run in order of submission, however long the first takes."""
    large = add_job(producer_engine, 50)
    dispatch = dispatcher(producer_engine, broker)
    dispatch.step()
    small = add_job(producer_engine, 1)
    with worker_engine.begin() as connection:  # one chunk of the large job is done
        connection.execute(
            sa.text(
                "update textmill.chunk set state = 'pending', dispatched_at = null"
                " where state = 'dispatched' and chunk_no = 0"
            )
        )

    dispatch.step()

    assert states(producer_engine)[small, "dispatched"] == 1
    assert states(producer_engine)[large, "dispatched"] == THREADS - 2


@pytest.mark.usefixtures("live_worker")
def test_chunks_that_nobody_may_run_take_no_place(
    engine: sa.Engine, producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, a paused job, or a task whose workers are gone, stops all others."""
    paused = add_job(producer_engine, 10)
    dispatch = dispatcher(producer_engine, broker)
    dispatch.step()
    with producer_engine.begin() as connection:
        connection.execute(sa.text("update textmill.job set state = 'paused'"))
    unserved = add_job(producer_engine, 10)
    with engine.begin() as connection:
        connection.execute(
            sa.text("update textmill.job set task = 'moderation' where job_id = :job_id"),
            {"job_id": unserved},
        )
        connection.execute(
            sa.text(
                "update textmill.chunk set state = 'dispatched', dispatched_at = now()"
                " where job_id = :job_id"
            ),
            {"job_id": unserved},
        )
    runnable = add_job(producer_engine, 10)

    dispatch.step()

    assert states(producer_engine)[paused, "dispatched"] == THREADS - 1
    assert states(producer_engine)[runnable, "dispatched"] == THREADS - 1


def test_nothing_is_published_without_a_live_worker(
    producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, an outage of the workers fills Redis."""
    add_job(producer_engine, 3)

    assert dispatcher(producer_engine, broker).step() == 0
    assert sum(broker.queued().values()) == 0


@pytest.mark.usefixtures("live_worker")
def test_lost_messages_are_published_again_once(
    producer_engine: sa.Engine, broker: Broker, key_prefix: str, broker_url: str
) -> None:
    """Without it, chunks wait for ever for messages that Redis has forgotten."""
    add_job(producer_engine, 10)
    dispatcher(producer_engine, broker).step()
    forget(broker_url, key_prefix)
    impatient = dispatcher(producer_engine, broker, republish_after=1e-6)

    published = [impatient.step(), impatient.step()]

    assert published == [THREADS - 1, 0]
    assert sum(broker.queued().values()) == THREADS - 1


@pytest.mark.usefixtures("live_worker")
def test_message_taken_by_a_dead_worker_is_published_again(
    producer_engine: sa.Engine, broker: Broker, key_prefix: str, broker_url: str
) -> None:
    """Without it, a chunk waits for Celery's visibility timeout when its consumer dies."""
    add_job(producer_engine, 1)
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
    job = add_job(producer_engine, 2)
    with pytest.raises(ServiceUnavailableError, match="TEXTMILL_BROKER_URL"):
        dispatcher(producer_engine, Broker("redis://127.0.0.1:1/0", "away:")).step()
    assert states(producer_engine)[job, "dispatched"] == 2

    published = dispatcher(producer_engine, broker, republish_after=1e-6).step()

    assert published == 2


@pytest.mark.usefixtures("live_worker")
def test_dispatchers_take_turns(producer_engine: sa.Engine, broker: Broker) -> None:
    """Without it, a frozen dispatcher stops all others, or two publish a chunk twice."""
    add_job(producer_engine, 3)
    with producer_engine.begin() as frozen:
        frozen.execute(sa.text("select pg_try_advisory_xact_lock(hashtext('textmill.dispatch'))"))

        assert dispatcher(producer_engine, broker).step() == 0

    assert dispatcher(producer_engine, broker).step() == THREADS - 1


@pytest.mark.usefixtures("live_worker")
def test_dispatch_outlasts_a_database_that_takes_no_writes(
    producer_engine: sa.Engine, engine: sa.Engine, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it, a failover to a standby ends dispatch, and `textmill up` with it."""
    job = add_job(producer_engine, 1)
    settings = DispatchSettings(poll_interval=0.05)
    stop = threading.Event()

    with ThreadPoolExecutor(1) as pool:
        with read_only(engine):
            running = pool.submit(Dispatcher(producer_engine, broker, settings, LIMITS).run, stop)
            until(lambda: running.done() or "takes no writes" in caplog.text)
        until(lambda: running.done() or bool(states(engine)[job, "dispatched"]))
        stop.set()

    running.result()
    assert states(engine)[job, "dispatched"] == 1


def until(happened: Callable[[], bool]) -> None:
    """Wait; the time limit of the test ends it."""
    while not happened():
        time.sleep(0.02)


def test_abandoned_load_is_purged_in_parts(
    producer_engine: sa.Engine, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, rows of a submit that was killed stay for ever, or hold up all jobs when they go.

    A load that goes on in between is refused.
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
