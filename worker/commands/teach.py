"""`textmill-worker teach`."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import click

from schema.documents import Task
from schema.outcomes import Language
from schema.terminal import make_console
from worker.commands.options import (
    command_line,
    data_option,
    licence_option,
    resume_option,
    seed_option,
)
from worker.commands.progress import run_through
from worker.training.corpus import LicenceClass
from worker.training.recipe import Recipe
from worker.training.teacher import TEACHING, Teaching, teach


@click.command("teach")
@click.argument("task", type=click.Choice([Task.SENTIMENT.value, Task.MODERATION.value]))
@data_option
@click.option(
    "--transformer",
    required=True,
    help="Folder of an encoder that the transformers library reads, or its name on a hub.",
)
@click.option(
    "--language",
    type=click.Choice(get_args(Language)),
    default="en",
    show_default=True,
    help="Language that it reads; texts in others are left out.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the soft labels.  [default: models/TASK-teacher-LANGUAGE]",
)
@seed_option
@licence_option
@click.option(
    "--unlabelled",
    is_flag=True,
    help="Sentiment only: also judge texts of the other tasks and excerpts, for `train` to learn.",
)
@resume_option
def command(  # noqa: PLR0913 - one parameter per option
    *,
    task: str,
    data: Path,
    transformer: str,
    language: Language,
    out: Path | None,
    seed: int,
    licence_class: LicenceClass,
    unlabelled: bool,
    resume: bool,
) -> None:
    """Have a transformer say how likely each label of a training text holds.

    It is fine-tuned on the labelled texts of one language. Its answers on them are soft labels,
    which `train --soft-labels` learns along with the labels. The transformer itself never serves.
    Needs the extra `teacher`.

    \b
    Examples:
      textmill-worker teach sentiment --data DIR --transformer DIR
      textmill-worker teach moderation --data DIR --transformer DIR --language zh
      textmill-worker train sentiment --data DIR --soft-labels FOLDER
    """
    chosen = Task(task)
    folder = out or Path("models") / f"{task}-teacher-{language}"
    recipe = Recipe(
        task=chosen,
        data=data,
        licence_class=licence_class,
        cell="gru",
        training=replace(TEACHING, seed=seed),
        command=command_line(
            "teach",
            task,
            data=data,
            transformer=transformer,
            language=language,
            seed=seed,
            licence_class=licence_class,
            unlabelled=unlabelled,
        ),
    )
    console = make_console(stderr=True)
    teaching = Teaching(recipe, transformer, language, unlabelled)
    run_through(teach(teaching, folder, resume=resume), console)
    console.print(f"{folder} holds the soft labels; learn them with train --soft-labels {folder}")
