"""`textmill submit`."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import chain

import click
from pydantic import ValidationError
from rich.progress import Progress

from producer.cli.connected import connected, connected_with_workers, is_served
from producer.cli.durations import parse_duration
from producer.cli.options import TASK, json_option
from producer.cli.show import (
    TELL_EVERY,
    console,
    job_progress,
    job_view,
    progress_line,
    say,
    tell_if_nothing_runs,
)
from producer.client import Textmill
from producer.jobs import JobStatus, statuses
from producer.outcomes import rejected_counts
from producer.readers import Format, naming_file, read_documents
from producer.readers.source import display_name, rereadable
from producer.submit import Submission
from producer.submit import submit as submit_records
from schema.base import json_text
from schema.documents import JobOptions, Lane, Record, Rejected, Task
from schema.errors import InputError, TextmillError
from schema.exit_codes import EXIT_FAILURES
from schema.outcomes import ErrorCode
from schema.settings import IntakeSettings, ServiceSettings, read
from schema.terminal import check_options, interruptible

REASONS = 5
"""Codes of rejected documents that are printed, each with an example."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which the reading thread must hand over the interpreter's lock. At Python's default
of 5 ms, the loading thread waits that long after every block it sends, while Postgres idles."""


@click.command()
@click.argument("task", type=TASK, metavar="TASK")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*map(str, Format)]),
    help="Default: from the suffix; jsonl for standard input.",
)
@click.option("--text-field", default="text", show_default=True, help="Field holding the text.")
@click.option("--id-field", default="id", show_default=True, help="Field holding your document id.")
@click.option("--name", help="Name of the job, for people.")
@click.option(
    "--lane",
    type=click.Choice([*map(str, Lane)]),
    default=Lane.BULK.value,
    show_default=True,
    help="Interactive jobs go first.",
)
@click.option(
    "--weight",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Share of its lane, beside other jobs.",
)
@click.option("--idempotency-key", help="Submitting again with this key returns the first job.")
@click.option(
    "--deadline",
    metavar="TIME",
    help="End the job then, keeping what is done: in 90s, 5m, 4h or 1d, or at a time in ISO 8601"
    " (local if it names no zone).",
)
@click.option("--explain", is_flag=True, help="Say which words moved each score.")
@click.option("--generate", is_flag=True, help="Also give keywords that the text does not contain.")
@click.option("--model-version", metavar="VERSION", help="Use this model, whatever is promoted.")
@click.option("--wait", "waits", is_flag=True, help="Wait until the job is finished.")
@json_option
def submit(  # noqa: PLR0913  # a parameter for each option
    task: str,
    files: tuple[str, ...],
    *,
    file_format: str | None,
    text_field: str,
    id_field: str,
    name: str | None,
    lane: str,
    weight: int,
    idempotency_key: str | None,
    deadline: str | None,
    explain: bool,
    generate: bool,
    model_version: str | None,
    waits: bool,
    as_json: bool,
) -> None:
    """Submit documents as one job, and print its id.

    TASK is sentiment, keywords or moderation. Files are JSON Lines, CSV, TSV, Parquet or plain text
    (one document per line), also gzip-compressed; - is standard input. Fields other than text and
    id are kept as metadata. A broken record becomes a failed document of the job; the others run.
    Exit code 1: all documents were rejected, a file is damaged, or the key names a job that was
    cancelled; with --wait also: any document failed, was rejected or was cancelled.

    \b
    Examples:
      textmill submit sentiment reviews.jsonl --wait
      textmill submit moderation posts.csv.gz --text-field body --id-field post_id
      zcat feed.jsonl.gz | textmill submit keywords - --lane interactive --json
    """
    intake = read(IntakeSettings)
    # Checked before a server is started, and reported in the words of the command line.
    check_options(Task(task), explain=explain, generate=generate)
    options = _options(
        name=name,
        lane=lane,
        weight=weight,
        idempotency_key=idempotency_key,
        deadline_at=_time(deadline),
        explain=explain,
        generate=generate,
        model_version=model_version,
    )
    # All files are opened before anything is written, so that a wrong name costs nothing.
    sources = [
        _told_of(
            path,
            read_documents(
                path,
                file_format=Format(file_format) if file_format else None,
                text_field=text_field,
                id_field=id_field,
                limits=intake,
            ),
        )
        for path in files
    ]
    if len(files) > 1:
        sources = [naming_file(*source) for source in zip(files, sources, strict=True)]
    sys.setswitchinterval(SWITCH_INTERVAL)
    served = waits or is_served()
    with connected_with_workers() if waits else connected() as textmill:
        with job_progress() as progress:
            loading = progress.add_task("loading", total=None)
            submission = submit_records(
                textmill.engine,
                Task(task),
                chain(*sources),
                options,
                submitter=intake.submitter,
                limits=intake,
                # A pipe may block the reading thread for ever; a regular file does not.
                reads_ahead=all(map(rereadable, files)),
                progress=partial(progress.advance, loading),
            )
            progress.remove_task(loading)
            with _told_if_broken_off(submission, as_json=as_json):
                lost = _explain_rejected(textmill, submission)
                job = textmill.status(submission.job_id)
                if not (waits and as_json):
                    _announce(submission, job, as_json=as_json)
                if waits:
                    job = _follow(progress, textmill, submission)
        if waits and as_json:
            _announce(submission, job, as_json=True)
        elif waits:
            _tell_end(job)
        elif not served and not job.finished:
            say("nothing runs yet; the job begins with: textmill up")
    if lost or job.cancelled or (waits and job.failed):
        sys.exit(EXIT_FAILURES)


def _told_of(path: str, records: Iterator[Record]) -> Iterator[Record]:
    """The same records; says so if there are none, or if none of them was JSON."""
    record = None
    for record in records:
        yield record
        if not (isinstance(record, Rejected) and record.code is ErrorCode.INVALID_JSON):
            yield from records
            return
    name = display_name(path)
    if record is None:
        say(f"{name} holds no document")
    else:
        formats = "|".join(known for known in Format if known is not Format.JSONL)
        say(f"{name} was read as JSON Lines, which it is not; give --format {formats}")


def _explain_rejected(textmill: Textmill, submission: Submission) -> bool:
    """Say how many documents were rejected, and the reasons, commonest first.

    Returns:
        Whether more is lost than a few bad records: all documents, or the rest of a damaged file.
    """
    if not submission.rejected:
        return False
    say(f"{submission.rejected:,} of {submission.accepted:,} documents rejected:")
    reasons = rejected_counts(textmill.engine, submission.job_id)
    for code, documents, example in reasons[:REASONS]:
        say(f"  {documents:,} {code}: {example}")
    if len(reasons) > REASONS:
        say(f"  and others; see: textmill results {submission.job_id}")
    damaged = any(reason.code == ErrorCode.DAMAGED_FILE for reason in reasons)
    return damaged or submission.rejected == submission.accepted


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    with suppress(InputError):
        return datetime.now(UTC) + parse_duration(text)
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):  # the latter if its zone moves it out of years 1 to 9999
        msg = (
            f"--deadline: {text!r} is neither a duration nor a time in ISO 8601;"
            " write it like 4h, or like 2026-01-31T06:00"
        )
        raise click.UsageError(msg) from None


def _options(**given: object) -> JobOptions:
    try:
        return JobOptions.model_validate(given)
    except ValidationError as error:
        (fault, *_) = error.errors()
        option = str(fault["loc"][0]).removesuffix("_at").replace("_", "-")
        msg = f"--{option}: {fault['msg']}"
        raise click.UsageError(msg) from None


def _follow(progress: Progress, textmill: Textmill, submission: Submission) -> JobStatus:
    bar = progress.add_task("running", total=submission.accepted)
    told = time.monotonic()
    # Workers of an embedded stack may take longer than `TELL_EVERY` to load their models.
    others_work = read(ServiceSettings).database_url is not None
    for seen in statuses(textmill.engine, submission.job_id):
        if not seen.finished:
            textmill.check()
        done = seen.accepted - seen.pending
        progress.update(bar, completed=done)
        if time.monotonic() - told < TELL_EVERY:
            continue
        told = time.monotonic()
        if progress.disable:
            say(progress_line(seen))
        if others_work:
            others_work = False  # said once
            tell_if_nothing_runs(textmill, [seen])
    return seen


@contextmanager
def _told_if_broken_off(submission: Submission, *, as_json: bool) -> Iterator[None]:
    """If what follows is broken off, name the job: submitting again would make a second one."""
    try:
        with interruptible():
            yield
    except (KeyboardInterrupt, TextmillError):
        if as_json:
            click.echo(json_text(_fields(submission)))
        say(f"job {submission.job_id} stays, and continues where workers run: see textmill status")
        say(f"to end it: textmill cancel {submission.job_id}")
        raise


def _announce(submission: Submission, job: JobStatus, *, as_json: bool) -> None:
    """Print the job's id, or with `as_json` all that is known of it."""
    fields = _fields(submission) | json.loads(job.model_dump_json())
    click.echo(json_text(fields) if as_json else submission.job_id)
    if submission.repeated:
        say(f"these documents were submitted before with this key; their job is {job.state}")
    if submission.repeated and job.cancelled:
        say(
            f"{job.cancelled:,} of its documents were cancelled;"
            f" run them with: textmill retry {job.job_id}"
        )


def _fields(submission: Submission) -> dict[str, object]:
    return {
        "job_id": str(submission.job_id),
        "accepted": submission.accepted,
        "rejected": submission.rejected,
        "repeated": submission.repeated,
    }


def _tell_end(final: JobStatus) -> None:
    console.print(job_view(final, console))
    if final.failed:
        console.print(f"see them with: textmill results {final.job_id} --status failed")
