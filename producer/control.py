"""Cancel, pause, resume and retry jobs. All may be said again, and do nothing then."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from producer.jobs import job_not_found
from producer.outcomes import documents_gone
from schema.database import reachable
from schema.documents import JobId
from schema.states import JobState


def cancel(engine: sa.Engine, job_id: JobId) -> JobState:
    """Stop a job: outcomes that are there stay, all other documents count as cancelled.

    Returns:
        Its state: `cancelling` while a chunk of it is being written, which dispatch closes next;
        or that of a job which was over before.

    Raises:
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer.
    """
    _call(engine, "cancel", job_id)
    close_chunks(engine, job_id)
    return JobState(_call(engine, "job_state", job_id))


def pause(engine: sa.Engine, job_id: JobId) -> JobState:
    """Begin no further chunk of a job; those in work are finished. Returns its state.

    Raises:
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer.
    """
    return JobState(_call(engine, "pause", job_id))


def resume(engine: sa.Engine, job_id: JobId) -> JobState:
    """Go on with a paused job. Returns its state.

    Raises:
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer.
    """
    return JobState(_call(engine, "resume", job_id))


def retry(engine: sa.Engine, job_id: JobId) -> int:
    """Run the failed documents of a completed job again.

    Those that were refused at intake or erased, or held nothing to analyse, would fail again and
    stay.

    Returns:
        The number of documents; 0 where there are none, or the job is not completed.

    Raises:
        DocumentsGoneError: a part of the job's month was dropped or detached.
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer.
    """
    return int(_call(engine, "retry", job_id))


def close_chunks(engine: sa.Engine, job_id: JobId) -> None:
    """Close the chunks of a job that is being ended, in short transactions.

    Locked ones are left to dispatch; a job that is not being ended is left alone.
    """
    closed = 1
    while closed:
        with reachable(engine), engine.begin() as connection:
            closed = close_batch(connection, job_id)


def close_batch(connection: sa.Connection, job_id: JobId) -> int:
    """Close as many chunks of a job that is being ended as a short transaction may.

    Returns:
        How many; 0 when none is left but those that are locked.
    """
    return int(
        connection.scalar(sa.text("select textmill.close_chunks(:job_id)"), {"job_id": job_id}) or 0
    )


def _call(engine: sa.Engine, function: str, job_id: JobId) -> str:
    with _known(job_id), reachable(engine), engine.begin() as connection:
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
