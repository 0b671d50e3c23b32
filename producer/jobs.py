"""The status of jobs, and waiting for one to finish."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from schema.base import Frozen
from schema.database import reachable
from schema.documents import JobId, Lane, Task
from schema.errors import JobNotFoundError, UsageError
from schema.states import TERMINAL_JOB_STATES, JobState

POLL_INTERVAL = 0.5
"""Seconds between checks of a job that is under way."""

FIRST_PAUSE = 0.02
"""Seconds between the first two of `statuses`. Each pause is half as long again as the one before,
up to `POLL_INTERVAL`: the end of a short job is seen at once; a long job costs Postgres little."""


class JobStatus(Frozen):
    """A row of the view `textmill.job_status`."""

    job_id: JobId
    task: Task
    name: str | None
    lane: Lane
    state: JobState
    accepted: int
    succeeded: int
    failed: int
    cancelled: int
    pending: int
    rejected: int
    percent: float
    submitted_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    documents_per_second: float | None
    eta: datetime | None
    age: timedelta
    deadline_at: datetime | None
    weight: int
    idempotency_key: str | None
    explain: bool
    generate: bool
    model_version: str | None

    @property
    def finished(self) -> bool:
        """Whether every document has its outcome."""
        return self.state in TERMINAL_JOB_STATES


_COLUMNS = ", ".join(JobStatus.model_fields)


def status(engine: sa.Engine, job_id: JobId) -> JobStatus:
    """The status of one job.

    Raises:
        JobNotFoundError: there is no such job, or it is still loading.
        ServiceUnavailableError: Postgres does not answer.
    """
    found = _found(engine, "job_id = :job_id", {"job_id": job_id, "limit": 1})
    if not found:
        raise job_not_found(job_id)
    return found[0]


def job_not_found(job_id: JobId) -> JobNotFoundError:
    """The error for an id that no job has."""
    return JobNotFoundError(f"there is no job {job_id}; `textmill status` lists the latest")


def beginning_with(engine: sa.Engine, digits: str) -> JobId:
    """The job whose id begins with these hexadecimal digits.

    Raises:
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer.
        UsageError: there are several such jobs.
    """
    lowest, highest = (UUID(digits.ljust(32, filler)) for filler in "0f")
    with reachable(engine), engine.connect() as connection:
        matches: Sequence[UUID] = connection.scalars(
            sa.text(
                "select job_id from textmill.job_status"
                " where job_id between :lowest and :highest order by job_id desc limit 2"
            ),
            {"lowest": lowest, "highest": highest},
        ).all()
    if not matches:
        msg = f"there is no job whose id begins with {digits}; `textmill status` lists the latest"
        raise JobNotFoundError(msg)
    if len(matches) > 1:
        examples = f"{matches[0]} and {matches[1]}"
        msg = f"several jobs' ids begin with {digits}, such as {examples}; type more"
        raise UsageError(msg)
    return JobId(matches[0])


def latest(
    engine: sa.Engine,
    limit: int,
    *,
    task: Task | None = None,
    state: JobState | None = None,
    name: str | None = None,
) -> list[JobStatus]:
    """The latest jobs, newest first.

    Args:
        engine: the database.
        limit: most jobs.
        task: only jobs of this task; None: of any.
        state: only jobs in this state; None: in any.
        name: only jobs of this name; None: of any.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    wanted = {"task": task, "state": state, "name": name}
    filters = {column: value for column, value in wanted.items() if value is not None}
    where = " and ".join(["true", *(f"{column} = :{column}" for column in filters)])
    return _found(engine, where, {**filters, "limit": limit})


def together(engine: sa.Engine, job_ids: Sequence[JobId]) -> list[JobStatus]:
    """The status of several jobs, newest first; those that do not exist are left out.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    return _found(engine, "job_id = any(:job_ids)", {"job_ids": job_ids, "limit": len(job_ids)})


def _found(engine: sa.Engine, where: str, parameters: Mapping[str, object]) -> list[JobStatus]:
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                f"select {_COLUMNS} from textmill.job_status where {where}"  # noqa: S608
                " order by job_id desc limit :limit"
            ),
            parameters,
        )
        return [JobStatus.model_validate(row._asdict()) for row in rows]


def statuses(engine: sa.Engine, job_id: JobId, timeout: float | None = None) -> Iterator[JobStatus]:
    """The status of a job again and again, until it is finished; that status is the last one.

    Args:
        engine: database of the job.
        job_id: the job.
        timeout: seconds to wait at most.

    Raises:
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer.
        TimeoutError: the job did not finish in time; it continues.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        seen = status(engine, job_id)
        yield seen
        if seen.finished:
            return
        if deadline is not None and time.monotonic() >= deadline:
            msg = f"job {job_id} has {seen.pending} documents to go after {timeout:g} s"
            raise TimeoutError(msg)
        time.sleep(pause)
        pause = min(pause * 1.5, POLL_INTERVAL)
