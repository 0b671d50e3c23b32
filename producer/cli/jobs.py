"""`textmill status` and `textmill results`."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import click
from rich.console import Console, RenderableType
from rich.live import Live

from producer import jobs
from producer.cli.connected import connected, is_served
from producer.cli.job_ids import job_argument, resolved
from producer.cli.options import TASK, json_lines_option
from producer.cli.show import job_progress, job_view, status_table, tell_if_nothing_runs
from producer.jobs import POLL_INTERVAL, JobStatus
from producer.writers import OutputFormat, replacing, write_outcomes
from schema.base import controls_escaped
from schema.documents import JobId, Task
from schema.errors import InputError
from schema.states import JobState
from schema.terminal import make_console

STATE = click.Choice([state.value for state in JobState if state is not JobState.LOADING])
"""States of jobs that can be seen."""

WATCH_JSON_INTERVAL = 1
"""Seconds between the lines of `--watch --json`."""


class _Job(click.Argument):
    """An optional argument; errors name it without the brackets that mark it as optional."""

    def get_error_hint(self, ctx: click.Context | None) -> str:  # noqa: ARG002
        return "'JOB'"


@click.command()
@click.argument("job", cls=_Job, type=job_argument, required=False)
@click.option("--task", type=TASK, help="List only jobs of this task.")
@click.option("--state", type=STATE, metavar="STATE", help="List only jobs in this state.")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Most jobs listed."
)
@click.option("--watch", is_flag=True, help="Keep showing until finished.")
@json_lines_option
def status(  # a parameter for each option
    job: JobId | str | None,
    *,
    task: str | None,
    state: str | None,
    limit: int,
    watch: bool,
    as_json: bool,
) -> None:
    """Show one job, or list the latest.

    \b
    Examples:
      textmill status
      textmill status 0190f3c2-… --watch
      textmill status --state running --json | jq .eta
    """
    if job is not None and (task or state):
        msg = "JOB names the job to show; leave --task and --state out"
        raise click.UsageError(msg)
    listed = partial(
        jobs.latest,
        limit=limit,
        task=Task(task) if task else None,
        state=JobState(state) if state else None,
    )
    served = is_served()
    with connected() as textmill:
        job_id = None if job is None else resolved(textmill.engine, job)

        def look() -> list[JobStatus]:
            if job_id is not None:
                return [textmill.status(job_id)]
            return listed(textmill.engine)

        printed = make_console()
        shown = partial(_shown, console=printed, alone=job_id is not None)
        interval = WATCH_JSON_INTERVAL if as_json else POLL_INTERVAL
        looks = _until_finished(look, interval) if watch else iter([look()])
        if as_json:
            for seen in looks:
                _print_json(seen)
            return
        seen = next(looks)
        if watch:
            tell_if_nothing_runs(textmill, seen, served=served)
            with Live(shown(seen), console=printed) as live:
                for seen in looks:
                    live.update(shown(seen))
            return
        printed.print(shown(seen))
        tell_if_nothing_runs(textmill, seen, served=served)


@click.command()
@click.argument("job", type=job_argument)
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*map(str, OutputFormat)]),
    help="Default: from the suffix of FILE; jsonl for standard output.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Default (and -): standard output.",
)
@click.option("--text", "texts", is_flag=True, help="Include the text of each document.")
def results(job: JobId | str, file_format: str | None, output: Path | None, *, texts: bool) -> None:
    """Write every document of a job with its outcome.

    Documents are in the order of submission. CSV and Parquet also have the columns label, score,
    keywords, code and message.

    \b
    Examples:
      textmill results 0190f3c2-… | jq -r 'select(.status == "failed")'
      textmill results 0190f3c2-… -o results.parquet
      textmill results 0190f3c2-… --text -o results.csv
    """
    if output == Path("-"):
        output = None
    form = OutputFormat(file_format) if file_format else _format_of(output)
    with connected() as textmill:
        job_id = resolved(textmill.engine, job)
        rows = textmill.results(job_id, texts=texts)
        if output is None:
            write_outcomes(rows, form, sys.stdout.buffer, texts=texts)
            return
        total = textmill.status(job_id).accepted
        try:
            with job_progress() as bar, replacing(output) as file:
                shown = bar.track(rows, total=total, description="writing")
                write_outcomes(shown, form, file, texts=texts)
        except OSError as error:
            msg = f"cannot write {output}: {error.strerror}; choose another place with -o"
            raise InputError(msg) from error


def _shown(statuses: list[JobStatus], *, console: Console, alone: bool) -> RenderableType:
    # The width may change while a job is watched.
    return job_view(statuses[0], console) if alone else status_table(statuses, console.width)


def _until_finished(
    look: Callable[[], list[JobStatus]], interval: float
) -> Iterator[list[JobStatus]]:
    """What `look` returns, every `interval` seconds, until all these jobs are finished."""
    yield (seen := look())
    while not all(status.finished for status in seen):
        time.sleep(interval)
        yield (seen := look())


def _print_json(statuses: Iterable[JobStatus]) -> None:
    for status in statuses:
        click.echo(controls_escaped(status.model_dump_json()))


def _format_of(output: Path | None) -> OutputFormat:
    if output is None:
        return OutputFormat.JSONL
    suffix = output.suffix.removeprefix(".")
    if suffix not in list(OutputFormat):
        msg = f"{output}: its name does not tell its format; give --format {'|'.join(OutputFormat)}"
        raise InputError(msg)
    return OutputFormat(suffix)
