"""What is shown of jobs on a terminal."""

from collections.abc import Callable, Iterable
from typing import Final

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from producer.client import Textmill
from producer.jobs import JobStatus
from producer.workers import any_alive
from schema.settings import ServiceSettings, read
from schema.states import RUNNABLE_JOB_STATES
from schema.terminal import Columns, cell, fitting, fitting_table, make_console, printable


def _count(count: float) -> str:
    return f"{count:,.0f}"


def _failed(job: JobStatus) -> str:
    rejected = f", of these rejected: {_count(job.rejected)}" if job.rejected else ""
    return f"{_count(job.failed)}{rejected}"


_TextOf = Callable[[JobStatus], str]

COLUMNS: Final[dict[str, _TextOf]] = {
    "job_id": lambda job: str(job.job_id),
    "task": lambda job: job.task,
    "name": lambda job: job.name or "",
    "state": lambda job: job.state,
    "accepted": lambda job: _count(job.accepted),
    "succeeded": lambda job: _count(job.succeeded),
    "failed": lambda job: _count(job.failed),
    "cancelled": lambda job: _count(job.cancelled),
    "pending": lambda job: _count(job.pending),
    "percent": lambda job: f"{job.percent:.1f}",
    "per second": lambda job: _count(job.documents_per_second) if job.documents_per_second else "",
    "created_at": lambda job: cell(job.created_at),
    "eta": lambda job: cell(job.eta),
}
"""What `textmill status` shows of a job, by column."""

LINES: Final[dict[str, _TextOf]] = {
    "job_id": COLUMNS["job_id"],
    "name": COLUMNS["name"],
    "task": COLUMNS["task"],
    "lane": lambda job: job.lane,
    "weight": lambda job: str(job.weight) if job.weight > 1 else "",
    "model_version": lambda job: job.model_version or "",
    "idempotency_key": lambda job: job.idempotency_key or "",
    "state": COLUMNS["state"],
    "accepted": COLUMNS["accepted"],
    "succeeded": COLUMNS["succeeded"],
    "failed": _failed,
    "cancelled": COLUMNS["cancelled"],
    "pending": COLUMNS["pending"],
    "percent": COLUMNS["percent"],
    "per second": COLUMNS["per second"],
    "submitted_by": lambda job: job.submitted_by,
    "created_at": COLUMNS["created_at"],
    "started_at": lambda job: cell(job.started_at),
    "finished_at": lambda job: cell(job.finished_at),
    "deadline_at": lambda job: cell(job.deadline_at),
    "eta": COLUMNS["eta"],
}
"""What is shown of one job, by line, if a table of it would leave columns out."""

TELL_EVERY: Final = 30
"""Seconds between lines of progress if no terminal shows any, and until missing workers are
reported."""

_COLUMNS: Final = Columns(
    names=tuple(COLUMNS),
    dispensable=(
        "per second",
        "cancelled",
        "eta",
        "succeeded",
        "created_at",
        "name",
        "accepted",
        "pending",
        "task",
    ),
    right=[name for name in COLUMNS if name not in ("job_id", "task", "name", "state")],
    longest={"name": 20},
)

console = make_console(stderr=True)
"""Where progress and messages go; data goes to standard output."""


def say(line: str) -> None:
    """Print a line for people as it is: neither wrapped nor coloured."""
    console.print(printable(line), highlight=False, soft_wrap=True)


def progress_line(job: JobStatus) -> str:
    """How far a job is, for logs."""
    done = f"{_count(job.accepted - job.pending)} of {_count(job.accepted)} documents done"
    return f"{job.state}, {done}, {_count(job.documents_per_second or 0)} a second"


def tell_if_nothing_runs(textmill: Textmill, statuses: Iterable[JobStatus]) -> None:
    """Say so if a job cannot continue because no worker is alive: its state does not show it."""
    waits = any(status.state in RUNNABLE_JOB_STATES for status in statuses)
    if waits and not any_alive(textmill.engine):
        # `textmill-worker run` looks for no embedded stack.
        own_servers = read(ServiceSettings).database_url is not None
        start = "textmill-worker run" if own_servers else "textmill up"
        say(f"no worker process is alive; start some with: {start}")


def status_table(statuses: Iterable[JobStatus], width: int) -> Table:
    """Jobs as a table, one per row; if it is too wide, the least important columns are left out.

    Args:
        statuses: the jobs.
        width: characters of a line.
    """
    return fitting_table(map(_cells, statuses), _COLUMNS, width)


def job_view(status: JobStatus, console: Console) -> RenderableType:
    """One job as a table on a terminal that is wide enough, or else line by line, which says more.

    Args:
        status: the job.
        console: where it is shown.
    """
    whole = fitting([_cells(status)], _COLUMNS, console.width) == list(_COLUMNS.names)
    if console.is_terminal and whole:
        return status_table([status], console.width)
    lines = Table.grid(padding=(0, 2))
    for name, text_of in LINES.items():
        if text := text_of(status):
            lines.add_row(f"{name}:", printable(text))
    return lines


def _cells(job: JobStatus) -> dict[str, str]:
    return {name: text_of(job) for name, text_of in COLUMNS.items()}


def job_progress() -> Progress:
    """A progress bar for documents of a job; shown only on a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("documents"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
