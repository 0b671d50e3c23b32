"""Cancel, pause, resume, retry, deadlines: from Python, the command line and SQL."""

import json
from datetime import UTC, datetime, timedelta
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
from tests.fixtures.chunks import add_job, chunk_store, chunks, mark
from tests.fixtures.commands import invoke
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.postgres import DatabaseUrls
from worker.chunks import ChunkStore

FAILURE = Failure(code=ErrorCode.STAGE_ERROR, stage=Stage.PREDICT, message="it failed")
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
    Dispatcher(engine, broker, DispatchSettings(), IntakeSettings()).step()


def test_cancel_keeps_outcomes_and_ends_the_rest(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, a cancelled job loses what was done, or goes on."""
    job_id = add_job(producer_engine, 10, chunk=2)
    work_off(producer_engine, worker_engine, job_id, POSITIVE, chunks=1)
    running, *_ = [store.claim(message, alone=False) for message in mark(producer_engine)[:1]]
    assert running is not None

    assert control.cancel(producer_engine, job_id) == "cancelled"

    assert counts(producer_engine) == ("cancelled", 2, 0, 8, 0)
    assert {c.state for c in chunks(producer_engine)} == {"done", "cancelled"}
    with pytest.raises(LeaseLostError):
        store.store(running, [(3, POSITIVE), (4, POSITIVE)])
    assert store.owned() == set()
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
    """Without it, ending a large job is one long transaction, which all others wait for."""
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
    """Without it, what was done counts as work, and is stored in vain again and again."""
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


def test_document_found_to_crash_stays_under_suspicion_when_retried(
    producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a retry lets a deadly document loose on its neighbours."""
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
    """Without it a mistyped id would look like a job that did as it was told."""
    missing = uuid4()

    with pytest.raises(JobNotFoundError, match=str(missing)):
        getattr(control, function)(producer_engine, missing)


def test_commands_control_jobs(
    database: DatabaseUrls, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, people need SQL to stop a job."""
    job_id = add_job(producer_engine, 2)

    printed = [
        invoke(database, "pause", job_id).stdout,
        invoke(database, "resume", job_id, "--json").stdout,
    ]
    work_off(producer_engine, worker_engine, job_id, FAILURE)
    printed += [
        invoke(database, "retry", job_id, "--json").stdout,
        invoke(database, "cancel", job_id, job_id).stdout,
    ]

    assert printed[0] == f"{job_id} paused\n"
    assert json.loads(printed[1]) == {"job_id": str(job_id), "state": "pending"}
    assert json.loads(printed[2]) == {"job_id": str(job_id), "documents": 2}
    assert printed[3] == f"{job_id} cancelled\n" * 2


def test_commands_say_when_there_was_nothing_to_do(
    database: DatabaseUrls, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, who pauses a job that is over believes that it is paused."""
    job_id = add_job(producer_engine, 1)

    early = invoke(database, "retry", job_id)
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    ended = [
        invoke(database, command, job_id) for command in ("pause", "resume", "cancel", "retry")
    ]
    said = [one.stderr for one in ended]
    refused = invoke(database, "submit", "sentiment", "-", stdin="{").stdout.strip()
    hopeless = invoke(database, "retry", refused)

    assert early.stdout == f"{job_id} documents to run again: 0\n"
    assert early.stderr == f"job {job_id} is pending; only a completed job can be retried\n"
    assert said == [
        f"job {job_id} is completed; nothing to pause\n",
        f"job {job_id} is completed; nothing to resume\n",
        f"job {job_id} is completed; nothing to cancel\n",
        f"job {job_id} has no failures; nothing to retry\n",
    ]
    assert [one.exit_code for one in (*ended, early, hopeless)] == [2, 2, 2, 0, 0, 0]
    assert f"job {refused}: all its failures (1) would fail again" in hopeless.stderr


@pytest.mark.parametrize(("command", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_retry_of_a_job_that_was_stopped_is_refused(
    database: DatabaseUrls,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    command: str,
    state: str,
) -> None:
    """Without it, a script goes on as if the failures ran again."""
    failed = add_job(producer_engine, 1)
    work_off(producer_engine, worker_engine, failed, FAILURE)
    stopped = add_job(producer_engine, 1)
    invoke(database, command, stopped)

    alone = invoke(database, "retry", stopped)
    beside = invoke(database, "retry", stopped, failed)

    assert (alone.exit_code, beside.exit_code) == (2, 0)
    why = f"job {stopped} is {state}; only a completed job can be retried\n"
    assert alone.stderr == beside.stderr == why


def test_deadline_option_reaches_the_job(
    database: DatabaseUrls, producer_engine: sa.Engine
) -> None:
    """Without it a job would go on long after its results are of use."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    done = invoke(
        database,
        "submit",
        "sentiment",
        "-",
        "--deadline",
        tomorrow.isoformat(),
        stdin='{"text":"a"}',
    )
    wrong = invoke(database, "submit", "sentiment", "-", "--deadline", "soon", stdin="")
    past = invoke(database, "submit", "sentiment", "-", "--deadline", "2020-01-01", stdin="")

    with producer_engine.connect() as connection:
        assert connection.scalar(sa.text("select deadline_at from textmill.job")) == tomorrow
    assert done.exit_code == 0
    assert wrong.exit_code == 2
    assert "2026-01-31T06:00" in wrong.stderr
    assert past.exit_code == 2
    assert "name a later one" in past.stderr


@pytest.mark.parametrize("function", ["cancel", "pause", "resume", "retry"])
def test_only_producers_control_jobs(
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    reader_engine: sa.Engine,
    function: str,
) -> None:
    """Without it, whoever may read a job's status may stop it."""
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
