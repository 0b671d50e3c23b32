"""How commands are told which job is meant."""

import re
from typing import Final
from uuid import UUID

import click
import sqlalchemy as sa

from producer import jobs
from schema.documents import JobId

_BEGINNING: Final = re.compile(r"[0-9a-f]{8,31}")


def job_argument(value: str) -> JobId | str:
    """The type of an argument that names a job: its id, or the digits it begins with.

    `resolved` makes an id of either.
    """
    try:
        return JobId(UUID(value))
    except ValueError:
        digits = value.replace("-", "").lower()
    if not _BEGINNING.fullmatch(digits):
        msg = f"{value!r} is no job's id, nor its first 8 characters or more"
        raise click.BadParameter(msg)
    return digits


def resolved(engine: sa.Engine, job: JobId | str) -> JobId:
    """The id of the job that such an argument names.

    Raises:
        UsageError: no job's id begins so, or that of several.
    """
    return jobs.beginning_with(engine, job) if isinstance(job, str) else job
