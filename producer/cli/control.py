"""`textmill cancel`, `pause`, `resume` and `retry`."""

import json
import sys
from collections.abc import Callable, Container
from typing import Final

import click
import sqlalchemy as sa

from producer import control
from producer.cli.connected import connected
from producer.cli.job_ids import job_argument, resolved
from producer.cli.options import json_lines_option
from producer.cli.show import say
from producer.client import Textmill
from producer.jobs import JobStatus
from schema.documents import JobId
from schema.errors import DocumentsGoneError
from schema.exit_codes import EXIT_USAGE
from schema.states import RUNNABLE_JOB_STATES, TERMINAL_JOB_STATES, JobState

_jobs: Final = click.argument("jobs", nargs=-1, required=True, type=job_argument, metavar="JOB…")
_CLOSED: Final = (JobState.CANCELLING, JobState.CANCELLED)
_RETRIED: Final = (*RUNNABLE_JOB_STATES, *TERMINAL_JOB_STATES)
"""States in which a retry that finds nothing counts as a repeated one, not as refused."""


@click.command()
@_jobs
@json_lines_option
def cancel(jobs: tuple[JobId | str, ...], *, as_json: bool) -> None:
    """Stop jobs, keeping what is done.

    Existing outcomes stay; all other documents count as cancelled.

    \b
    Example:
      textmill cancel 0190f3c2-…
    """
    _each(jobs, control.cancel, _CLOSED, as_json=as_json)


@click.command()
@_jobs
@json_lines_option
def pause(jobs: tuple[JobId | str, ...], *, as_json: bool) -> None:
    """Start no further chunks of jobs; running chunks are finished.

    \b
    Example:
      textmill pause 0190f3c2-…
    """
    _each(jobs, control.pause, (JobState.PAUSED,), as_json=as_json)


@click.command()
@_jobs
@json_lines_option
def resume(jobs: tuple[JobId | str, ...], *, as_json: bool) -> None:
    """Continue paused jobs.

    \b
    Example:
      textmill resume 0190f3c2-…
    """
    _each(jobs, control.resume, RUNNABLE_JOB_STATES, as_json=as_json)


@click.command()
@_jobs
@json_lines_option
def retry(jobs: tuple[JobId | str, ...], *, as_json: bool) -> None:
    """Run again what failed or was cancelled.

    The jobs must be over; each continues as the same job. Documents that were rejected at intake,
    were erased or held nothing to analyse stay failed.

    \b
    Example:
      textmill retry 0190f3c2-… && textmill status 0190f3c2-… --watch
    """
    refused = 0
    with connected() as textmill:
        for job_id in [resolved(textmill.engine, job) for job in jobs]:
            documents, why = _retried(textmill, job_id)
            if as_json:
                click.echo(json.dumps({"job_id": str(job_id), "documents": documents}))
            else:
                click.echo(f"{job_id} documents to run again: {documents:,}")
            if documents:
                continue
            if why:
                say(why)
                refused += 1
            else:
                found = textmill.status(job_id)
                say(_why_nothing(found))
                refused += found.state not in _RETRIED
    _end_if_all_refused(refused, jobs)


def _retried(textmill: Textmill, job_id: JobId) -> tuple[int, str | None]:
    """How many documents run again, and why there are none if the job's documents are gone."""
    try:
        return textmill.retry(job_id), None
    except DocumentsGoneError as error:
        return 0, str(error)


def _each(
    jobs: tuple[JobId | str, ...],
    do: Callable[[sa.Engine, JobId], JobState],
    wanted: Container[JobState],
    *,
    as_json: bool,
) -> None:
    """Apply `do` to each job, and say so if a job's state does not allow it."""
    refused = 0
    with connected() as textmill:
        for job_id in [resolved(textmill.engine, job) for job in jobs]:
            state = do(textmill.engine, job_id)
            if as_json:
                click.echo(json.dumps({"job_id": str(job_id), "state": state}))
            else:
                click.echo(f"{job_id} {state}")
            if state not in wanted:
                say(f"job {job_id} is {state}; nothing to {do.__name__}")
                refused += 1
    _end_if_all_refused(refused, jobs)


def _end_if_all_refused(refused: int, jobs: tuple[JobId | str, ...]) -> None:
    if refused == len(jobs):
        sys.exit(EXIT_USAGE)


def _why_nothing(job: JobStatus) -> str:
    if job.state is JobState.PAUSED:
        return f"job {job.job_id} is paused; continue it with: textmill resume {job.job_id}"
    if not job.finished:
        return f"job {job.job_id} is {job.state}; only a job that is over can be retried"
    if not job.failed:
        return f"job {job.job_id} has no failures; nothing to retry"
    return (
        f"job {job.job_id}: all its failures ({job.failed:,}) would fail again, rejected at intake,"
        " erased or without content; submit corrected documents as a job of their own"
    )
