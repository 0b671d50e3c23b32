"""`textmill cancel`, `pause`, `resume` and `retry`."""

import json
from collections.abc import Callable
from typing import Final
from uuid import UUID

import click
import sqlalchemy as sa

from producer import control
from producer.client import Textmill
from schema.states import JobState

_jobs: Final = click.argument("jobs", nargs=-1, required=True, type=click.UUID, metavar="JOB…")
_as_json: Final = click.option("--json", "as_json", is_flag=True, help="A JSON object a job.")


@click.command()
@_jobs
@_as_json
def cancel(jobs: tuple[UUID, ...], *, as_json: bool) -> None:
    """Stop jobs: outcomes that are there stay, all other documents count as cancelled.

    \b
    Example:
      textmill cancel 0190f3c2-…
    """  # noqa: D301
    _each(jobs, control.cancel, as_json=as_json)


@click.command()
@_jobs
@_as_json
def pause(jobs: tuple[UUID, ...], *, as_json: bool) -> None:
    """Begin no further chunk of jobs; those in work are finished.

    \b
    Example:
      textmill pause 0190f3c2-…
    """  # noqa: D301
    _each(jobs, control.pause, as_json=as_json)


@click.command()
@_jobs
@_as_json
def resume(jobs: tuple[UUID, ...], *, as_json: bool) -> None:
    """Go on with paused jobs.

    \b
    Example:
      textmill resume 0190f3c2-…
    """  # noqa: D301
    _each(jobs, control.resume, as_json=as_json)


@click.command()
@_jobs
@_as_json
def retry(jobs: tuple[UUID, ...], *, as_json: bool) -> None:
    """Run the failed documents of completed jobs again.

    Documents that were refused at intake, or held nothing to analyse, stay as they are.

    \b
    Example:
      textmill retry 0190f3c2-… && textmill status 0190f3c2-… --watch
    """  # noqa: D301
    with Textmill() as textmill:
        for job_id in jobs:
            documents = textmill.retry(job_id)
            if as_json:
                click.echo(json.dumps({"job_id": str(job_id), "documents": documents}))
            else:
                click.echo(f"{job_id} {documents} documents")


def _each(
    jobs: tuple[UUID, ...], do: Callable[[sa.Engine, UUID], JobState], *, as_json: bool
) -> None:
    with Textmill() as textmill:
        for job_id in jobs:
            state = do(textmill.engine, job_id)
            if as_json:
                click.echo(json.dumps({"job_id": str(job_id), "state": state}))
            else:
                click.echo(f"{job_id} {state}")
