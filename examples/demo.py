"""Run the documents in this folder through all of Textmill and show the outcomes.

`make demo` runs it with real servers and real workers, which are all stopped at the end.
"""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from producer import Document, JobOptions, Submission, Task, Textmill
from producer.local import remove, running
from producer.readers import read_documents
from schema.documents import Record
from schema.settings import IntakeSettings, ServiceSettings, read

EXAMPLES = Path(__file__).parent
DATA = EXAMPLES.parent.resolve() / ".data" / "demo"
RESULTS_SHOWN = 12
ID_SHOWN = 16
TEXT_SHOWN = 48
RESULT_SHOWN = 34  # at least, however narrow the terminal is

console = Console(markup=False, emoji=False)
if not console.is_terminal:
    console.width = 140  # three job ids side by side


def main() -> None:
    """Run the demo in a data directory that is emptied first."""
    remove(DATA)
    services = ServiceSettings(database_url=None, broker_url=None, data_dir=DATA)
    records = {task: list(_records(task)) for task in Task}
    console.print("starting Postgres, Redis, dispatch and workers …", style="dim")
    with running(services) as stack, Textmill(stack.urls.producer) as textmill:
        jobs = {
            task: textmill.submit(task, records[task], JobOptions(name=f"demo {task}"))
            for task in Task
        }
        _follow(textmill, jobs)
        for task, job in jobs.items():
            console.print(_results(textmill, task, job, records[task]))
        console.print(_failures(textmill, jobs))
        console.print(_view(textmill, "select * from textmill.job_status"))
    console.print("\nEverything is stopped; the rows stay. To look at them with psql, run")
    console.print(f"    TEXTMILL_DATA_DIR='{DATA}' .venv/bin/textmill up", soft_wrap=True)
    console.print("which prints psql commands, and in another terminal the first of them, then")
    console.print("    select * from textmill.sentiment_result;")
    console.print("Or write the outcomes of a job to a file:")
    job_id = jobs[Task.SENTIMENT].job_id
    console.print(
        f"    TEXTMILL_DATA_DIR='{DATA}' .venv/bin/textmill results {job_id} -o sentiment.csv",
        soft_wrap=True,
    )


def _records(task: Task) -> list[Record]:
    return list(read_documents(str(EXAMPLES / f"{task}.jsonl"), limits=read(IntakeSettings)))


def _follow(textmill: Textmill, jobs: dict[Task, Submission]) -> None:
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars = {task: progress.add_task(task, total=job.accepted) for task, job in jobs.items()}
        for task, job in jobs.items():
            while not (seen := textmill.status(job.job_id)).finished:
                progress.update(bars[task], completed=seen.accepted - seen.pending)
                time.sleep(0.1)
            progress.update(bars[task], completed=seen.accepted)


def _results(textmill: Textmill, task: Task, job: Submission, records: list[Record]) -> Table:
    texts: dict[str, str] = {}
    for record in records:
        if isinstance(record, Document):
            # Of two documents with the same id, the first was accepted.
            texts.setdefault(str(record.external_id), " ".join(record.text.split()))
    table = Table(title=f"\n{task}", title_justify="left", box=None, pad_edge=False)
    between = 2 * 2
    left = console.width - ID_SHOWN - RESULT_SHOWN - between
    table.add_column("id", no_wrap=True, max_width=ID_SHOWN)
    table.add_column("text", no_wrap=True, width=max(20, min(TEXT_SHOWN, left)))
    table.add_column("result", overflow="fold")
    succeeded = [
        (str(row["external_id"]), row["result"])
        for row in textmill.results(job.job_id)
        if row["result"] is not None
    ]
    for external_id, result in succeeded[:RESULTS_SHOWN]:
        table.add_row(external_id, texts[external_id], _summary(result))
    hidden = len(succeeded) - RESULTS_SHOWN
    if hidden > 0:
        table.add_row("…", f"and {hidden} more", "")
    return table


def _summary(result: dict[str, Any]) -> str:
    """A result in a few words."""
    match result["task"]:
        case "sentiment":
            return f"{result['label']} {result['score']:.2f}"
        case "moderation":
            labels = [f"{label} {result['scores'][label]:.2f}" for label in result["labels"]]
            return f"flagged: {', '.join(labels)}" if result["flagged"] else "clean"
        case _:
            return ", ".join(keyword["text"] for keyword in result["keywords"][:5])


def _failures(textmill: Textmill, jobs: dict[Task, Submission]) -> Table:
    table = Table(title="\nfailures", title_justify="left", box=None, pad_edge=False)
    for name in ("task", "line", "id", "code", "message"):
        table.add_column(name, no_wrap=name != "message")
    for task, job in jobs.items():
        for row in textmill.results(job.job_id):
            if (error := row["error"]) is not None:
                cells = (row["line"] or "", row["external_id"] or "", error["code"])
                table.add_row(task, *map(str, cells), error["message"])
    return table


def _view(textmill: Textmill, query: str) -> Table:
    """The answer to a query, transposed: one column per row."""
    table = Table(title=f"\n{query}", title_justify="left", box=None, pad_edge=False)
    table.padding = (0, 1, 0, 0)  # so that the times of three jobs fit into 80 columns
    with textmill.engine.connect() as connection:
        rows = connection.execute(sa.text(query))
        columns = (rows.keys(), *rows)
        for _ in columns:
            table.add_column(overflow="fold")  # a truncated id is useless
        table.columns[0].no_wrap = True
        for cells in zip(*columns, strict=True):
            table.add_row(*map(_cell, cells))
    table.show_header = False
    return table


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case _:
            return str(value)


if __name__ == "__main__":
    main()
