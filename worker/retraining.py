"""From people's verdicts to a better model: gold, training, comparison, promotion."""

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from schema.documents import Task
from schema.errors import InputError, ServiceUnavailableError, TextmillError
from worker.artifact_folders import ArtifactFolders, written
from worker.folders import locked
from worker.gold import read_gold
from worker.pipeline import Pipeline
from worker.pipeline.artifact import read_config
from worker.registry import Registry
from worker.training.compare import Comparisons, compare
from worker.training.corpus import LicenceClass, data_hash
from worker.training.extend import Extension, extend
from worker.training.feedback import Feedback, write_source
from worker.training.generator import TRAINING
from worker.training.loop import TrainingConfig
from worker.training.measures import present_keywords
from worker.training.recipe import Recipe
from worker.training.rows import KeywordsRow, LabelledRow
from worker.training.run import Report, train_artifact
from worker.training_runs import Decision, RunKey, TrainingRun, TrainingRuns

LEAST_JUDGED: Final = 20
"""Fewest judged documents; with fewer, there would be too little to learn from."""
LEAST_HELD_OUT: Final = 10
"""Fewest judged documents that are held out and can be right or wrong; with fewer, chance would
often seem surely better."""
_ASIDE: Final = ".retrain-"
"""Prefix of the folders in which trainings keep their working files."""
_FEEDBACK: Final = "feedback"
_LOCK: Final = "lock"
"""A file that its training keeps locked."""
_YOUNG: Final = 3600
"""Seconds for which a folder without feedback is taken for one that is just being made."""
_RUN: Final = "run"
"""A file with the number of the training and the time at which it started."""


@dataclass(frozen=True, slots=True)
class Retraining:
    """What a retraining is to do.

    Attributes:
        task: the model's task.
        data: folder with the data that is replayed and the fixed test sets.
        licence_class: sources beyond this class are left out.
        training: settings for training the network further.
        replay: most rows of that data to learn from again.
        promotes: whether the candidate is promoted if it is better.
        command: written to the card.
    """

    task: Task
    data: Path
    licence_class: LicenceClass
    training: TrainingConfig
    replay: int
    promotes: bool
    command: str


@dataclass(frozen=True, slots=True)
class Retrained:
    """What a retraining produced.

    Attributes:
        run_id: number of the training.
        run: what was known of it when it began.
        candidate: version of the model that it made.
        comparisons: how the candidate compares with its parent.
        decision: what becomes of the candidate.
    """

    run_id: int
    run: TrainingRun
    candidate: str
    comparisons: Comparisons
    decision: Decision


def retrain(
    wanted: Retraining, database: sa.Engine, folders: ArtifactFolders
) -> Iterator[Report | Retrained]:
    """Train the serving model on feedback, and promote the candidate if it compares better.

    Args:
        wanted: what to do.
        database: connects as a role that may read feedback and promote.
        folders: where the serving model is found, and where the candidate is put.

    Yields:
        The reports of the training, and last what it produced.

    Raises:
        ArtifactError: the serving model is not found here.
        NotLoadedError: the models folder cannot be written to.
        InputError: too few documents are judged, the data is missing or broken, or nothing is
            promoted and a worker serves another model than the default found here.
    """
    registry, runs = Registry(database), TrainingRuns(database)
    serving = registry.promoted(wanted.task)
    start = folders.find(wanted.task, serving.version)
    parent = folders.load(wanted.task, serving.version, "cpu")
    if serving.version is None:
        _check_default(registry.served(wanted.task), wanted.task, parent.model_version)
    registry.add(wanted.task, parent.model_version)
    with written(folders.models), _aside(folders.models, runs) as aside:
        recipe = _recipe(wanted, database, start, aside / _FEEDBACK)
        run = _run_of(wanted, recipe, parent)
        key = runs.begin(run)
        try:
            with written(folders.models):  # so that the run's row says what to do
                (aside / _RUN).write_text(f"{key.run_id} {key.started_at.isoformat()}")
                yield from train_artifact(recipe, aside / "artifact", resume=False)
                if parent.generates:
                    yield from _extended(recipe, aside / "artifact")
                yield "comparing with the model that serves"
                candidate = folders.add(aside / "artifact")
            comparisons = _compare(recipe, parent, folders.load(wanted.task, candidate, "cpu"))
            instead_of = serving if wanted.promotes else None
            decision = runs.finish(key.run_id, run, candidate, comparisons, instead_of)
        except BaseException as error:
            with suppress(ServiceUnavailableError):  # what went wrong before says more
                runs.fail(key, error)
            raise
    yield Retrained(key.run_id, run, candidate, comparisons, decision)


def _check_default(served: Iterable[str], task: Task, default: str) -> None:
    others = [version for version in served if version != default]
    if others:
        msg = (
            f"workers serve {task} with {', '.join(others)}, but the default here is {default};"
            " set TEXTMILL_ARTIFACTS as it is for the workers, or promote a model"
        )
        raise InputError(msg)


@contextmanager
def _aside(models: Path, runs: TrainingRuns) -> Iterator[Path]:
    """Yield a folder in the models folder, for its owner only, since feedback holds people's texts.

    Folders left behind by trainings that were killed are removed, and these trainings are marked as
    failed; a lock shows that a training is alive.
    """
    models.mkdir(parents=True, exist_ok=True)
    for other in models.glob(f"{_ASIDE}*"):
        if not _lives(other):
            with suppress(FileNotFoundError, ValueError):  # killed before the file was complete
                run_id, started_at = (other / _RUN).read_text().split()
                key = RunKey(int(run_id), datetime.fromisoformat(started_at))
                runs.fail(key, TextmillError("it was killed"))
            shutil.rmtree(other, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(dir=models, prefix=_ASIDE) as name,
        locked(Path(name) / _LOCK),  # without locks, no training removes another's folder
    ):
        yield Path(name)


def _lives(aside: Path) -> bool:
    """Whether the training of a folder is still running; True if that cannot be told."""
    with suppress(FileNotFoundError):  # another training has just removed it
        if time.time() - aside.stat().st_mtime < _YOUNG and not (aside / _FEEDBACK).exists():
            return True  # perhaps it is not locked yet; feedback is written after that
    try:
        with (aside / _LOCK).open("r+b") as lock:  # over NFS, a lock requires write access
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # an earlier removal was interrupted
        return False
    except OSError:  # locked, owned by another login, or on a file system without locks
        return True
    return False


def _extended(recipe: Recipe, artifact: Path) -> Iterator[Report]:
    """Train another generator, since the old one was made for the parent's encoder."""
    training = replace(TRAINING, seed=recipe.training.seed)
    extension = Extension(artifact, replace(recipe, training=training))
    yield from extend(extension, artifact, resume=False)


def _recipe(wanted: Retraining, database: sa.Engine, start: Path, folder: Path) -> Recipe:
    gold = read_gold(database, wanted.task)
    source = write_source(folder, wanted.task, gold)
    held_out = sum(map(_decides, source.rows("test")))
    if len(gold) < LEAST_JUDGED or held_out < LEAST_HELD_OUT or not source.rows("train"):
        msg = (
            f"people agree on {len(gold)} documents of {wanted.task}, and {LEAST_JUDGED} are"
            f" needed; {held_out} are held out, about three in ten, and {LEAST_HELD_OUT} are"
            " needed; textmill.feedback_status shows which are disputed"
        )
        raise InputError(msg)
    recipe = Recipe(
        task=wanted.task,
        data=wanted.data,
        licence_class=wanted.licence_class,
        cell=read_config(start).model.cell,
        training=wanted.training,
        command=wanted.command,
        start=start,
        feedback=Feedback(source, wanted.replay),
    )
    *original, _ = recipe.sets("test")
    if not any(rows for _, rows in original):
        msg = (
            f"{wanted.data} has no test set of {wanted.task} beyond what was judged,"
            " so nothing would show what got worse"
        )
        raise InputError(msg)
    return recipe


def _decides(row: LabelledRow) -> bool:
    """Whether a held-out row says which model is better: keywords are found only in their text."""
    return not isinstance(row, KeywordsRow) or bool(present_keywords(row))


def _run_of(wanted: Retraining, recipe: Recipe, parent: Pipeline) -> TrainingRun:
    source = recipe.sources()[-1]
    return TrainingRun(
        task=wanted.task,
        parent=parent.model_version,
        options={
            "seed": wanted.training.seed,
            "epochs": wanted.training.epochs,
            "learning_rate": wanted.training.learning_rate,
            "replay": wanted.replay,
            "licence_class": wanted.licence_class,
        },
        data_hash=data_hash([*recipe.sources(), *recipe.ordinary_sources()]),
        trained=len(source.rows("train")) + len(source.rows("valid")),
        held_out=len(source.rows("test")),
    )


def _compare(recipe: Recipe, parent: Pipeline, candidate: Pipeline) -> Comparisons:
    *original, (_, held_out) = recipe.sets("test")
    sets = {source.name: rows for source, rows in original if rows}
    return compare(parent, candidate, held_out, sets)
