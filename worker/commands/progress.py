"""Running a training in a command, and showing its progress."""

from collections.abc import Iterable
from typing import Self

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from worker.training.loop import EpochReport, StepReport
from worker.training.run import Finished, Report


def run_through(reports: Iterable[Report], console: Console) -> None:
    """Run the training that yields `reports`, and show its progress."""
    make_repeatable()
    with TrainingProgress(console) as progress:
        for report in reports:
            progress.show(report)


def make_repeatable() -> None:
    """Use one thread, so that a seed always gives the same weights: the order of sums matters."""
    torch.set_num_threads(1)


class TrainingProgress:
    """A progress bar on a terminal, and one line per epoch everywhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._row: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, report: Report) -> None:
        """Show a report of the training."""
        match report:
            case StepReport():
                self._step(report)
            case EpochReport():
                mark = ", best so far" if report.best else ""
                self._console.print(
                    f"epoch {report.epoch}: loss {report.loss:.4f}, "
                    f"validation {report.score:.4f}{mark}"
                )
            case Finished():
                self._console.print(f"model version {report.card.model_version}")
            case str():
                self._console.print(report)

    def _step(self, report: StepReport) -> None:
        if self._row is None:
            self._row = self._progress.add_task("", total=None, loss=report.loss)
        self._progress.update(
            self._row,
            description=f"epoch {report.epoch}",
            completed=report.step,
            total=report.steps,
            loss=report.loss,
        )
