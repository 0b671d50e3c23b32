"""`textmill status` and `textmill results`."""

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from rich.console import Console, RenderableType
from rich.live import Live

from producer import jobs
from producer.cli.connected import connected
from producer.cli.job_ids import job_argument, resolved
from producer.cli.options import TASK, json_lines_option
from producer.cli.show import (
    TELL_EVERY,
    job_progress,
    job_view,
    progress_line,
    say,
    status_table,
    tell_if_nothing_runs,
)
from producer.client import Textmill
from producer.jobs import POLL_INTERVAL, JobStatus
from producer.writers import OutputFormat, replacing, write_outcomes
from schema.base import controls_escaped
from schema.documents import JobId
from schema.errors import InputError
from schema.exit_codes import EXIT_FAILURES
from schema.states import DocumentStatus, JobState
from schema.terminal import make_console

STATE = click.Choice([state.value for state in JobState if state is not JobState.LOADING])
"""States of jobs that can be seen."""

STATUS = click.Choice([*map(str, DocumentStatus)])

LISTED = 20
"""Jobs that are listed without `--limit`."""

WATCH_JSON_INTERVAL = 1
"""Seconds between the lines of `--watch --json`."""


class _Job(click.Argument):
    """An optional argument; errors name it without the brackets that mark it as optional."""

    def get_error_hint(self, ctx: click.Context | None) -> str:  # noqa: ARG002
        return "'JOB'"


@click.command()
@click.argument("job", cls=_Job, type=job_argument, required=False)
@click.option("--task", type=TASK, help="List only jobs of this task.")
@click.option("--state", type=STATE, help="List only jobs in this state.")
@click.option("--name", help="List only jobs of this name.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    help=f"Most jobs listed.  [default: {LISTED}]",
)
@click.option("--watch", is_flag=True, help="Keep showing until finished.")
@json_lines_option
def status(  # noqa: PLR0913  # a parameter for each option
    job: JobId | str | None,
    *,
    task: str | None,
    state: str | None,
    name: str | None,
    limit: int | None,
    watch: bool,
    as_json: bool,
) -> None:
    """Show one job, or list the latest.

    With JOB and --watch, the exit code is 1 if a document failed, was rejected or was cancelled.

    \b
    Examples:
      textmill status
      textmill status 0190f3c2-… --watch
      textmill status --state running --json | jq .eta
    """
    if job is not None and (task or state or name or limit):
        msg = "JOB names the job to show; leave --task, --state, --name and --limit out"
        raise click.UsageError(msg)
    with connected() as textmill:
        if job is not None:
            listed = [textmill.status(resolved(textmill.engine, job))]
        else:
            listed = textmill.jobs(limit or LISTED, task=task, state=state, name=name)
        if as_json and not watch:
            _print_json(listed)
            return
        if not watch:
            printed = make_console()
            printed.print(_shown(listed, printed, alone=job is not None))
        if not as_json:
            tell_if_nothing_runs(textmill, listed)
        if watch:
            listed = _watched(textmill, listed, alone=job is not None, as_json=as_json)
    if watch and job is not None and (listed[0].failed or listed[0].cancelled):
        sys.exit(EXIT_FAILURES)


def _watched(
    textmill: Textmill, first: list[JobStatus], *, alone: bool, as_json: bool
) -> list[JobStatus]:
    """Show jobs until all of them are finished; returns how they ended."""
    printed = make_console()
    seen = first
    if as_json:
        for seen in _until_finished(textmill, first, WATCH_JSON_INTERVAL):
            _print_json(seen)
        return seen
    looks = _until_finished(textmill, first, POLL_INTERVAL)
    if printed.is_terminal:
        with Live(console=printed) as live:
            for seen in looks:
                live.update(_shown(seen, printed, alone=alone))
        return seen
    told = time.monotonic()
    for seen in looks:
        if time.monotonic() - told >= TELL_EVERY:
            told = time.monotonic()
            for job in seen:
                say(f"{job.job_id} {progress_line(job)}")
    printed.print(_shown(seen, printed, alone=alone))
    return seen


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
@click.option("--status", "wanted", type=STATUS, help="Write only documents of this status.")
def results(
    job: JobId | str,
    file_format: str | None,
    output: Path | None,
    *,
    texts: bool,
    wanted: str | None,
) -> None:
    """Write every document of a job with its outcome.

    Documents are in the order of submission. CSV and Parquet also have the columns label, score,
    keywords, code and message.

    \b
    Examples:
      textmill results 0190f3c2-… --status failed
      textmill results 0190f3c2-… -o results.parquet
      textmill results 0190f3c2-… --text -o results.csv
    """
    if output == Path("-"):
        output = None
    form = OutputFormat(file_format) if file_format else _format_of(output)
    with connected() as textmill:
        job_id = resolved(textmill.engine, job)
        rows = textmill.results(job_id, texts=texts, status=wanted)
        found = textmill.status(job_id)
        if found.pending:
            say(f"the job is not over: {progress_line(found)}")
        if output is None:
            write_outcomes(rows, form, sys.stdout.buffer, texts=texts)
            return
        # Where most documents are left out, nothing tells how far the reading is.
        total = found.accepted if wanted is None else None
        try:
            with job_progress() as bar, replacing(output) as file:
                shown = bar.track(rows, total=total, description="writing")
                write_outcomes(shown, form, file, texts=texts)
        except OSError as error:
            msg = f"cannot write {output}: {error.strerror}; choose another place with -o"
            raise InputError(msg) from error


def _shown(statuses: list[JobStatus], console: Console, *, alone: bool) -> RenderableType:
    # The width may change while a job is watched.
    return job_view(statuses[0], console) if alone else status_table(statuses, console.width)


def _until_finished(
    textmill: Textmill, seen: list[JobStatus], interval: float
) -> Iterator[list[JobStatus]]:
    """The same jobs again and again, every `interval` seconds, until all of them are finished."""
    yield seen
    while not all(status.finished for status in seen):
        time.sleep(interval)
        seen = jobs.together(textmill.engine, [status.job_id for status in seen])
        yield seen


def _print_json(statuses: Iterable[JobStatus]) -> None:
    for status in statuses:
        click.echo(controls_escaped(status.model_dump_json()))


def _format_of(output: Path | None) -> OutputFormat:
    if output is None:
        return OutputFormat.JSONL
    suffix = output.suffix.removeprefix(".").lower()
    if suffix not in list(OutputFormat):
        msg = f"{output}: its name does not tell its format; give --format {'|'.join(OutputFormat)}"
        raise InputError(msg)
    return OutputFormat(suffix)
