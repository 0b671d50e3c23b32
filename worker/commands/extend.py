"""`textmill-worker extend`."""

from dataclasses import replace
from pathlib import Path

import click

from schema.documents import Task
from schema.terminal import make_console
from worker.commands.options import (
    artifact_option,
    command_line,
    data_option,
    licence_option,
    resume_option,
    seed_option,
)
from worker.commands.progress import run_through
from worker.pipeline.artifact import SHIPPED, read_config
from worker.training.corpus import LicenceClass
from worker.training.extend import Extension, extend
from worker.training.generator import TRAINING
from worker.training.recipe import Recipe


@click.command("extend")
@data_option
@artifact_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("models") / Task.KEYWORDS,
    show_default=True,
    help="Folder of the model with its generator.",
)
@seed_option
@licence_option
@resume_option
def command(
    *,
    data: Path,
    artifact: Path | None,
    out: Path,
    seed: int,
    licence_class: LicenceClass,
    resume: bool,
) -> None:
    """Add a generator to a keywords model: it makes keywords that the text does not contain.

    It learns from keywords that do not occur in their texts. The tagger and the ranker stay as they
    are, but the model version changes. The weights that are best on validation are kept, calibrated
    and measured once on every test split; the figures go to the model's card.

    \b
    Examples:
      textmill-worker extend --data DIR
      textmill-worker extend --data my-labels --artifact my-model --out my-model
      textmill-worker extend --data DIR --resume
    """
    folder = artifact or SHIPPED / Task.KEYWORDS
    recipe = Recipe(
        task=Task.KEYWORDS,
        data=data,
        licence_class=licence_class,
        cell=read_config(folder).model.cell,
        training=replace(TRAINING, seed=seed),
        command=command_line(
            "extend", data=data, seed=seed, licence_class=licence_class, artifact=artifact
        ),
    )
    console = make_console(stderr=True)
    run_through(extend(Extension(folder, recipe), out, resume=resume), console)
    console.print(f"{out} holds the artifact; its figures are in {out / 'CARD.md'}")
