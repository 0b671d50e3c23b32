"""How arguments of commands name a job."""

import re
from typing import Final
from uuid import UUID

import click
import sqlalchemy as sa

from producer import jobs
from schema.documents import JobId

_BEGINNING: Final = re.compile(r"[0-9a-f]{8,31}")


def job_argument(value: str) -> JobId | str:
    """The type of an argument that names a job: its id, or the digits that the id begins with.

    `resolved` turns either into an id.
    """
    try:
        return JobId(UUID(value))
    except ValueError:
        digits = value.replace("-", "").lower()
    if not _BEGINNING.fullmatch(digits):
        msg = f"{value!r} is neither a job id nor its first 8 or more characters"
        raise click.BadParameter(msg)
    return digits


def resolved(engine: sa.Engine, job: JobId | str) -> JobId:
    """The id of the job that such an argument names.

    Raises:
        UsageError: no job's id begins with these digits, or several do.
    """
    return jobs.beginning_with(engine, job) if isinstance(job, str) else job
