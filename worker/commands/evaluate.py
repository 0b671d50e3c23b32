"""`textmill-worker evaluate`."""

from collections.abc import Iterable
from pathlib import Path

import click
from rich.table import Table

from schema.base import json_text
from schema.documents import Task
from schema.errors import InputError
from schema.terminal import make_console, printable
from worker.commands.options import TASK, artifact_option, json_option, open_pipeline
from worker.pipeline import Pipeline
from worker.training.evaluate import evaluate
from worker.training.measures import (
    KeywordsMeasures,
    Measures,
    ModerationMeasures,
    SentimentMeasures,
)
from worker.training.plots import plot
from worker.training.rows import ROW_TYPES, RowFile

_GENERATED = {"absent_f1_at_5": ".3f", "absent_recall_at_10": ".3f", "absent_documents": ","}
"""Measures that only a model with a generator has, and how they are shown."""


@click.command("evaluate")
@click.argument("task", type=TASK)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@artifact_option
@json_option
@click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for one picture per file: confusion matrices and reliability.",
)
def command(
    *,
    task: str,
    files: tuple[Path, ...],
    artifact: Path | None,
    as_json: bool,
    plots: Path | None,
) -> None:
    """Measure a model of TASK on labelled FILES.

    FILES hold JSON Lines, gzip-compressed or not: `text` with `label` for sentiment, `labels` and
    `annotated` for moderation, `keywords` for keywords. `-` is standard input.

    \b
    Examples:
      textmill-worker evaluate sentiment DIR/sentiment/*/test.jsonl.gz
      textmill-worker evaluate keywords my.jsonl --artifact my-model --json
      textmill-worker evaluate moderation verdicts.jsonl --plots pictures
    """
    pipeline = open_pipeline(Task(task), artifact)
    table = Table("file", "documents", "measure", "value")
    for number, file in enumerate(files, start=1):
        rows = list(RowFile(file, ROW_TYPES[pipeline.task]))
        if not rows:
            msg = f"{file} holds no rows; name a file with labelled ones"
            raise InputError(msg)
        measures = evaluate(pipeline, rows)
        if as_json:
            click.echo(_json_line(file, pipeline, measures))
        if plots is not None:
            plots.mkdir(parents=True, exist_ok=True)
            plot(pipeline, rows, plots / f"{number:02}-{_name(file)}.png")
        for name, value in _lines(measures):
            table.add_row(printable(str(file)), f"{measures.documents:,}", name, value)
    if not as_json:
        make_console().print(table)


def _name(file: Path) -> str:
    """The file's name with its folder's, since files of the data folder are named alike."""
    return f"{file.absolute().parent.name}-{file.name.partition('.')[0]}"


def _json_line(file: Path, pipeline: Pipeline, measures: Measures) -> str:
    head = {"file": str(file), "model_version": pipeline.model_version}
    return json_text(head | measures.model_dump())


def _lines(measures: Measures) -> Iterable[tuple[str, str]]:
    match measures:
        case SentimentMeasures():
            for name in ("accuracy", "macro_f1", "macro_recall", "loss", "ece"):
                yield name, f"{getattr(measures, name):.3f}"
        case KeywordsMeasures():
            yield "f1_at_5", f"{measures.f1_at_5:.3f}"
            yield "f1_at_10", f"{measures.f1_at_10:.3f}"
            yield "present_documents", f"{measures.present_documents:,}"
            generated = measures.model_dump(include=set(_GENERATED))
            for name, shape in _GENERATED.items():
                if name in generated:
                    yield name, format(generated[name], shape)
        case ModerationMeasures():
            yield "flag_f1", f"{measures.flag_f1:.3f}"
            yield "flag_auc", "–" if measures.flag_auc is None else f"{measures.flag_auc:.3f}"
            yield "ece", f"{measures.ece:.3f}"
            for name, label in measures.labels.items():
                yield name, f"F1 {label.f1:.3f} ({label.support:,} rows)"
