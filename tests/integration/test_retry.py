"""Jobs that were cancelled or expired go on when they are retried."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from producer import control
from schema.documents import JobId
from schema.errors import LeaseLostError
from schema.outcomes import ErrorCode, Failure, Stage
from tests.fixtures.chunks import add_job, chunk_store, mark
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.waiting import until, until_blocked

FAILURE = Failure(code=ErrorCode.STAGE_ERROR, stage=Stage.PREDICT, message="it failed")
SPLIT = """
    insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens, state)
    select :job_id, 1000000 + number, 1, 2, 1, 'split' from generate_series(1, 400000) as number
"""
"""Enough chunks that reading them takes a while."""


def counts(engine: sa.Engine) -> tuple[object, ...]:
    with engine.connect() as connection:
        seen = connection.execute(sa.text("select * from textmill.job_status")).one()
    return seen.state, seen.succeeded, seen.failed, seen.cancelled, seen.pending


@pytest.mark.parametrize("done", [0, 1])
@pytest.mark.parametrize("expires", [True, False])
def test_retry_runs_what_was_cancelled(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    *,
    done: int,
    expires: bool,
) -> None:
    """Without it, a night that ran out of time has to be submitted and run again as a whole."""
    store = chunk_store(worker_engine)
    job_id = add_job(producer_engine, 6, chunk=2)
    work_off(producer_engine, worker_engine, job_id, FAILURE, chunks=done)
    stale = store.claim(mark(producer_engine)[0], alone=False)
    assert stale is not None
    (first, *_) = store.load(stale)
    if expires:
        with engine.begin() as connection:
            connection.exec_driver_sql("update textmill.job set deadline_at = now()")
        with producer_engine.begin() as connection:
            connection.exec_driver_sql("select textmill.expire_jobs()")
        control.close_chunks(producer_engine, job_id)
    else:
        control.cancel(producer_engine, job_id)
    state = "expired" if expires else "cancelled"
    assert counts(producer_engine) == (state, 0, 2 * done, 6 - 2 * done, 0)

    assert control.retry(producer_engine, job_id) == 6
    assert control.retry(producer_engine, job_id) == 0

    assert counts(producer_engine) == ("running", 0, 0, 0, 6)
    with pytest.raises(LeaseLostError):
        store.store(stale, [(first.seq, POSITIVE)])
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    assert counts(producer_engine) == ("completed", 6, 0, 0, 0)


def test_retry_of_a_job_that_nothing_began_lets_it_begin(
    producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a job counts as running since never, or cannot be claimed."""
    job_id = add_job(producer_engine, 2)
    control.cancel(producer_engine, job_id)

    assert control.retry(producer_engine, job_id) == 2

    assert counts(producer_engine) == ("pending", 0, 0, 0, 2)
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    assert counts(producer_engine) == ("completed", 2, 0, 0, 0)


def test_second_of_two_retries_does_nothing(producer_engine: sa.Engine) -> None:
    """Without it, a statement that retries many jobs is rolled back for one that runs already."""
    job_id = add_job(producer_engine, 4, chunk=2)
    control.cancel(producer_engine, job_id)
    with producer_engine.connect() as first, ThreadPoolExecutor(1) as pool:
        retried = first.scalar(sa.text("select textmill.retry(:job_id)"), {"job_id": job_id})
        second = pool.submit(control.retry, producer_engine, job_id)
        until_blocked(producer_engine, second)
        first.commit()

        assert (retried, second.result()) == (4, 0)
    assert counts(producer_engine) == ("pending", 0, 0, 0, 4)


def test_late_closing_leaves_a_retried_job_alone(
    engine: sa.Engine, producer_engine: sa.Engine
) -> None:
    """Without it, chunks of a job that goes on are cancelled, and it never ends."""
    job_id = add_job(producer_engine, 2, chunk=1)
    _put_behind_others(engine, job_id)
    with producer_engine.begin() as connection:
        connection.execute(sa.text("select textmill.cancel(:job_id)"), {"job_id": job_id})
    with producer_engine.connect() as closing, ThreadPoolExecutor(1) as pool:
        pid = closing.scalar(sa.text("select pg_backend_pid()"))
        late = pool.submit(control.close_batch, closing, job_id)
        until(lambda: late.done() or _is_closing(engine, pid))
        os.kill(pid, signal.SIGSTOP)
        try:
            control.close_chunks(producer_engine, job_id)
            retried = control.retry(producer_engine, job_id)
        finally:
            os.kill(pid, signal.SIGCONT)
        late.result()
        closing.commit()

    assert retried == 2
    assert len(mark(producer_engine)) == 2


def _put_behind_others(engine: sa.Engine, job_id: JobId) -> None:
    """Have a search for the job's open chunks read many others before, as halves come last."""
    with engine.begin() as connection:
        connection.execute(sa.text(SPLIT), {"job_id": job_id})
        connection.exec_driver_sql(
            "update textmill.chunk set chunk_no = chunk_no + 5000000 where state = 'pending'"
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("analyze textmill.chunk")


def _is_closing(engine: sa.Engine, pid: int) -> bool:
    with engine.connect() as connection:
        running = sa.text(
            "select state = 'active' and query like '%close_chunks%' from pg_stat_activity"
            " where pid = :pid"
        )
        return bool(connection.scalar(running, {"pid": pid}))
