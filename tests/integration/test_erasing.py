"""Erasing a text at any moment of its job."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from producer import control
from producer.feedback import add, export, parse
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.errors import InputError, LeaseLostError
from schema.settings import IntakeSettings
from tests.fixtures.chunks import add_job, chunk_store, chunks, claim_one
from tests.fixtures.invariants import broken, outcomes
from tests.fixtures.outcomes import FAILURE, POSITIVE, RESULTS, work_off
from tests.fixtures.waiting import until_blocked
from worker.chunks import ChunkStore


@pytest.fixture
def store(worker_engine: sa.Engine) -> ChunkStore:
    return chunk_store(worker_engine)


def erase(engine: sa.Engine, job_id: JobId, external_id: str = "1") -> int:
    """Erase a document as an operator."""
    with engine.begin() as connection:
        connection.exec_driver_sql("set local role textmill_operator")
        erased = connection.execute(
            sa.text("select textmill.erase_document(:job_id, :external_id)"),
            {"job_id": job_id, "external_id": external_id},
        )
        return int(erased.scalar_one())


def one_of(producer: sa.Engine, worker: sa.Engine, task: Task) -> JobId:
    """A finished job of one document with metadata, which was judged."""
    document = Document(external_id="1", text="green tea, a pot", metadata={"shop": "secret"})
    job_id = submit(
        *(producer, task, [document], JobOptions()), submitter="tester", limits=IntakeSettings()
    ).job_id
    work_off(producer, worker, job_id, RESULTS[task])
    agreed = {"job_id": job_id, "external_id": "1", "verdict": "agree", "comment": "green tea"}
    add(producer, parse(agreed))
    return job_id


@pytest.mark.parametrize("task", Task)
def test_nothing_of_an_erased_text_is_left(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine, task: Task
) -> None:
    """Without it, a text that a person asked to have erased survives in a copy."""
    job_id = one_of(producer_engine, worker_engine, task)

    assert (erase(engine, job_id), erase(engine, job_id)) == (1, 0)

    with engine.connect() as connection:
        left = [
            str(connection.execute(sa.text(f"select * from textmill.{table}")).all())
            for table in ("document", "result", "failure", "feedback")
        ]
    assert "green tea" not in str(left)
    assert "secret" not in str(left)
    assert list(export(producer_engine, task)) == []
    assert broken(engine) == {}


def test_attempt_that_has_read_the_text_stores_nothing(
    engine: sa.Engine, producer_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, a result quotes a text after it was erased."""
    job_id = add_job(producer_engine, 2)
    claim = claim_one(producer_engine, store)
    texts = store.load(claim)

    erase(engine, job_id)

    with pytest.raises(LeaseLostError):
        store.store(claim, [(seq, POSITIVE) for seq, _ in texts])
    assert [(c.state, c.suspect, c.errors) for c in chunks(engine)] == [("pending", False, 0)]
    again = store.load(claim_one(producer_engine, store))
    assert [text for _, text in again] == [None, "text 2"]


def test_erased_document_is_not_retried(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a retry runs a document that has no text."""
    job_id = add_job(producer_engine, 2)
    work_off(producer_engine, worker_engine, job_id, FAILURE)
    erase(engine, job_id)

    assert control.retry(producer_engine, job_id) == 1

    assert outcomes(engine, job_id) == {1: "stage_error", 2: "pending"}


def test_feedback_is_erased_when_the_month_of_its_document_is_gone(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, the copy for training outlives both the text and the request to erase it."""
    job_id = one_of(producer_engine, worker_engine, Task.SENTIMENT)
    with engine.begin() as connection:
        connection.exec_driver_sql("truncate textmill.document, textmill.result")

    assert erase(engine, job_id) == 0

    assert list(export(producer_engine, Task.SENTIMENT)) == []


def test_keywords_are_erased_when_the_documents_alone_are_gone(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, the results of a half-dropped month quote a text that was to be erased."""
    judged, silent = (one_of(producer_engine, worker_engine, Task.KEYWORDS) for _ in range(2))
    with engine.begin() as connection:
        connection.exec_driver_sql("truncate textmill.document")
        connection.execute(
            sa.text("delete from textmill.feedback where job_id = :job_id"), {"job_id": silent}
        )
    held = sa.text(
        "select count(*) from textmill.result where payload -> 'keywords' <> '[]'"
        " and job_id = :job_id"
    )

    assert erase(engine, judged) == 0
    with pytest.raises(sa.exc.DBAPIError, match=r'gone, but not its keywords.* of "1"') as raised:
        erase(engine, silent)

    with engine.connect() as connection:
        assert connection.scalar(held, {"job_id": judged}) == 0
        assert connection.scalar(held, {"job_id": silent}) == 1
    diagnosis = getattr(raised.value.orig, "diag", None)
    assert str(diagnosis and diagnosis.message_hint) == "Drop the results of its month too."


def test_verdict_that_is_being_given_is_erased_too(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a copy of the text is committed just after the text was erased."""
    job_id = one_of(producer_engine, worker_engine, Task.SENTIMENT)

    with ThreadPoolExecutor(1) as pool:
        with producer_engine.begin() as judging:
            judging.execute(
                sa.text("select textmill.add_feedback(:job_id, '1', 'agree', annotator => 'kim')"),
                {"job_id": job_id},
            )
            erasing = pool.submit(erase, engine, job_id)
            until_blocked(engine, erasing)
        erasing.result()

    assert list(export(producer_engine, Task.SENTIMENT)) == []


def test_open_verdict_holds_no_chunk_for_long(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, an annotator's forgotten prompt blocks the erasing, and so the whole job."""
    job_id = one_of(producer_engine, worker_engine, Task.SENTIMENT)

    with producer_engine.connect() as judging:
        judging.execute(
            sa.text("select textmill.add_feedback(:job_id, '1', 'agree', annotator => 'kim')"),
            {"job_id": job_id},
        )
        limit = judging.scalar(sa.text("show idle_in_transaction_session_timeout"))
        with pytest.raises(sa.exc.OperationalError, match='holds document "1"') as raised:
            erase(engine, job_id)

    assert limit == "1min"
    assert isinstance(raised.value.orig, psycopg.errors.LockNotAvailable)
    assert erase(engine, job_id) == 1


def test_erased_document_is_not_judged(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, anyone who judges it gets an error about an internal column."""
    job_id = one_of(producer_engine, worker_engine, Task.SENTIMENT)
    erase(engine, job_id)

    with pytest.raises(InputError, match=r'text of document "1" .* was erased; judge others'):
        add(producer_engine, parse({"job_id": job_id, "external_id": "1", "verdict": "agree"}))


def test_unknown_document_is_named(engine: sa.Engine, producer_engine: sa.Engine) -> None:
    """Without it, a mistyped id looks like a text that is gone."""
    job_id = add_job(producer_engine, 1)

    with pytest.raises(sa.exc.DBAPIError, match='no document "7"') as raised:
        erase(engine, job_id, "7")

    assert isinstance(raised.value.orig, psycopg.errors.NoDataFound)


def test_half_that_is_cut_at_that_moment_is_held(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, a worker reads the text from a chunk that the erasing never saw."""
    job_id = add_job(producer_engine, 2)
    claim = claim_one(producer_engine, store)

    with ThreadPoolExecutor(1) as pool, engine.connect() as connection:
        with worker_engine.begin() as halving:
            halving.execute(
                sa.text("select textmill.end_attempt(:job_id, :chunk_no, :attempt, 'given_up')"),
                claim.fence._asdict(),
            )
            held = pool.submit(
                connection.execute,
                sa.text("select textmill.end_reader(:job_id, 1)"),
                {"job_id": job_id},
            )
            until_blocked(engine, held)
        held.result()
        with engine.begin() as other:
            free = other.scalars(
                sa.text("select chunk_no from textmill.chunk order by 1 for update skip locked")
            ).all()

    assert free == [2]
