"""Dispatch: bounded, and fair to lanes and jobs."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from producer import marking
from producer.broker import Broker
from schema.documents import JobId, Lane
from tests.fixtures.dispatch import THREADS, add_chunks, dispatcher, states
from tests.fixtures.processes import Start
from tests.fixtures.waiting import PATIENCE


@pytest.mark.usefixtures("live_worker")
def test_depth_leaves_a_thread_free(producer_engine: sa.Engine, broker: Broker) -> None:
    """Without it, Redis grows without bound and interactive chunks wait behind bulk ones."""
    bulk = add_chunks(producer_engine, 10)
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
    add_chunks(producer_engine, 10)
    dispatch = dispatcher(producer_engine, broker)
    dispatch.step()
    urgent = add_chunks(producer_engine, 1, Lane.INTERACTIVE)

    dispatch.step()

    assert states(producer_engine)[urgent, "dispatched"] == 1


@pytest.mark.usefixtures("live_worker")
def test_interactive_chunks_leave_a_thread_to_bulk(
    producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, a stream of interactive jobs stops the nightly load."""
    dispatch = dispatcher(producer_engine, broker)
    urgent = add_chunks(producer_engine, 20, Lane.INTERACTIVE)
    bulk = add_chunks(producer_engine, 10)

    dispatch.step()

    assert states(producer_engine)[urgent, "dispatched"] == THREADS - 1
    assert states(producer_engine)[bulk, "dispatched"] == THREADS - 1


@pytest.mark.usefixtures("live_worker")
def test_published_bulk_chunk_waits_for_no_stream_of_interactive_ones(
    producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, a small bulk job that is published as a whole waits for the end of the stream.

    Workers read the interactive queue first, and it would never be empty.
    """
    dispatch = dispatcher(producer_engine, broker)
    bulk = add_chunks(producer_engine, 1)
    dispatch.step()
    urgent = add_chunks(producer_engine, 20, Lane.INTERACTIVE)

    dispatch.step()

    assert states(producer_engine)[bulk, "dispatched"] == 1
    assert states(producer_engine)[urgent, "dispatched"] == THREADS - 1


@pytest.mark.usefixtures("live_worker")
def test_interactive_chunks_take_all_threads_when_no_bulk_waits(
    producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, a thread of every process idles through the day."""
    urgent = add_chunks(producer_engine, 20, Lane.INTERACTIVE)

    dispatcher(producer_engine, broker).step()

    assert states(producer_engine)[urgent, "dispatched"] == THREADS * 2


@pytest.mark.usefixtures("live_worker")
def test_jobs_share_by_tokens_not_by_chunks(
    producer_engine: sa.Engine, engine: sa.Engine, broker: Broker
) -> None:
    """Without it, a job of long documents takes most of the device's time."""
    heavy, light = add_chunks(producer_engine, 30), add_chunks(producer_engine, 30)
    with engine.begin() as connection:
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
"""Chunks of a job of a hundred million documents, at 500 per chunk."""


@pytest.fixture
def huge_job(producer_engine: sa.Engine, engine: sa.Engine) -> JobId:
    """A half-finished job: half of its chunks done, a few running, the others pending."""
    job = add_chunks(producer_engine, 1)
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
    huge_job: JobId, producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, dispatch slows down with the size of a job, and stalls all other jobs."""
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
    assert len(plans) >= 4
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
    producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, jobs run in order of submission, however long the first takes."""
    large = add_chunks(producer_engine, 50)
    dispatch = dispatcher(producer_engine, broker)
    dispatch.step()
    small = add_chunks(producer_engine, 1)
    with producer_engine.begin() as connection:  # one chunk of the large job leaves the queue
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
def test_small_job_does_not_wait_behind_many_large_ones(
    producer_engine: sa.Engine,
    engine: sa.Engine,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, hundreds of large jobs end before a small one begins."""
    monkeypatch.setattr(marking, "JOBS_CONSIDERED", 4)
    large = [add_chunks(producer_engine, 10) for _ in range(6)]
    small = add_chunks(producer_engine, 1)
    with engine.begin() as connection:
        connection.execute(
            sa.text("update textmill.chunk set tokens = 200 where job_id = any(:large)"),
            {"large": large},
        )

    dispatcher(producer_engine, broker).step()

    assert states(producer_engine)[small, "dispatched"] == 1
    assert states(producer_engine)[large[0], "dispatched"] == 1


@pytest.mark.usefixtures("live_worker")
def test_chunks_that_nobody_may_run_take_no_place(
    engine: sa.Engine, producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, a paused job, or a task whose workers are gone, stops all others."""
    paused = add_chunks(producer_engine, 10)
    dispatch = dispatcher(producer_engine, broker)
    dispatch.step()
    with producer_engine.begin() as connection:
        connection.execute(sa.text("update textmill.job set state = 'paused'"))
    unserved = add_chunks(producer_engine, 10)
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
    runnable = add_chunks(producer_engine, 10)

    dispatch.step()

    assert states(producer_engine)[paused, "dispatched"] == THREADS - 1
    assert states(producer_engine)[runnable, "dispatched"] == THREADS - 1


def test_nothing_is_published_without_a_live_worker(
    producer_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, an outage of the workers fills Redis."""
    add_chunks(producer_engine, 3)

    assert dispatcher(producer_engine, broker).step() == 0
    assert sum(broker.queued().values()) == 0


@pytest.mark.usefixtures("live_worker")
def test_dispatch_says_that_it_runs(start: Start, reader_engine: sa.Engine) -> None:
    """Without it, nobody can tell a dispatch that has nothing to do from one that hangs."""
    process = start("producer.cli", "dispatch")
    assert process.stdout is not None

    begun = process.stdout.readline()
    with reader_engine.connect() as connection:
        connected = connection.scalar(
            sa.text(
                "select count(*) from pg_stat_activity where application_name = 'textmill-dispatch'"
                " and datname = current_database()"
            )
        )
    process.terminate()
    ended, _ = process.communicate(timeout=PATIENCE)

    assert f"dispatch begins: a step every 1 s, for {THREADS} threads" in begun
    assert connected
    assert "dispatch stops" in ended
    assert process.returncode == 0


@pytest.mark.usefixtures("live_worker")
@pytest.mark.parametrize(("wait", "published"), [("30 seconds", 0), ("1 day", 1)])
def test_retry_put_off_before_the_clock_was_set_back_goes_at_once(
    producer_engine: sa.Engine, engine: sa.Engine, broker: Broker, wait: str, published: int
) -> None:
    """Without it, a chunk waits for as long as the clock of Postgres was ahead."""
    add_chunks(producer_engine, 1)
    with engine.begin() as connection:
        connection.execute(
            sa.text("update textmill.chunk set not_before = now() + cast(:wait as interval)"),
            {"wait": wait},
        )

    assert dispatcher(producer_engine, broker).step() == published
