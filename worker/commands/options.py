"""What several commands share: options, and how their artifact is opened."""

import shlex
from pathlib import Path
from typing import Final, get_args

import click

from schema.documents import Task
from worker.artifact_folders import load_artifact
from worker.pipeline import Pipeline
from worker.pipeline.artifact import SHIPPED
from worker.pipeline.model import Cell
from worker.training.corpus import LicenceClass

TASK: Final = click.Choice([task.value for task in Task])

artifact_option = click.option(
    "--artifact",
    type=click.Path(path_type=Path),
    help="Folder of the model.  [default: the one that ships]",
)
data_option = click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with TASK/SOURCE/{train,valid,test}.jsonl.gz.",
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed; runs are repeatable.",
)
cell_option = click.option(
    "--cell",
    type=click.Choice(get_args(Cell)),
    default="gru",
    show_default=True,
    help="Kind of recurrent cell.",
)
licence_option = click.option(
    "--licence-class",
    type=click.Choice(get_args(LicenceClass)),
    default="C",
    show_default=True,
    help="Least permissive licence class to use: A permissive sources only, C all.",
)
resume_option = click.option(
    "--resume", is_flag=True, help="Continue after the last whole epoch in --out."
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON Lines instead of a table.")


def command_line(name: str, *arguments: str, **options: object) -> str:
    """The command line that repeats a run.

    Args:
        name: name of the subcommand.
        arguments: its arguments, in order.
        options: its options: True for a flag, a tuple for an option that is given several times;
            None and False are left out.
    """
    parts = ["textmill-worker", name, *arguments]
    for option, value in options.items():
        for one in value if isinstance(value, tuple) else (value,):
            if one is None or one is False:
                continue
            parts.append(f"--{option.replace('_', '-')}")
            if one is not True:
                parts.append(str(one))
    return shlex.join(parts)


def open_pipeline(task: Task, artifact: Path | None) -> Pipeline:
    """Load the artifact, or the one that ships.

    Raises:
        ArtifactError: it is missing, broken, or another task's.
        NotLoadedError: memory or file system failed while it was loaded.
    """
    return load_artifact(artifact or SHIPPED / task, "cpu", task)
