"""`textmill-worker predict`."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import click
from rich.table import Table

from schema.base import json_text
from schema.documents import Task
from schema.errors import ArtifactError, InputError
from schema.exit_codes import EXIT_FAILURES
from schema.outcomes import (
    Evidence,
    Failure,
    KeywordsResult,
    ModerationResult,
    Result,
    SentimentResult,
)
from schema.terminal import check_options, make_console, printable
from worker.commands.options import TASK, artifact_option, json_option, open_pipeline
from worker.pipeline import NO_GENERATOR
from worker.pipeline.analysis import analyse_stream
from worker.training.rows import STANDARD_INPUT, read_texts

AnyLabel = TypeVar("AnyLabel", bound=str)

_PATH = re.compile(r"[!-~]*/[!-~]*|\S+\.(jsonl|txt|json|ndjson|csv|tsv|parquet)(\.gz)?")
"""An argument that is taken for a file name: no blanks, and a slash or a known suffix.

Chinese text has no blanks either, so a slash counts only if all characters are ASCII.
"""
_SHOWN = 60
"""Characters of a document that a table shows."""


@click.command("predict")
@click.argument("task", type=TASK)
@click.argument("source", metavar="[TEXT|FILE|-]", default="-")
@artifact_option
@json_option
@click.option("--explain", is_flag=True, help="Say which words moved each score.")
@click.option("--generate", is_flag=True, help="Also give keywords that the text does not contain.")
def command(
    *,
    task: str,
    source: str,
    artifact: Path | None,
    as_json: bool,
    explain: bool,
    generate: bool,
) -> None:
    """Analyse documents in this process, without servers.

    The argument is a file (one document per line, or JSON Lines with `text`), `-` for standard
    input, or else the document itself. In the table, generated keywords begin with a +. Exit code 1
    if a document failed.

    \b
    Examples:
      textmill-worker predict sentiment "味道不错，送得也快"
      textmill-worker predict keywords abstracts.jsonl.gz --json
      cat comments.txt | textmill-worker predict moderation -
      textmill-worker predict keywords abstract.txt --generate
    """
    texts = _read(Task(task), source)
    check_options(Task(task), explain=explain, generate=generate)
    if not texts:
        click.echo("there was no document", err=True)
        return
    pipeline = open_pipeline(Task(task), artifact)
    if generate and not pipeline.generates:
        raise ArtifactError(NO_GENERATOR)
    table = Table("document", "language", "outcome")
    failed = False
    outcomes = analyse_stream(pipeline, texts, explain=explain, generate=generate)
    for text, outcome in zip(texts, outcomes, strict=True):
        failed |= isinstance(outcome, Failure)
        if as_json:
            click.echo(_json_line(outcome))
        else:
            table.add_row(*map(printable, _cells(text, outcome)))
    if not as_json:
        make_console().print(table)
    if failed:
        sys.exit(EXIT_FAILURES)


def _read(task: Task, source: str) -> Sequence[str]:
    if source == "-":
        return read_texts(STANDARD_INPUT)
    if not source.strip():
        msg = "the text is empty; name a text or a file"
        raise InputError(msg)
    if _is_file(source):
        if {".csv", ".tsv", ".parquet"}.intersection(Path(source.lower()).suffixes):
            msg = f"{source} is not plain text; use: textmill submit {task} {source} --wait"
            raise InputError(msg)
        return read_texts(Path(source))
    if _PATH.fullmatch(source):
        msg = f"there is no file {source}; to analyse it as a text, hand it over by standard input"
        raise InputError(msg)
    return [source]


def _is_file(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL: a document
        return False


def _json_line(outcome: Result | Failure) -> str:
    name = "error" if isinstance(outcome, Failure) else "result"
    status = "failed" if isinstance(outcome, Failure) else "succeeded"
    line = {"status": status, name: outcome.model_dump(mode="json")}
    return json_text(line)


def _cells(text: str, outcome: Result | Failure) -> tuple[str, str, str]:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    match outcome:
        case Failure():
            return shown, "", f"failed: {outcome.code} ({outcome.message})"
        case SentimentResult():
            said = f"{outcome.label} {outcome.score:.2f}"
            return shown, outcome.language, said + _because(text, outcome.explanation)
        case ModerationResult():
            labels = [f"{label} {outcome.scores[label]:.2f}" for label in outcome.labels]
            said = ", ".join(labels) or "clean"
            return shown, outcome.language, said + _because(text, outcome.explanation)
        case KeywordsResult():
            words = [
                f"{'+' * keyword.generated}{keyword.text} {keyword.score:.2f}"
                for keyword in outcome.keywords
            ]
            return shown, outcome.language, ", ".join(words) or "none"


def _because(text: str, explanation: Mapping[AnyLabel, Sequence[Evidence]] | None) -> str:
    """The words that moved each score, with their weights; one line per label."""
    return "".join(
        f"\n{label}: "
        + ", ".join(f"{text[slice(*item.span)]} {item.weight:+.2f}" for item in evidence)
        for label, evidence in (explanation or {}).items()
        if evidence
    )
