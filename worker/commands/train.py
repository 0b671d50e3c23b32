"""`textmill-worker train`."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Self

import click
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

from schema.documents import Task
from worker.commands.options import TASK
from worker.pipeline.model import Cell
from worker.training.corpus import LicenceClass
from worker.training.loop import EpochReport, StepReport
from worker.training.recipe import TRAINING, Recipe
from worker.training.run import Finished, train_artifact


@click.command("train")
@click.argument("task", type=TASK)
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with TASK/SOURCE/{train,valid,test}.jsonl.gz.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the artifact.  [default: models/TASK]",
)
@click.option("--seed", default=0, show_default=True, help="The same seed, the same artifact.")
@click.option(
    "--cell",
    type=click.Choice(["rnn", "lstm", "gru"]),
    default="gru",
    show_default=True,
    help="Kind of recurrent cell.",
)
@click.option(
    "--licence-class",
    type=click.Choice(["A", "B", "C"]),
    default="C",
    show_default=True,
    help="Least permissive licence of the sources: A permissive ones only, C all.",
)
@click.option("--resume", is_flag=True, help="Go on after the last whole epoch in --out.")
def command(  # noqa: PLR0913 - one parameter an option
    *,
    task: str,
    data: Path,
    out: Path | None,
    seed: int,
    cell: Cell,
    licence_class: LicenceClass,
    resume: bool,
) -> None:
    """Train a model for TASK and write its artifact.

    The best weights on validation are kept, calibrated, and measured once on every test split;
    the figures go to the artifact's card.

    \b
    Examples:
      textmill-worker train sentiment --data ../shared/data
      textmill-worker train moderation --data ../shared/data --licence-class A --out permissive
      textmill-worker train keywords --data ../shared/data --resume
    """  # noqa: D301 - click's mark for an example that keeps its lines
    # Sums in another order give other weights: one thread makes a training repeatable.
    torch.set_num_threads(1)
    chosen = Task(task)
    folder = out or Path("models") / task
    arguments = ["--seed", str(seed), "--cell", cell, "--licence-class", licence_class]
    recipe = Recipe(
        task=chosen,
        data=data,
        licence_class=licence_class,
        cell=cell,
        training=replace(TRAINING[chosen], seed=seed),
        command=shlex.join(["textmill-worker", "train", task, "--data", str(data), *arguments]),
    )
    console = Console(stderr=True)
    with _Bar(console) as bar:
        for report in train_artifact(recipe, folder, resume=resume):
            bar.show(report)
    console.print(f"{folder} holds the artifact; its figures are in {folder / 'CARD.md'}")


class _Bar:
    """Progress on a terminal, a line an epoch everywhere."""

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

    def show(self, report: StepReport | EpochReport | Finished | str) -> None:
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
