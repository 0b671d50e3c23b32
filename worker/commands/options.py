"""What several commands take."""

from pathlib import Path
from typing import Final

import click

from schema.documents import Task
from schema.errors import ArtifactError
from worker.pipeline import Pipeline
from worker.pipeline.artifact import SHIPPED

TASK: Final = click.Choice([task.value for task in Task])

artifact_option = click.option(
    "--artifact",
    type=click.Path(path_type=Path),
    help="Folder of the model.  [default: the one that ships]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON Lines instead of a table.")


def open_pipeline(task: Task, artifact: Path | None) -> Pipeline:
    """Load the artifact, or the one that ships.

    Raises:
        ArtifactError: it is missing, broken, or another task's.
    """
    folder = artifact or SHIPPED / task
    pipeline = Pipeline.load(folder, "cpu")
    if pipeline.task is not task:
        msg = f"{folder} is a model for {pipeline.task}, not for {task}; name another folder"
        raise ArtifactError(msg)
    return pipeline
