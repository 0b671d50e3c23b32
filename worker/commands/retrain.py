"""`textmill-worker retrain`."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from schema.base import json_text
from schema.documents import Task
from schema.exit_codes import EXIT_FAILURES
from schema.settings import WorkerSettings, read
from schema.terminal import make_console
from worker.artifact_folders import ArtifactFolders
from worker.commands.database import connected
from worker.commands.options import TASK, command_line, data_option, licence_option, seed_option
from worker.commands.progress import TrainingProgress, make_repeatable
from worker.retraining import Retrained, Retraining, retrain
from worker.training.compare import shown
from worker.training.corpus import LicenceClass
from worker.training.loop import TrainingConfig
from worker.training.recipe import REFINING


@click.command("retrain")
@click.argument("task", type=TASK)
@data_option
@click.option(
    "--replay",
    type=click.IntRange(min=0),
    default=20_000,
    show_default=True,
    help="Most rows of --data to learn from again, so that they are not forgotten.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over all rows.  [default: 2]")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Highest learning rate.  [default: a quarter of the task's]",
)
@seed_option
@licence_option
@click.option(
    "--promote/--no-promote",
    "promotes",
    default=True,
    show_default=True,
    help="Promote a better model at once, or leave that to: textmill-worker models promote.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of lines.")
def command(  # noqa: PLR0913 - one parameter per option
    *,
    task: str,
    data: Path,
    replay: int,
    epochs: int | None,
    learning_rate: float | None,
    seed: int,
    licence_class: LicenceClass,
    promotes: bool,
    as_json: bool,
) -> None:
    """Train the model that serves TASK further on feedback, and promote the result if better.

    It learns from documents whose answer is settled and, so that it forgets nothing, again from a
    part of the data in --data. Three in ten judged documents are held out. The result is promoted
    if it is better on those and not worse on the data's test sets (bootstrap intervals). If it is
    not better, the exit code is 1 and the old model keeps serving.

    \b
    Examples:
      textmill-worker retrain sentiment --data DIR
      textmill-worker retrain moderation --data DIR --no-promote --json
    """
    make_repeatable()
    chosen = Task(task)
    training = _training(REFINING[chosen], seed, epochs, learning_rate)
    wanted = Retraining(
        task=chosen,
        data=data,
        licence_class=licence_class,
        training=training,
        replay=replay,
        promotes=promotes,
        command=command_line(
            "retrain",
            task,
            data=data,
            replay=replay,
            epochs=training.epochs,
            learning_rate=training.learning_rate,
            seed=seed,
            licence_class=licence_class,
        ),
    )
    folders = ArtifactFolders.of(read(WorkerSettings))
    with connected() as engine, TrainingProgress(make_console(stderr=True)) as progress:
        for report in retrain(wanted, engine, folders):
            if isinstance(report, Retrained):
                done = report
            else:
                progress.show(report)
    click.echo(_json_line(done) if as_json else "\n".join(_lines(done)))
    if not done.decision.better:
        sys.exit(EXIT_FAILURES)


def _training(
    usual: TrainingConfig, seed: int, epochs: int | None, learning_rate: float | None
) -> TrainingConfig:
    chosen = epochs or usual.epochs
    return replace(
        usual,
        seed=seed,
        epochs=chosen,
        patience=chosen,  # epochs are few, and the rate falls to zero with the last one
        learning_rate=learning_rate or usual.learning_rate,
    )


def _json_line(done: Retrained) -> str:
    fields = {
        "run_id": done.run_id,
        "task": done.run.task,
        "parent": done.run.parent,
        "candidate": done.candidate,
        **done.decision._asdict(),
        "trained": done.run.trained,
        "held_out": done.run.held_out,
        **done.comparisons.model_dump(),
    }
    return json_text(fields)


def _lines(done: Retrained) -> list[str]:
    decision = done.decision
    verdict = "is promoted" if decision.promoted else "is not promoted"
    return [
        f"{'held-out feedback':<24} {shown(done.comparisons.feedback)}",
        *(f"{name:<24} {shown(compared)}" for name, compared in done.comparisons.sets.items()),
        f"{'mean of the test sets':<24} {shown(done.comparisons.elsewhere)}",
        f"{done.candidate}, from {done.run.parent}, {verdict}: {decision.reason}",
    ]
