"""How statuses and outcomes look on a terminal."""

from collections.abc import Iterable
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from producer.jobs import JobStatus

WIDE = 160
"""Columns of output that goes to a file or a pipe."""


def make_console(*, stderr: bool) -> Console:
    """A console that is wide enough for a table also where it is no terminal.

    It prints what it is given: names and texts of people are no markup.
    """
    make = partial(Console, stderr=stderr, markup=False, emoji=False)
    console = make()
    return console if console.is_terminal else make(width=WIDE)


console = make_console(stderr=True)
"""Where progress and messages go; data goes to standard output."""


def say(line: str) -> None:
    """Print a line for people as it is: neither wrapped nor coloured."""
    console.print(line, highlight=False, soft_wrap=True)


def status_table(statuses: Iterable[JobStatus]) -> Table:
    """Jobs as a table, one a row."""
    table = Table(box=None, pad_edge=False)
    for name in ("job_id", "task", "name", "state"):
        table.add_column(name, no_wrap=name == "job_id")
    for name in ("accepted", "succeeded", "failed", "cancelled", "pending", "percent"):
        table.add_column(name, justify="right")
    table.add_column("created_at", no_wrap=True)
    for status in statuses:
        table.add_row(
            str(status.job_id),
            status.task,
            status.name or "",
            status.state,
            *(
                f"{count:,}"
                for count in (
                    status.accepted,
                    status.succeeded,
                    status.failed,
                    status.cancelled,
                    status.pending,
                )
            ),
            f"{status.percent:.1f}",
            f"{status.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
        )
    return table


def job_progress() -> Progress:
    """A progress bar for documents of a job; shown only on a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} documents"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
