"""`textmill-worker models`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from schema.base import json_line
from schema.documents import Task
from schema.settings import WorkerSettings, read
from schema.terminal import Columns, cell, fitting_table, make_console, printable
from worker.artifact_folders import ArtifactFolders
from worker.commands.database import connected
from worker.commands.options import TASK, json_option
from worker.pipeline.artifact import read_config
from worker.registry import Registry

DEFAULT = "default"
"""Names the model that a worker serves while none is promoted."""

COLUMNS = Columns(
    names=(
        "task",
        "model_version",
        "promoted",
        "workers",
        "parent",
        "feedback_before",
        "feedback_after",
        "elsewhere_change",
        "added_at",
    ),
    dispensable=(
        "parent",
        "elsewhere_change",
        "feedback_before",
        "feedback_after",
        "added_at",
        "workers",
    ),
)
"""What `textmill-worker models list` shows of a model."""


@click.group("models")
def command() -> None:
    """List, add, promote and roll back models."""


@command.command("list")
@click.argument("task", type=TASK, required=False)
@json_option
def list_(*, task: str | None, as_json: bool) -> None:
    """List the models of TASK, or of all tasks, newest first.

    \b
    Examples:
      textmill-worker models list
      textmill-worker models list sentiment --json
    """
    with connected() as engine:
        models = Registry(engine).models(Task(task) if task else None)
    if as_json:
        _print_json(models)
        return
    defaults = _defaults_in_use(models)
    rows = [
        model | ({"promoted": DEFAULT} if model["model_version"] in defaults else {})
        for model in models
    ]
    cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
    console = make_console()
    console.print(fitting_table(cells, COLUMNS, console.width))


@command.command("show", short_help="Show a model, its training and its promotions.")
@click.argument("version")
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of lines.")
def show(*, version: str, as_json: bool) -> None:
    """Show a model: where it comes from, how its training went, when it was promoted.

    The first 8 characters of VERSION are enough if only one model has them.

    \b
    Example:
      textmill-worker models show 5c1f0e8d2b7a9463
    """
    with connected() as engine:
        model = Registry(engine).model(version)
    if as_json:
        _print_json([model])
        return
    click.echo(printable("\n".join(_lines(model))))


@command.command("add", short_help="Copy an artifact into the models folder.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of the version.")
def add(*, folder: Path, as_json: bool) -> None:
    """Copy the artifact in FOLDER into the models folder, so that it can be promoted or pinned.

    \b
    Example:
      textmill-worker models add models/sentiment
    """
    with connected() as engine:
        task = read_config(folder).model.task
        version = _folders().add(folder)
        Registry(engine).add(task, version)
    if as_json:
        _print_json([{"task": task, "model_version": version}])
    else:
        click.echo(version)


@command.command("promote", short_help="Have workers serve a task with a model.")
@click.argument("task", type=TASK)
@click.argument("version")
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of a line.")
def promote(*, task: str, version: str, as_json: bool) -> None:
    """Have workers serve TASK with model VERSION; `default` is each worker's default.

    The model is loaded here first, so a broken one is refused. Running workers follow within
    seconds. The first 8 characters of VERSION are enough if only one model has them.

    \b
    Examples:
      textmill-worker models promote sentiment 5c1f0e8d2b7a9463
      textmill-worker models promote sentiment default
    """
    chosen = None if version == DEFAULT else version
    with connected() as engine:
        registry = Registry(engine)
        if chosen is not None:
            chosen = str(registry.model(chosen)["model_version"])
            _folders().load(Task(task), chosen, "cpu")
        registry.promote(Task(task), chosen)
    _announce(task, chosen, as_json=as_json)


@command.command("rollback", short_help="Have workers serve the previous model.")
@click.argument("task", type=TASK)
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of a line.")
def rollback(*, task: str, as_json: bool) -> None:
    """Have workers serve TASK with the model promoted before; repeat it to go back further.

    That model is loaded here first. If it cannot be, nothing changes: promote another one.

    \b
    Example:
      textmill-worker models rollback sentiment
    """
    with connected() as engine:
        registry = Registry(engine)
        previous = registry.previous(Task(task))
        if previous is not None:
            _folders().load(Task(task), previous, "cpu")
        version = registry.rollback(Task(task))
    _announce(task, version, as_json=as_json)


def _defaults_in_use(models: Sequence[Mapping[str, object]]) -> set[str | None]:
    """The default versions of the tasks that have no promoted model."""
    chosen = {model["task"] for model in models if model["promoted"]}
    return {_folders().default_version(task) for task in Task if task not in chosen}


def _folders() -> ArtifactFolders:
    return ArtifactFolders.of(read(WorkerSettings))


def _announce(task: str, version: str | None, *, as_json: bool) -> None:
    if as_json:
        _print_json([{"task": task, "model_version": version}])
    else:
        click.echo(f"{task} is served by {version or 'the default of each worker'}")


def _print_json(rows: Sequence[Mapping[str, object]]) -> None:
    for row in rows:
        click.echo(json_line(row))


def _lines(fields: Mapping[str, object]) -> list[str]:
    """A line for each field that is not empty; fields of a nested object are indented."""
    lines: list[str] = []
    for name, value in fields.items():
        match value:
            case None | []:
                continue
            case Mapping():
                lines += [f"{name}:", *(f"  {line}" for line in _lines(value))]
            case list():
                lines.append(f"{name}:")
                for item in value:
                    first, *others = _lines(item)
                    lines += [f"  - {first}", *(f"    {line}" for line in others)]
            case False:
                lines.append(f"{name}: no")
            case _:
                lines.append(f"{name}: {_cell(value)}")
    return lines


def _cell(value: object) -> str:
    match value:
        case float():
            return f"{value:.3g}"
        case _:
            return cell(value)
