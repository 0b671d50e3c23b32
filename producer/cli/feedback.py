"""`textmill feedback`."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from itertools import chain

import click

from producer import feedback as verdicts
from producer.cli.connected import connected
from producer.cli.job_ids import job_argument, resolved
from producer.cli.options import TASK, annotator_option, json_option
from producer.cli.show import console, say
from producer.client import Textmill
from producer.feedback import Verdict
from producer.feedback_files import FORMATS, read_rows
from producer.readers.formats import Format
from producer.readers.rows import Row
from schema.base import json_text
from schema.documents import JobId, Rejected, Task
from schema.errors import InputError
from schema.exit_codes import EXIT_FAILURES
from schema.settings import IntakeSettings, read

NAMED = 10
"""Rejected lines of a kind that are printed; further ones are only counted."""


@click.group()
def feedback() -> None:
    """Give, import and export people's verdicts on results."""


@feedback.command()
@click.argument("job", type=job_argument)
@click.argument("external_id")
@click.argument("verdict", type=click.Choice(["agree", "disagree"]), metavar="agree|disagree")
@click.option("--label", "labels", multiple=True, help="A right label; may be repeated.")
@click.option("--clean", is_flag=True, help="No label applies (moderation).")
@click.option("--keyword", "keywords", multiple=True, help="A right keyword; may be repeated.")
@click.option("--comment", help="Comment to store with the verdict.")
@annotator_option
@click.option("--adjudicate", "adjudicates", is_flag=True, help="Decide for all annotators.")
@json_option
def add(
    *,
    job: JobId | str,
    labels: tuple[str, ...],
    clean: bool,
    keywords: tuple[str, ...],
    as_json: bool,
    **fields: object,
) -> None:
    """Agree or disagree with a result.

    It is the result of document EXTERNAL_ID in JOB.

    \b
    Examples:
      textmill feedback add 0190f3c2-… review-17 agree
      textmill feedback add 0190f3c2-… review-18 disagree --label neutral
      textmill feedback add 0190f3c2-… review-19 agree --adjudicate
    """
    if clean and labels:
        msg = "--clean says that no label applies; leave out --label"
        raise click.UsageError(msg)
    fields["labels"] = list(labels) if labels or clean else None
    fields["keywords"] = list(keywords) or None
    with connected() as textmill:
        verdict = verdicts.parse({"job_id": resolved(textmill.engine, job), **fields})
        number = textmill.add_feedback(verdict)
    click.echo(json.dumps({"feedback_id": number}) if as_json else f"verdict {number} added")


@feedback.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*map(str, FORMATS)]),
    help="Default: from the suffix; jsonl for standard input.",
)
@click.option("--job", type=job_argument, metavar="JOB", help="Job for rows without job_id.")
@json_option
def import_(file: str, file_format: str | None, job: JobId | str | None, *, as_json: bool) -> None:
    """Add the verdicts of a file: JSON Lines, CSV, TSV or Parquet.

    - is standard input. Rejected lines are reported and the others added; exit code 1 if any was
    rejected. Rows whose verdict, labels and comment are empty were not judged, and are skipped. A
    verdict that its annotator gave before is skipped, too: a file may be imported again. Fields:
    job_id, external_id, verdict, labels or keywords (in tables: a;b, and clean for none), comment,
    annotator, adjudicates (true if the verdict decides for all annotators). Other columns of a
    table are ignored.

    \b
    Examples:
      textmill feedback import reviewed.csv
      textmill feedback import reviewed.jsonl --job 0190f3c2
      zcat reviewed.csv.gz | textmill feedback import - --format csv
    """
    intake = read(IntakeSettings)
    rows = read_rows(
        file,
        Format(file_format) if file_format else None,
        intake,
        given=() if job is None else ("job_id",),
        ignoring=lambda columns: say(f"{file}: ignored, no columns of verdicts: {columns}"),
    )
    first = next(rows, None)  # a wrong file is refused before a server is started
    counts = Counter(added=0, there_already=0, not_judged=0)
    rejected: Counter[str] = Counter()
    with connected() as textmill:
        job_id = None if job is None else resolved(textmill.engine, job)
        for row in chain([] if first is None else [first], rows):
            try:
                counts[_take(textmill, row, job_id, intake.submitter)] += 1
            except InputError as error:
                kind = _kind(row, error)
                rejected[kind] += 1
                if rejected[kind] <= NAMED:
                    say(f"{file}:{row.line}: {error}")
    for kind, count in rejected.items():
        if count > NAMED:
            say(f"and {count - NAMED:,} more of this kind: {kind}")
    total = rejected.total()
    if as_json:
        click.echo(json.dumps({**counts, "rejected": total}))
    else:
        console.print(f"{_counted(counts)}, {total:,} rejected")
    if total:
        sys.exit(EXIT_FAILURES)


@feedback.command()
@click.argument("task", type=TASK, metavar="TASK")
@click.option("--gold", is_flag=True, help="Only settled answers, one for each text.")
def export(task: str, *, gold: bool) -> None:
    """Print verdicts as JSON Lines that a trainer can read.

    TASK is sentiment, keywords or moderation. Without --gold, every verdict on its results is
    printed.

    \b
    Examples:
      textmill feedback export sentiment > verdicts.jsonl
      textmill feedback export sentiment --gold > gold.jsonl
    """
    with connected() as textmill:
        for row in verdicts.export(textmill.engine, Task(task), gold=gold):
            click.echo(json_text(row))


def _take(textmill: Textmill, row: Row | Rejected, job_id: JobId | None, submitter: str) -> str:
    """Store a row's verdict, as `_add_once` does; `not_judged` if it holds none."""
    if isinstance(row, Row) and verdicts.is_unjudged(row.fields):
        return "not_judged"
    return _add_once(textmill, _verdict(row, job_id), submitter)


def _verdict(row: Row | Rejected, job_id: JobId | None) -> Verdict:
    if isinstance(row, Rejected):
        raise InputError(row.message)
    return verdicts.parse({**row.fields, "job_id": row.fields.get("job_id") or job_id})


def _add_once(textmill: Textmill, verdict: Verdict, submitter: str) -> str:
    """Store a verdict; return `added`, or `there_already` if the same one is stored.

    The stored one is looked for only after the database has refused the verdict: by then, another
    import of the same verdict at the same time has committed.
    """
    try:
        textmill.add_feedback(verdict)
    except InputError:
        if verdicts.is_there(textmill.engine, verdict, annotator=submitter):
            return "there_already"
        raise
    return "added"


def _kind(row: Row | Rejected, error: InputError) -> str:
    """What rejected rows of a kind share: a code, or the remedy, which names no document."""
    return row.code if isinstance(row, Rejected) else str(error).rpartition("; ")[2]


def _counted(counts: Mapping[str, int]) -> str:
    added = counts["added"]
    others = (
        f", {counts[name]:,} {name.replace('_', ' ')}"
        for name in ("there_already", "not_judged")
        if counts[name]
    )
    return f"{added:,} verdict{'' if added == 1 else 's'} added{''.join(others)}"
