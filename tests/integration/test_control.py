"""Cancel, pause, resume, retry, deadlines: from Python and SQL."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
import sqlalchemy as sa

from producer import control
from producer.broker import Broker
from producer.dispatch import Dispatcher
from producer.submit import submit
from schema.documents import Document, JobOptions, Rejected, Task
from schema.errors import DocumentsGoneError, JobNotFoundError, LeaseLostError
from schema.outcomes import ErrorCode, Failure, Stage
from schema.settings import DispatchSettings, IntakeSettings
from tests.fixtures.chunks import add_job, chunk_store, chunks, held_chunks, mark
from tests.fixtures.commands import invoke
from tests.fixtures.outcomes import FAILURE, POSITIVE, work_off
from tests.fixtures.postgres import DatabaseUrls
from worker.chunks import ChunkStore

EMPTY = Failure(code=ErrorCode.NO_CONTENT, stage=Stage.PREPROCESS, message="nothing left")


@pytest.fixture
def store(worker_engine: sa.Engine) -> ChunkStore:
    return chunk_store(worker_engine)


def job(engine: sa.Engine) -> sa.Row[tuple[object, ...]]:
    with engine.connect() as connection:
        return connection.execute(sa.text("select * from textmill.job_status")).one()


def counts(engine: sa.Engine) -> tuple[object, ...]:
    seen = job(engine)
    return seen.state, seen.succeeded, seen.failed, seen.cancelled, seen.pending


def step(engine: sa.Engine, broker: Broker) -> None:
    Dispatcher(engine, broker, DispatchSettings(), IntakeSettings().abandoned_after).step()


def test_cancel_keeps_outcomes_and_ends_the_rest(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, a cancelled job loses what was done, or continues."""
    job_id = add_job(producer_engine, 10, chunk=2)
    work_off(producer_engine, worker_engine, job_id, POSITIVE, chunks=1)
    running, *_ = [store.claim(message, alone=False) for message in mark(producer_engine)[:1]]
    assert running is not None

    assert control.cancel(producer_engine, job_id) == "cancelled"

    assert counts(producer_engine) == ("cancelled", 2, 0, 8, 0)
    assert {c.state for c in chunks(producer_engine)} == {"done", "cancelled"}
    with pytest.raises(LeaseLostError):
        store.store(running, [(3, POSITIVE), (4, POSITIVE)])
    assert held_chunks(worker_engine).owned() == set()
    assert counts(producer_engine) == ("cancelled", 2, 0, 8, 0)


def test_cancel_waits_for_no_store_and_dispatch_ends_the_job(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore, broker: Broker
) -> None:
    """Without it, a person's cancel hangs behind a slow worker, or stays half done."""
    job_id = add_job(producer_engine, 4, chunk=2)
    first, _ = mark(producer_engine)
    claim = store.claim(first, alone=False)
    assert claim is not None

    with worker_engine.begin() as writing:
        writing.execute(
            sa.text("select from textmill.chunk where chunk_no = :chunk_no for update"),
            {"chunk_no": claim.chunk_no},
        )
        assert control.cancel(producer_engine, job_id) == "cancelling"
    store.store(claim, [(1, POSITIVE), (2, POSITIVE)])
    step(producer_engine, broker)

    assert counts(producer_engine) == ("cancelled", 2, 0, 2, 0)


def test_large_job_is_closed_in_batches(producer_engine: sa.Engine, broker: Broker) -> None:
    """Without it, a large job is ended in one long transaction, for which all others wait."""
    job_id = add_job(producer_engine, 1200, chunk=1)
    with producer_engine.begin() as connection:
        connection.execute(sa.text("select textmill.cancel(:job_id)"), {"job_id": job_id})
        closed = connection.scalar(
            sa.text("select textmill.close_chunks(:job_id, 500)"), {"job_id": job_id}
        )
    assert (closed, *counts(producer_engine)) == (500, "cancelling", 0, 0, 0, 1200)

    step(producer_engine, broker)

    assert counts(producer_engine) == ("cancelled", 0, 0, 1200, 0)


def test_paused_job_finishes_what_runs_and_begins_nothing(
    producer_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, a pause loses the work under way, or does not hold."""
    job_id = add_job(producer_engine, 4, chunk=2)
    first, second = sorted(mark(producer_engine), key=lambda message: message.chunk_no)
    claim = store.claim(first, alone=False)
    assert claim is not None

    assert control.pause(producer_engine, job_id) == "paused"

    assert store.claim(second, alone=False) is None
    store.store(claim, [(1, POSITIVE), (2, POSITIVE)])
    assert counts(producer_engine) == ("paused", 2, 0, 0, 2)


def test_resumed_job_publishes_again_what_workers_dropped(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, a resumed job waits for messages that were thrown away."""
    job_id = add_job(producer_engine, 2, chunk=1)
    first, second = mark(producer_engine)
    control.pause(producer_engine, job_id)
    assert [store.claim(first, alone=False), store.claim(second, alone=False)] == [None, None]

    assert control.resume(producer_engine, job_id) == "pending"

    assert [c.state for c in chunks(producer_engine)] == ["pending", "pending"]
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    assert job(producer_engine).state == "completed"


def test_retry_runs_failures_again_and_nothing_else(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, a passing fault costs a job its documents, or a retry repeats what was done."""
    job_id = submit(
        producer_engine,
        Task.SENTIMENT,
        [
            Document(text="good"),
            Rejected(code=ErrorCode.EMPTY_TEXT, message="empty"),
            Document(text="bad"),
            Document(text="blank"),
            Document(text="good too"),
        ],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(chunk_documents=2),
    ).job_id
    verdicts = {3: FAILURE, 4: EMPTY}
    work_off(producer_engine, worker_engine, job_id, lambda d: verdicts.get(d.seq, POSITIVE))
    assert counts(producer_engine) == ("completed", 2, 3, 0, 0)

    assert control.retry(producer_engine, job_id) == 1

    assert counts(producer_engine) == ("running", 2, 2, 0, 1)
    (message,) = mark(producer_engine)
    claim = store.claim(message, alone=False)
    assert claim is not None
    assert claim.attempt == 2
    assert [document.seq for document in store.load(claim)] == [3]
    store.store(claim, [(3, POSITIVE)])
    assert counts(producer_engine) == ("completed", 3, 2, 0, 0)
    assert control.retry(producer_engine, job_id) == 0


@pytest.mark.parametrize("succeeded", [0, 1])
@pytest.mark.parametrize("is_dropped", [True, False])
def test_job_whose_outcomes_are_gone_is_not_retried(
    engine: sa.Engine,
    database: DatabaseUrls,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    *,
    succeeded: int,
    is_dropped: bool,
) -> None:
    """Without it, finished documents count as work, and are stored in vain again and again."""
    job_id = add_job(producer_engine, 2)
    work_off(
        *(producer_engine, worker_engine, job_id),
        lambda d: POSITIVE if d.seq <= succeeded else FAILURE,
    )
    before = counts(producer_engine)
    partition = f"textmill.result_{datetime.now(UTC):%Y%m}"
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"drop table {partition}"
            if is_dropped
            else f"alter table textmill.result detach partition {partition}"
        )

    with pytest.raises(DocumentsGoneError, match=str(job_id)):
        control.retry(producer_engine, job_id)
    printed = invoke(database, "retry", job_id)

    assert (printed.exit_code, printed.stdout) == (2, f"{job_id} documents to run again: 0\n")
    assert f"the documents of job {job_id} are gone, or their outcomes" in printed.stderr
    assert counts(producer_engine) == before


def test_retry_of_a_pruned_job_says_that_its_documents_are_gone(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a program learns that nothing failed, although what failed is lost."""
    job_id = add_job(producer_engine, 2)
    work_off(producer_engine, worker_engine, job_id, FAILURE)
    with engine.begin() as connection:
        connection.exec_driver_sql("truncate textmill.document, textmill.failure")

    with pytest.raises(DocumentsGoneError, match=str(job_id)):
        control.retry(producer_engine, job_id)


def test_document_found_to_crash_stays_under_suspicion_when_retried(
    producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a retry runs a poison document beside others again."""
    job_id = add_job(producer_engine, 1)
    crashed = Failure(code=ErrorCode.WORKER_CRASHED, stage=Stage.RUN, message="it died")
    work_off(producer_engine, worker_engine, job_id, crashed)

    assert control.retry(producer_engine, job_id) == 1

    assert [(c.state, c.suspect, c.crashes) for c in chunks(producer_engine)] == [
        ("pending", True, 0)
    ]


def test_deadline_ends_a_job_and_keeps_what_was_done(
    producer_engine: sa.Engine, worker_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, a nightly job runs into the day."""
    job_id = add_job(producer_engine, 3, chunk=1)
    work_off(producer_engine, worker_engine, job_id, POSITIVE, chunks=1)
    step(producer_engine, broker)
    assert job(producer_engine).state == "running"
    with producer_engine.begin() as connection:
        connection.execute(sa.text("update textmill.job set deadline_at = now()"))

    step(producer_engine, broker)

    assert counts(producer_engine) == ("expired", 1, 0, 2, 0)


def test_retried_job_is_not_ended_by_its_old_deadline(
    producer_engine: sa.Engine, worker_engine: sa.Engine, broker: Broker
) -> None:
    """Without it, a job that was done in time cannot be retried later."""
    job_id = add_job(producer_engine, 1)
    work_off(producer_engine, worker_engine, job_id, FAILURE)
    with producer_engine.begin() as connection:
        connection.execute(sa.text("update textmill.job set deadline_at = now()"))

    control.retry(producer_engine, job_id)
    step(producer_engine, broker)

    assert job(producer_engine).state == "running"


@pytest.mark.parametrize("function", ["cancel", "pause", "resume", "retry"])
def test_control_is_idempotent_and_leaves_finished_jobs_alone(
    producer_engine: sa.Engine, worker_engine: sa.Engine, function: str
) -> None:
    """Without it, a script that runs twice breaks a job, or fails."""
    finished = add_job(producer_engine, 1)
    work_off(producer_engine, worker_engine, finished, POSITIVE)
    do = getattr(control, function)

    assert do(producer_engine, finished) in ("completed", 0)
    assert job(producer_engine).state == "completed"
    other = add_job(producer_engine, 1)
    assert do(producer_engine, other) == do(producer_engine, other)


@pytest.mark.parametrize("function", ["cancel", "pause", "resume", "retry"])
def test_unknown_job_is_named(producer_engine: sa.Engine, function: str) -> None:
    """Without it, a mistyped id looks like a job that was controlled as asked."""
    missing = uuid4()

    with pytest.raises(JobNotFoundError, match=str(missing)):
        getattr(control, function)(producer_engine, missing)


@pytest.mark.parametrize("function", ["cancel", "pause", "resume", "retry"])
def test_only_producers_control_jobs(
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    reader_engine: sa.Engine,
    function: str,
) -> None:
    """Without it, anyone who may read a job's status may stop it."""
    job_id = add_job(producer_engine, 1)
    call = sa.text(f"select textmill.{function}(:job_id)")

    for engine in (worker_engine, reader_engine):
        with (
            engine.connect() as connection,
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
        ):
            connection.execute(call, {"job_id": job_id})
    with producer_engine.begin() as connection:
        connection.execute(call, {"job_id": job_id})
