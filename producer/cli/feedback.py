"""`textmill feedback`."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO

import click

from producer import feedback as verdicts
from producer.cli.connected import connected
from producer.cli.show import console
from producer.readers.delimited import allow_cells
from schema.documents import Task
from schema.errors import InputError
from schema.settings import IntakeSettings, read

EXIT_REFUSED = 1


@click.group()
def feedback() -> None:
    """People's verdicts on results."""


@feedback.command()
@click.argument("job", type=click.UUID)
@click.argument("external_id")
@click.argument("verdict", type=click.Choice(["agree", "disagree"]), metavar="agree|disagree")
@click.option("--label", "labels", multiple=True, help="A right label; may be repeated.")
@click.option("--clean", is_flag=True, help="No label applies (moderation).")
@click.option("--keyword", "keywords", multiple=True, help="A right keyword; may be repeated.")
@click.option("--comment")
@click.option(
    "--annotator", help="Who says so; default: TEXTMILL_SUBMITTER, or else the user's name."
)
@click.option("--adjudicate", "adjudicates", is_flag=True, help="Decide for all annotators.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, not a sentence.")
def add(
    *,
    labels: tuple[str, ...],
    clean: bool,
    keywords: tuple[str, ...],
    as_json: bool,
    **fields: object,
) -> None:
    """Agree or disagree with a result.

    It is that of the document EXTERNAL_ID of JOB.

    \b
    Examples:
      textmill feedback add 0190f3c2-… review-17 agree
      textmill feedback add 0190f3c2-… review-18 disagree --label neutral --comment sarcasm
      textmill feedback add 0190f3c2-… review-19 agree --adjudicate --annotator lead
    """
    if clean and labels:
        msg = "--clean says that no label applies; leave out --label"
        raise click.UsageError(msg)
    verdict = verdicts.parse(
        {
            "job_id": fields.pop("job"),
            "labels": list(labels) if labels or clean else None,
            "keywords": list(keywords) or None,
            **fields,
        }
    )
    with connected() as textmill:
        number = textmill.add_feedback(verdict)
    click.echo(json.dumps({"feedback_id": number}) if as_json else f"verdict {number} added")


@feedback.command("import")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
def import_(file: Path) -> None:
    """Add the verdicts of a file, JSON Lines or CSV.

    - is standard input, as JSON Lines. A refused line is named, the others count; exit code 1 when
    one was refused. Fields: job_id, external_id, verdict, labels or keywords (in CSV: a;b, and
    clean for none), comment, annotator, adjudicates (true where the verdict decides for all
    annotators).

    \b
    Example:
      textmill feedback import reviewed.csv
    """
    added = refused = 0
    with connected() as textmill:
        for line, row in _rows(file):
            try:
                textmill.add_feedback(verdicts.parse(_fields(row)))
                added += 1
            except InputError as error:
                click.echo(f"{file}:{line}: {error}", err=True)
                refused += 1
    console.print(f"{added:,} verdicts added, {refused:,} refused")
    if refused:
        sys.exit(EXIT_REFUSED)


@feedback.command()
@click.argument("task", type=click.Choice([*map(str, Task)]), metavar="TASK")
@click.option("--gold", is_flag=True, help="Only what is settled, once for each document.")
def export(task: str, *, gold: bool) -> None:
    """Print verdicts as JSON Lines that a trainer can read.

    TASK is sentiment, keywords or moderation; without --gold, every verdict on its results.

    \b
    Examples:
      textmill feedback export sentiment > verdicts.jsonl
      textmill feedback export sentiment --gold > gold.jsonl
    """
    with connected() as textmill:
        for row in verdicts.export(textmill.engine, Task(task), gold=gold):
            click.echo(json.dumps(row, ensure_ascii=False))


def _rows(file: Path) -> Iterator[tuple[int, str | dict[str, str] | csv.Error]]:
    """Each row with its line: a line of JSON, a row of CSV, or why it is none."""
    try:
        with _opened(file) as stream:
            if file.suffix.lower() == ".csv":
                yield from _table(stream)
                return
            yield from ((number, line) for number, line in enumerate(stream, 1) if line.strip())
    except (OSError, csv.Error) as error:
        msg = f"cannot read {file}: {error}"
        raise InputError(msg) from error


@contextmanager
def _opened(file: Path) -> Iterator[IO[str]]:
    if file == Path("-"):
        yield TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace", newline="")
        return
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        yield stream


def _table(stream: Iterable[str]) -> Iterator[tuple[int, dict[str, str] | csv.Error]]:
    """The rows below a header; after one that is broken, reading goes on with the line below it."""
    allow_cells(read(IntakeSettings).max_document_bytes)
    number = 0

    def counted() -> Iterator[str]:  # the reader does not count the line that breaks a row
        nonlocal number
        for number, line in enumerate(stream, 1):  # noqa: B007  # read below
            yield line

    rows = csv.DictReader(counted(), restkey="value without a column")
    if rows.fieldnames is None:  # asked for here, so that a broken header is no row
        return
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, error
        else:
            yield number, row


def _fields(row: str | dict[str, str] | csv.Error) -> dict[str, object]:
    if isinstance(row, csv.Error):
        msg = f"not CSV: {row}"
        raise InputError(msg)
    if isinstance(row, dict):
        return dict(row)
    try:
        fields = json.loads(row)
    except (ValueError, RecursionError) as error:
        msg = f"not JSON: {error}"
        raise InputError(msg) from error
    if not isinstance(fields, dict):
        msg = "not a JSON object"
        raise InputError(msg)
    return fields
