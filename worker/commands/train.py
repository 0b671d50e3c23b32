"""`textmill-worker train`."""

from dataclasses import replace
from pathlib import Path

import click

from schema.documents import Task
from schema.terminal import make_console
from worker.commands.options import (
    TASK,
    cell_option,
    command_line,
    data_option,
    licence_option,
    resume_option,
    seed_option,
)
from worker.commands.progress import run_through
from worker.pipeline.artifact import CONFIG
from worker.pipeline.model import Cell
from worker.training.corpus import LicenceClass
from worker.training.recipe import REFINING, TRAINING, Recipe
from worker.training.run import train_artifact
from worker.training.soft_labels import SoftLabels
from worker.training.start import Start


@click.command("train")
@click.argument("task", type=TASK)
@data_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the artifact.  [default: models/TASK]",
)
@seed_option
@cell_option
@licence_option
@click.option(
    "--start",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a language model or artifact to start from.  [default: train a language model]",
)
@click.option(
    "--soft-labels",
    "soft_labels",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that `teach` made, learned along with the labels; once for each teacher.",
)
@resume_option
def command(  # noqa: PLR0913 - one parameter per option
    *,
    task: str,
    data: Path,
    out: Path | None,
    seed: int,
    cell: Cell,
    licence_class: LicenceClass,
    start: Path | None,
    soft_labels: tuple[Path, ...],
    resume: bool,
) -> None:
    """Train a model for TASK and write its artifact.

    It starts from a language model over the texts of all tasks, or from what --start names. An
    artifact is refined gently, so that your own labels improve the model that ships. The weights
    that are best on validation are kept, calibrated and measured once on every test split; the
    figures go to the artifact's card.

    \b
    Examples:
      textmill-worker train sentiment --data DIR
      textmill-worker train moderation --data DIR --licence-class A
      textmill-worker train keywords --data DIR --resume
      textmill-worker train sentiment --data my-labels --start my-model
    """
    chosen = Task(task)
    folder = out or Path("models") / task
    refines = start is not None and (start / CONFIG).is_file()
    if start is not None:
        Start.load(start).check(licence_class)
    training = (REFINING if refines else TRAINING)[chosen]
    recipe = Recipe(
        task=chosen,
        data=data,
        licence_class=licence_class,
        cell=cell,
        training=replace(training, seed=seed),
        command=command_line(
            "train",
            task,
            data=data,
            seed=seed,
            cell=cell,
            licence_class=licence_class,
            start=start,
            soft_labels=soft_labels,
        ),
        start=start,
        soft_labels=tuple(SoftLabels.load(taught, chosen, licence_class) for taught in soft_labels),
    )
    console = make_console(stderr=True)
    run_through(train_artifact(recipe, folder, resume=resume), console)
    console.print(f"{folder} holds the artifact; its figures are in {folder / 'CARD.md'}")
