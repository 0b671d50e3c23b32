"""Documents with a repeated id: rejected when the job opens, after its chunks were cut."""

import sqlalchemy as sa

from producer.jobs import status
from producer.submit import Submission
from schema.documents import Document, JobId
from tests.fixtures.chunks import chunk_store, chunks, mark
from tests.fixtures.invariants import broken
from tests.fixtures.mill import Mill
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.submits import REJECTED, documents, hand_over, jobs


def ranges(engine: sa.Engine) -> list[tuple[int, int]]:
    """The chunks, by the positions of their first and last documents."""
    return [(chunk.first_seq, chunk.last_seq) for chunk in chunks(engine)]


def counts(engine: sa.Engine, job_id: JobId) -> tuple[object, ...]:
    seen = status(engine, job_id)
    return seen.state, seen.succeeded, seen.failed, seen.rejected


def test_job_of_a_file_that_was_given_twice_ends_with_its_last_document(
    producer_engine: sa.Engine, worker_engine: sa.Engine, engine: sa.Engine
) -> None:
    """Without it, chunks of duplicates stay open in a completed job, or cannot be stored."""
    submission = hand_over(producer_engine, documents(8) * 2)
    store = chunk_store(worker_engine)

    claims = [store.claim(message, alone=False) for message in mark(producer_engine)]
    for claim in claims:
        assert claim is not None
        store.store(claim, [(seq, POSITIVE) for seq, _ in store.load(claim)])

    assert ranges(producer_engine) == [(1, 4), (5, 8)]
    assert submission == Submission(submission.job_id, accepted=16, rejected=8)
    assert counts(producer_engine, submission.job_id) == ("completed", 8, 8, 8)
    assert broken(engine) == {}


def test_chunk_of_duplicates_and_rejected_records_is_none(
    producer_engine: sa.Engine, worker_engine: sa.Engine, engine: sa.Engine
) -> None:
    """Without it, a broken line between duplicates keeps their chunk, and so the job, open."""
    records = [*documents(4), *documents(2), REJECTED, *documents(2)]

    job_id = hand_over(producer_engine, records).job_id

    assert ranges(producer_engine) == [(1, 4)]
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    assert counts(producer_engine, job_id) == ("completed", 4, 5, 5)
    assert broken(engine) == {}


def test_chunk_with_duplicates_keeps_its_other_documents(
    producer_engine: sa.Engine, worker_engine: sa.Engine, engine: sa.Engine
) -> None:
    """Without it, documents between duplicates are never run, and their job never ends."""
    last = Document(external_id="last", text="of its chunk")

    job_id = hand_over(producer_engine, [*documents(4), *documents(3), last]).job_id

    assert ranges(producer_engine) == [(1, 4), (5, 8)]
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    assert counts(producer_engine, job_id) == ("completed", 5, 3, 3)
    assert broken(engine) == {}


def test_other_jobs_keep_their_chunks(producer_engine: sa.Engine, engine: sa.Engine) -> None:
    """Without it, a file that was given twice removes chunks of other jobs."""
    hand_over(producer_engine, documents(8))

    hand_over(producer_engine, documents(4) * 2)

    assert ranges(producer_engine) == [(1, 4), (5, 8), (1, 4)]
    assert broken(engine) == {}


def test_job_that_is_open_is_not_opened_again(
    producer_engine: sa.Engine, engine: sa.Engine
) -> None:
    """Without it, a producer resets a job's counters and removes chunks with erased texts."""
    hand_over(producer_engine, documents(4))
    with engine.begin() as connection:
        connection.execute(sa.text("update textmill.document set text = null"))
    before = (jobs(producer_engine), chunks(producer_engine))

    with producer_engine.begin() as connection:
        connection.execute(sa.text("select textmill.open_job(job_id, 0, 0) from textmill.job"))

    assert (jobs(producer_engine), chunks(producer_engine)) == before


def test_file_that_was_given_twice_is_worked_off(mill: Mill) -> None:
    """Without it, each part may keep a rule that dispatch and workers together break."""
    job_id = hand_over(mill.engine, documents(20) * 3).job_id

    mill.dispatch()
    mill.workers()

    mill.finished(job_id)
    assert counts(mill.engine, job_id) == ("completed", 20, 40, 40)
