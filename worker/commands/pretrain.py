"""`textmill-worker pretrain`."""

from dataclasses import replace
from pathlib import Path

import click

from schema.terminal import make_console
from worker.commands.options import (
    cell_option,
    command_line,
    data_option,
    licence_option,
    resume_option,
    seed_option,
)
from worker.commands.progress import run_through
from worker.pipeline.model import Cell
from worker.training.corpus import LicenceClass
from worker.training.pretrain import PRETRAINING, Pretraining, pretrain


@click.command("pretrain")
@data_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("models/language"),
    show_default=True,
    help="Folder of the language model.",
)
@seed_option
@cell_option
@licence_option
@resume_option
def command(
    *,
    data: Path,
    out: Path,
    seed: int,
    cell: Cell,
    licence_class: LicenceClass,
    resume: bool,
) -> None:
    """Train a language model over the texts of all tasks.

    `train --start` starts from it; without --start, `train` makes one itself. Models of several
    tasks can share one.

    \b
    Examples:
      textmill-worker pretrain --data DIR
      textmill-worker train sentiment --data DIR --start models/language
    """
    chosen = Pretraining(
        data=data,
        licence_class=licence_class,
        cell=cell,
        training=replace(PRETRAINING, seed=seed),
        command=command_line(
            "pretrain", data=data, seed=seed, cell=cell, licence_class=licence_class
        ),
    )
    console = make_console(stderr=True)
    run_through(pretrain(chosen, out, resume=resume), console)
    console.print(f"{out} holds the language model; start a training from it with --start {out}")
