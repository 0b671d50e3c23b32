"""The chunk protocol of a worker: claim, load, renew, store, fail."""

import pytest
import sqlalchemy as sa

from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Rejected, Task
from schema.errors import LeaseLostError
from schema.messages import ChunkMessage
from schema.outcomes import RESULT, ErrorCode, Keyword, KeywordsResult, Result
from schema.settings import IntakeSettings
from tests.fixtures.chunks import chunk_store, end_attempt, held_chunks
from tests.fixtures.outcomes import FAILURE, POSITIVE, SPAM, TEA

QUOTED = KeywordsResult(
    language="mixed",
    model_version="test",
    keywords=[Keyword(text="{\"a\\b', NULL}\n绿茶", score=0.5, spans=[(0, 16)])],
)


@pytest.fixture
def job_id(producer_engine: sa.Engine) -> JobId:
    """A job of three good documents and a rejected one, its only chunk dispatched."""
    job_id = submit(
        producer_engine,
        Task.SENTIMENT,
        [
            Document(text="one"),
            Rejected(code=ErrorCode.EMPTY_TEXT, message="empty"),
            Document(text="two"),
            Document(text="three"),
        ],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    dispatch(producer_engine)
    return job_id


def dispatch(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "update textmill.chunk set state = 'dispatched', dispatched_at = now()"
                " where state = 'pending'"
            )
        )


def expire_and_rescue(producer: sa.Engine, worker: sa.Engine) -> None:
    with worker.begin() as connection:
        connection.execute(
            sa.text(
                "update textmill.chunk set state = 'pending', lease_expires_at = null"
                " where state = 'running'"
            )
        )
    dispatch(producer)


def message(job_id: JobId) -> ChunkMessage:
    return ChunkMessage(job_id=job_id, chunk_no=0, task=Task.SENTIMENT)


def job(engine: sa.Engine) -> sa.Row[tuple[object, ...]]:
    with engine.connect() as connection:
        return connection.execute(sa.text("select * from textmill.job_status")).one()


def test_chunk_is_claimed_once(worker_engine: sa.Engine, job_id: JobId) -> None:
    """Without it, a message delivered twice runs the chunk twice."""
    chunks = chunk_store(worker_engine)

    first = chunks.claim(message(job_id), alone=False)
    second = chunks.claim(message(job_id), alone=False)

    assert first is not None
    assert first.attempt == 1
    assert second is None
    assert job(worker_engine).state == "running"


def test_work_is_what_has_no_outcome(worker_engine: sa.Engine, job_id: JobId) -> None:
    """Without it, a rejected document is processed, or one gets two outcomes."""
    chunks = chunk_store(worker_engine)
    claim = chunks.claim(message(job_id), alone=False)
    assert claim is not None

    assert [document.seq for document in chunks.load(claim)] == [1, 3, 4]


def test_outcomes_and_counters_agree(worker_engine: sa.Engine, job_id: JobId) -> None:
    """Without it, the status people see is not what the tables hold."""
    chunks = chunk_store(worker_engine)
    claim = chunks.claim(message(job_id), alone=False)
    assert claim is not None

    chunks.store(claim, [(1, POSITIVE), (3, FAILURE), (4, POSITIVE)])

    seen = job(worker_engine)
    assert (seen.state, seen.accepted, seen.succeeded, seen.failed) == ("completed", 4, 2, 2)
    with worker_engine.connect() as connection:
        statuses = connection.scalars(
            sa.text("select status from textmill.document_status order by seq")
        ).all()
    assert statuses == ["succeeded", "failed", "failed", "succeeded"]


@pytest.mark.parametrize(
    "results",
    [
        [(1, POSITIVE, "positive", 0.75), (3, QUOTED, None, None), (4, SPAM, "spam", 0.875)],
        [(1, QUOTED, None, None), (3, TEA, None, None), (4, TEA, None, None)],
    ],
    ids=["of each kind", "without a label"],
)
def test_results_are_stored_as_they_were_made(
    worker_engine: sa.Engine,
    job_id: JobId,
    results: list[tuple[int, Result, str | None, float | None]],
) -> None:
    """Without it, what people read is not what the model said."""
    chunks = chunk_store(worker_engine)
    claim = chunks.claim(message(job_id), alone=False)
    assert claim is not None

    chunks.store(claim, [(seq, result) for seq, result, *_ in results])

    with worker_engine.connect() as connection:
        rows = connection.execute(
            sa.text("select seq, payload, label, score from textmill.result order by seq")
        ).all()
    assert [(seq, RESULT.validate_python(payload), *rest) for seq, payload, *rest in rows] == (
        results
    )


def test_late_attempt_writes_nothing(
    producer_engine: sa.Engine, worker_engine: sa.Engine, job_id: JobId
) -> None:
    """Without it, a process that was given up for dead overwrites its successor's outcomes."""
    zombie = chunk_store(worker_engine, "zombie")
    successor = chunk_store(worker_engine, "successor")
    late = zombie.claim(message(job_id), alone=False)
    expire_and_rescue(producer_engine, worker_engine)
    claim = successor.claim(message(job_id), alone=False)
    assert late is not None
    assert claim is not None
    assert claim.attempt == 2

    with pytest.raises(LeaseLostError):
        zombie.store(late, [(1, FAILURE), (3, FAILURE), (4, FAILURE)])
    assert end_attempt(worker_engine, late, "released") is None
    assert zombie.fail(late, ValueError()) is None
    held_chunks(worker_engine, "zombie").renew([late])
    successor.store(claim, [(1, POSITIVE), (3, POSITIVE), (4, POSITIVE)])

    seen = job(worker_engine)
    assert (seen.succeeded, seen.failed) == (3, 1)


def test_second_store_of_an_attempt_writes_nothing(worker_engine: sa.Engine, job_id: JobId) -> None:
    """Without it, a retried transaction counts its documents twice."""
    chunks = chunk_store(worker_engine)
    claim = chunks.claim(message(job_id), alone=False)
    assert claim is not None
    outcomes = [(1, POSITIVE), (3, POSITIVE), (4, POSITIVE)]
    chunks.store(claim, outcomes)

    with pytest.raises(LeaseLostError):
        chunks.store(claim, outcomes)

    assert job(worker_engine).succeeded == 3


def test_chunk_of_a_paused_job_is_not_claimed(
    producer_engine: sa.Engine, worker_engine: sa.Engine, job_id: JobId
) -> None:
    """Without it, a pause does not hold chunks whose messages are already in Redis."""
    with producer_engine.begin() as connection:
        connection.execute(sa.text("update textmill.job set state = 'paused'"))

    assert chunk_store(worker_engine).claim(message(job_id), alone=False) is None


@pytest.mark.parametrize("state", ["dispatched", "running"])
def test_clock_that_is_set_back_costs_no_chunk(
    engine: sa.Engine, worker_engine: sa.Engine, job_id: JobId, state: str
) -> None:
    """Without it, a failover to a server whose clock is behind loses chunks that are under way."""
    store = chunk_store(worker_engine, "w-1")
    claim = store.claim(message(job_id), alone=False) if state == "running" else None
    with engine.begin() as connection:
        connection.exec_driver_sql("set local session_replication_role = replica")
        connection.exec_driver_sql(
            "update textmill.chunk set dispatched_at = dispatched_at + interval '10 minutes'"
        )

    claim = claim or store.claim(message(job_id), alone=False)

    assert claim is not None
    store.store(claim, [(document.seq, POSITIVE) for document in store.load(claim)])
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select state from textmill.job")) == "completed"
