"""Cancel, pause, resume and retry jobs. Each may be repeated and then does nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from producer.jobs import job_not_found
from producer.outcomes import are_gone, documents_gone
from schema.database import reachable, unblocked
from schema.documents import JobId
from schema.states import JobState

LOCK_TIMEOUT = "10s"
"""How long each call waits for a session that holds the job, perhaps at an open prompt."""


def cancel(engine: sa.Engine, job_id: JobId) -> JobState:
    """Stop a job: existing outcomes stay, all other documents count as cancelled.

    Returns:
        The job's state: `cancelled`, or `cancelling` while a chunk of it is still being written,
        which dispatch closes next. A job that was over before keeps its state.

    Raises:
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer, or another session holds the job.
    """
    _call(engine, "cancel", job_id)
    close_chunks(engine, job_id)
    return JobState(_call(engine, "job_state", job_id))


def pause(engine: sa.Engine, job_id: JobId) -> JobState:
    """Start no further chunks of a job; running ones are finished. Returns its state.

    Raises:
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer, or another session holds the job.
    """
    return JobState(_call(engine, "pause", job_id))


def resume(engine: sa.Engine, job_id: JobId) -> JobState:
    """Continue a paused job. Returns its state.

    Raises:
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer, or another session holds the job.
    """
    return JobState(_call(engine, "resume", job_id))


def retry(engine: sa.Engine, job_id: JobId) -> int:
    """Run the failed documents of a job that is over again, and those that were cancelled.

    Documents that were rejected at intake, were erased, or held nothing to analyse would fail
    again, and stay failed.

    Returns:
        The number of documents; 0 if there are none, or if the job is not over.

    Raises:
        DocumentsGoneError: the job's month was pruned, or a part of it dropped.
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer, or another session holds the job.
    """
    documents = int(_call(engine, "retry", job_id))
    if documents == 0 and are_gone(engine, job_id):
        raise documents_gone(job_id)
    return documents


def close_chunks(engine: sa.Engine, job_id: JobId) -> None:
    """Close the chunks of a job that is being ended, in short transactions.

    Locked chunks are left to dispatch; a job that is not being ended is left alone.
    """
    closed = 1
    while closed:
        with reachable(engine), engine.begin() as connection:
            closed = close_batch(connection, job_id)


def close_batch(connection: sa.Connection, job_id: JobId) -> int:
    """Close as many chunks of a job that is being ended as fit into a short transaction.

    Returns:
        How many; 0 if none are left except locked ones.
    """
    return int(
        connection.scalar(sa.text("select textmill.close_chunks(:job_id)"), {"job_id": job_id}) or 0
    )


def _call(engine: sa.Engine, function: str, job_id: JobId) -> str:
    waiting = unblocked(engine, lock_timeout=LOCK_TIMEOUT)
    with _known(job_id), reachable(engine), waiting as connection:
        return str(
            connection.scalar(
                sa.text(f"select textmill.{function}(:job_id)"),
                {"job_id": job_id},
            )
        )


@contextmanager
def _known(job_id: JobId) -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.NoDataFound):
            raise job_not_found(job_id) from error
        if isinstance(error.orig, psycopg.errors.DataException):
            raise documents_gone(job_id) from error
        raise
