"""What of a job stays as it was handed over, once it is open, and while it opens."""

from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa

from producer import control
from producer.jobs import status
from producer.submit import submit
from schema.documents import Document, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.chunks import add_job
from tests.fixtures.invariants import broken
from tests.fixtures.outcomes import FAILURE, POSITIVE, work_off

if TYPE_CHECKING:
    from schema.outcomes import Failure, Result

LOADING_JOB = "insert into textmill.job (task, lane) values ('sentiment', 'bulk')"
DOCUMENT = (
    "insert into textmill.document (job_id, seq, text) select job_id, 1, 'x' from textmill.job"
)
ADDED_OR_CHANGED = [
    "insert into textmill.document (job_id, seq) select job_id, 2 from textmill.job",
    (
        "insert into textmill.failure (job_id, seq, code, stage, message, attempt)"
        " select job_id, 1, 'stage_error', 'run', '', 1 from textmill.job"
    ),
    "update textmill.document set text = 'forged'",
    "delete from textmill.document",
]


@pytest.fixture
def loading(producer_engine: sa.Engine) -> None:
    """A job of one document that is not open yet."""
    with producer_engine.begin() as connection:
        connection.exec_driver_sql(LOADING_JOB)
        connection.exec_driver_sql(DOCUMENT)


@pytest.mark.parametrize(
    "statement",
    [
        "update textmill.job set succeeded = 0, failed = 2",
        "update textmill.job set accepted = 3",
        "update textmill.job set task = 'moderation'",
        "update textmill.job set state = 'running', finished_at = null",
        "delete from textmill.job",
        "update textmill.document set text = 'forged'",
        "delete from textmill.document",
        "delete from textmill.failure",
        "insert into textmill.failure (job_id, seq, code, stage, message, attempt)"  # noqa: ISC004
        " select job_id, seq, 'stage_error', 'run', '', 1 from textmill.result",
        "update textmill.chunk set state = 'pending', dispatched_at = null",
    ],
)
def test_open_job_stays_as_it_was_handed_over(
    producer_engine: sa.Engine, worker_engine: sa.Engine, engine: sa.Engine, statement: str
) -> None:
    """Without it, one careless statement of a producer makes a job's counters wrong."""
    verdicts: dict[str, Result | Failure] = {"good": POSITIVE, "bad": FAILURE}
    job_id = submit(
        producer_engine,
        Task.SENTIMENT,
        [Document(text=text) for text in verdicts],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    work_off(producer_engine, worker_engine, job_id, lambda document: verdicts[str(document.text)])

    with (
        pytest.raises(sa.exc.ProgrammingError) as refused,
        producer_engine.begin() as connection,
    ):
        connection.exec_driver_sql(statement)

    assert isinstance(refused.value.orig, psycopg.errors.InsufficientPrivilege)
    assert broken(engine) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "insert into textmill.failure (job_id, seq, code, stage, message, attempt)"  # noqa: ISC004
        " select job_id, 1, 'stage_error', 'run', '', 1 from textmill.job",
        "insert into textmill.document (job_id, seq) select job_id, 9 from textmill.job",
        "insert into textmill.document (job_id, seq) values (textmill.new_job_id(), 1)",
        "insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens)"  # noqa: ISC004
        " select job_id, 9, 1, 2, 1 from textmill.job",
        "update textmill.chunk set state = 'cancelled'",
        "update textmill.job set submitted_by = 'thief'",
        "update textmill.job set idempotency_key = 'taken', content_hash = ''",
        'update textmill.job set options = \'{"model_version": "0"}\'',
        "update textmill.job set lane = 'interactive'",
        "update textmill.job set job_id = textmill.new_job_id()",
        "update textmill.job set state = 'running'",
        "update textmill.job set started_at = now()",
        "update textmill.job set loaded_at = now()",
        "update textmill.job set state = 'cancelling', expired = true",
    ],
)
def test_producer_changes_nothing_of_an_open_job(
    producer_engine: sa.Engine, worker_engine: sa.Engine, engine: sa.Engine, statement: str
) -> None:
    """Without it, a producer can forge outcomes of any job, which then never ends."""
    job_id = add_job(producer_engine, 2)
    control.pause(producer_engine, job_id)

    with (
        pytest.raises(sa.exc.ProgrammingError) as refused,
        producer_engine.begin() as connection,
    ):
        connection.exec_driver_sql(statement)

    assert isinstance(refused.value.orig, psycopg.errors.InsufficientPrivilege)
    control.resume(producer_engine, job_id)
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    assert status(producer_engine, job_id).state == "completed"
    assert broken(engine) == {}


@pytest.mark.usefixtures("loading")
@pytest.mark.parametrize("statement", ADDED_OR_CHANGED)
def test_who_adds_to_a_job_that_loads_holds_up_its_opening(
    producer_engine: sa.Engine, statement: str
) -> None:
    """Without it, rows that are not counted slip into a job as it opens, and it never ends."""
    with producer_engine.connect() as adding, producer_engine.connect() as opening:
        adding.exec_driver_sql(statement)
        opening.exec_driver_sql("set local lock_timeout = '200ms'")
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            opening.exec_driver_sql("select textmill.open_job(job_id, 1, 0) from textmill.job")


@pytest.mark.usefixtures("loading")
@pytest.mark.parametrize("statement", ADDED_OR_CHANGED)
def test_old_snapshot_adds_nothing_to_a_job_that_was_opened_since(
    producer_engine: sa.Engine, statement: str
) -> None:
    """Without it, a transaction that still sees the job loading changes it when it is open."""
    snapshots = producer_engine.execution_options(isolation_level="REPEATABLE READ")

    with snapshots.connect() as old:
        old.exec_driver_sql("select from textmill.job")
        with producer_engine.begin() as connection:
            connection.exec_driver_sql("select textmill.open_job(job_id, 1, 0) from textmill.job")
        with pytest.raises(sa.exc.OperationalError, match="could not serialize"):
            old.exec_driver_sql(statement)
