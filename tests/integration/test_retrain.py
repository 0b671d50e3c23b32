"""The closed loop: wrong answers, people who correct them, a better model that serves."""

import errno
import fcntl
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from producer import Textmill
from producer.feedback import Verdict, add
from producer.outcomes import outcomes
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.errors import InputError, NotLoadedError, ServiceUnavailableError
from schema.settings import IntakeSettings
from tests.fixtures.corpus import BLAME, PLAIN, PRAISE, recipe
from tests.fixtures.mill import Mill
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import Start
from tests.fixtures.shop import wait_for
from tests.fixtures.slang import SLANG, misled
from tests.fixtures.waiting import PATIENCE
from worker.artifact_folders import ArtifactFolders
from worker.pipeline.artifact import SHIPPED
from worker.registry import Registry
from worker.retraining import Retraining, retrain
from worker.training.recipe import REFINING
from worker.training.rows import KeywordsRow, LabelledRow, SentimentRow
from worker.training.run import train_artifact
from worker.training_runs import TrainingRuns

SENTIMENT = Task.SENTIMENT
RIGHT = (
    dict.fromkeys(PRAISE, "positive")
    | dict.fromkeys(BLAME, "negative")
    | dict.fromkeys(PLAIN, "neutral")
    | dict.fromkeys(SLANG, "positive")
)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def misled_artifacts(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny sentiment model that labels the slang as negative."""
    folder = tmp_path_factory.mktemp("misled")
    data = misled(data_folder, folder / "data")
    chosen = recipe(data, SENTIMENT, epochs=8)
    for _ in train_artifact(chosen, folder / "artifacts" / SENTIMENT, resume=False):
        pass
    return folder / "artifacts"


class Loop:
    """A Textmill whose workers serve the misled model, with its annotators and its trainer."""

    def __init__(self, mill: Mill, database: DatabaseUrls, artifacts: Path, data: Path) -> None:
        self.mill = mill
        self._database = database
        self._data = data
        self._variables = {
            "TEXTMILL_ARTIFACTS": str(artifacts),
            "TEXTMILL_MODELS_DIR": str(mill.logs / "models"),
        }

    def start(self) -> None:
        """Start dispatch and one worker process, and wait until it serves."""
        self.mill.dispatch()
        self.mill.workers(**self._variables)  # type: ignore[arg-type]

    def labels(self) -> tuple[JobId, dict[str, str]]:
        """Submit every text, and return the job and the label of each text."""
        with Textmill(self._database.producer) as textmill:
            documents = [Document(external_id=text, text=text) for text in RIGHT]
            job_id = textmill.submit(SENTIMENT, documents, JobOptions()).job_id
        assert self.mill.finished(job_id).succeeded == len(RIGHT)
        rows = outcomes(self.mill.engine, job_id)
        return job_id, {str(row["external_id"]): row["result"]["label"] for row in rows}  # type: ignore[index]

    def judge(self, job_id: JobId, labels: Mapping[str, str]) -> None:
        """Judge the label of every slang text, and correct the wrong ones."""
        with Textmill(self._database.producer) as textmill:
            for text in SLANG:
                agrees = labels[text] == RIGHT[text]
                textmill.add_feedback(
                    Verdict(
                        job_id=job_id,
                        external_id=text,
                        verdict="agree" if agrees else "disagree",
                        labels=None if agrees else [RIGHT[text]],
                        annotator="kim",
                    )
                )

    def retrain(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `textmill-worker retrain sentiment` in the trainer's role."""
        as_trainer = f"{self._database.owner}?options=-crole%3Dtextmill_trainer"
        return subprocess.run(
            [
                *(sys.executable, "-m", "worker.cli", "retrain", "sentiment", "--json"),
                *("--data", str(self._data), "--epochs", "60", "--learning-rate", "0.003"),
                *options,
            ],
            env=os.environ | {"TEXTMILL_DATABASE_URL": as_trainer} | self._variables,
            capture_output=True,
            check=False,
            text=True,
        )

    def serving(self) -> list[str]:
        """The sentiment model of every worker process."""
        with self.mill.engine.connect() as connection:
            return list(
                connection.scalars(
                    sa.text("select models ->> 'sentiment' from textmill.worker_status")
                )
            )


@pytest.fixture
def loop(mill: Mill, database: DatabaseUrls, misled_artifacts: Path, data_folder: Path) -> Loop:
    return Loop(mill, database, misled_artifacts, data_folder)


def judge_all(producer: sa.Engine, worker: sa.Engine) -> None:
    """Finish a job of all slang texts, and agree with every result."""
    documents = [Document(external_id=text, text=text) for text in SLANG]
    job_id = submit(
        producer,
        SENTIMENT,
        documents,
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    work_off(producer, worker, job_id, POSITIVE)
    for text in SLANG:
        add(producer, Verdict(job_id=job_id, external_id=text, verdict="agree"))


def retraining(data: Path) -> Retraining:
    return Retraining(
        task=SENTIMENT,
        data=data,
        licence_class="C",
        training=REFINING[SENTIMENT],
        replay=10,
        promotes=True,
        command="textmill-worker retrain",
    )


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def raising(error: Exception) -> Callable[..., None]:
    """A function that raises an error, whatever it is called with."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def wrong(labels: Mapping[str, str]) -> set[str]:
    return {text for text, label in labels.items() if label != RIGHT[text]}


def test_what_people_correct_is_right_the_next_time_and_nothing_else_is_worse(
    loop: Loop, engine: sa.Engine
) -> None:
    """Without it, feedback is collected in vain."""
    slang, registry = {*SLANG}, Registry(engine)
    loop.start()
    job_id, before = loop.labels()
    assert len(wrong(before) & slang) > 0.9 * len(slang)
    loop.judge(job_id, before)

    tried = loop.retrain("--no-promote")
    assert (tried.returncode, registry.promoted(SENTIMENT).version) == (0, None), tried.stderr
    done = loop.retrain()

    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    candidate = said["candidate"]
    assert (said["better"], said["promoted"]) == (True, True)
    assert candidate == json.loads(tried.stdout)["candidate"]  # the same seed, the same model
    loop.mill.until(lambda: loop.serving() == [candidate], "the candidate serves")
    _, after = loop.labels()
    assert len(wrong(after) & slang) < 0.1 * len(slang)
    assert wrong(after) - slang <= wrong(before) - slang
    model = registry.model(candidate)
    assert (model["promoted"], model["parent"]) == (True, said["parent"])
    assert model["feedback_before"] == pytest.approx(said["feedback"]["parent"])

    again = loop.retrain()

    assert again.returncode == 1, again.stderr
    left: dict[str, Any] = json.loads(again.stdout)
    assert (left["parent"], left["better"], left["promoted"]) == (candidate, False, False)
    assert "not surely better" in left["reason"]
    assert registry.promoted(SENTIMENT).version == candidate
    assert registry.model(left["candidate"])["promoted"] is False


def test_too_little_feedback_is_said(loop: Loop) -> None:
    """Without it, three verdicts make a model, and chance decides whether it serves."""
    refused = loop.retrain()

    assert refused.returncode == 2
    assert "people agree on 0 documents of sentiment, and 20 are needed" in refused.stderr
    assert refused.stdout == ""


FEW = [SentimentRow(text=f"text {n}", label="neutral") for n in range(30)]
ABSENT = [KeywordsRow(text=f"text {n}", keywords=("pump", "valve")) for n in range(300)]


@pytest.mark.parametrize(
    ("gold", "said"),
    [
        (FEW, "agree on 30 documents of sentiment, .* [1-9] are held out, .* 10 are needed"),
        (ABSENT, "agree on 300 documents of keywords, .* 0 are held out, .* 10 are needed"),
    ],
    ids=["few", "no keyword in its text"],
)
def test_few_held_out_documents_are_no_proof(
    engine: sa.Engine,
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gold: Sequence[LabelledRow],
    said: str,
) -> None:
    """Without it, a model that is equally good is promoted by chance, one time in five."""
    monkeypatch.setattr("worker.retraining.read_gold", lambda *_: gold)
    task = SENTIMENT if gold is FEW else Task.KEYWORDS
    wanted = replace(retraining(data_folder), task=task)

    with pytest.raises(InputError, match=said):
        list(retrain(wanted, engine, ArtifactFolders(SHIPPED, tmp_path / "models")))


def test_training_that_fails_leaves_a_row_that_says_so_and_no_texts(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    data_folder: Path,
    tmp_path: Path,
) -> None:
    """Without it, a night's training that failed looks as if it were still running."""
    data = shutil.copytree(data_folder, tmp_path / "data")
    (data / "sentiment" / "notes" / "valid.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    judge_all(producer_engine, worker_engine)

    with pytest.raises(InputError, match="line 1"):
        list(retrain(retraining(data), engine, ArtifactFolders(SHIPPED, tmp_path / "models")))

    with engine.connect() as connection:
        row = connection.execute(sa.text("select * from textmill.training_status")).one()
    assert (row.state, row.candidate, row.trained + row.held_out) == ("failed", None, 60)
    assert "valid.jsonl.gz, line 1" in row.error
    assert list((tmp_path / "models").iterdir()) == []


def test_full_disk_is_named_in_the_row_of_its_training(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, a night's training ended with "OSError", and nobody knows what to do."""
    models = tmp_path / "models"
    judge_all(producer_engine, worker_engine)

    def fill(_: object, out: Path, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))

    monkeypatch.setattr("worker.retraining.train_artifact", fill)
    with pytest.raises(NotLoadedError, match="No space left on device"):
        list(retrain(retraining(data_folder), engine, ArtifactFolders(SHIPPED, models)))

    with engine.connect() as connection:
        error = connection.scalar(sa.text("select error from textmill.training_status"))
    assert str(error).startswith(f"cannot write to the models folder {models} (No space left")


def test_what_went_wrong_is_said_even_if_the_database_is_away_by_then(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, a night's training ends with an outage of a minute in place of the fault."""
    judge_all(producer_engine, worker_engine)
    fault, outage = InputError("the data changed"), ServiceUnavailableError("it does not answer")
    monkeypatch.setattr("worker.retraining.train_artifact", raising(fault))
    monkeypatch.setattr(TrainingRuns, "fail", raising(outage))

    with pytest.raises(InputError, match="the data changed"):
        list(retrain(retraining(data_folder), engine, ArtifactFolders(SHIPPED, tmp_path / "m")))


def test_default_that_no_worker_serves_is_not_trained_further(
    engine: sa.Engine, data_folder: Path, tmp_path: Path
) -> None:
    """Without it, a shell that lacks a setting replaces the serving model with another's child."""
    served = "b" * 16
    Registry(engine).add(SENTIMENT, served)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into textmill.worker (worker, host, pid, device, tasks, threads, models)"
                " values ('w1', 'here', 1, 'cpu', '{sentiment}', 4, cast(:models as jsonb))"
            ),
            {"models": json.dumps({SENTIMENT: served})},
        )

    with pytest.raises(InputError, match=f"workers serve sentiment with {served}, but"):
        list(
            retrain(retraining(data_folder), engine, ArtifactFolders(SHIPPED, tmp_path / "models"))
        )


def test_models_folder_that_takes_nothing_is_told_from_a_model_that_is_no_better(
    engine: sa.Engine, data_folder: Path, tmp_path: Path
) -> None:
    """Without it, an unusable models folder has the exit code of a model that is no better."""
    models = write(tmp_path / "models")

    with pytest.raises(NotLoadedError, match=r"cannot write to the models folder .*; make room"):
        list(retrain(retraining(data_folder), engine, ArtifactFolders(SHIPPED, models)))


def test_what_killed_trainings_left_goes_and_what_living_ones_need_stays(
    engine: sa.Engine, data_folder: Path, tmp_path: Path
) -> None:
    """Without it, texts outlive their erasure, or one training removes the files of another."""
    models = tmp_path / "models"
    for name in (".retrain-killed", ".retrain-half-removed", ".retrain-alive"):
        write(models / name / "feedback" / "train.jsonl.gz")
    write(models / ".retrain-killed" / "lock")
    write(models / ".retrain-young" / "lock")
    write(models / ".retrain-nearly-removed" / "artifact" / "checkpoint")
    os.utime(models / ".retrain-nearly-removed", (0, 0))

    with write(models / ".retrain-alive" / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="people agree on 0 documents"):
            list(retrain(retraining(data_folder), engine, ArtifactFolders(SHIPPED, models)))

    assert {path.name for path in models.iterdir()} == {".retrain-alive", ".retrain-young"}
    assert (models / ".retrain-alive" / "feedback" / "train.jsonl.gz").exists()


def test_without_locks_a_retraining_goes_on_and_removes_nobody_elses_folder(
    engine: sa.Engine, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, nobody can retrain with the models folder on a file system without locks."""
    models = tmp_path / "models"
    write(models / ".retrain-other" / "feedback" / "train.jsonl.gz")
    write(models / ".retrain-other" / "lock")
    monkeypatch.setattr(fcntl, "flock", no_locks)

    with pytest.raises(InputError, match="people agree on 0 documents"):
        list(retrain(retraining(data_folder), engine, ArtifactFolders(SHIPPED, models)))

    assert [path.name for path in models.iterdir()] == [".retrain-other"]


@pytest.mark.parametrize(
    ("sent", "status", "error"),
    [
        (signal.SIGTERM, 128 + signal.SIGTERM, "SystemExit"),
        (signal.SIGKILL, -signal.SIGKILL, "it was killed"),
    ],
)
def test_training_that_is_stopped_leaves_no_texts_and_has_failed(  # noqa: PLR0913, PLR0917  # fixtures
    sent: signal.Signals,
    status: int,
    error: str,
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    database: DatabaseUrls,
    start: Start,
    artifacts: Path,
    data_folder: Path,
    tmp_path: Path,
) -> None:
    """Without it, texts that people judged remain on a disk, where no erasure finds them."""
    models = tmp_path / "models"
    judge_all(producer_engine, worker_engine)
    training = start(
        *("worker.cli", "retrain", "sentiment", "--data", str(data_folder), "--epochs", "100000"),
        TEXTMILL_DATABASE_URL=database.owner,
        TEXTMILL_ARTIFACTS=str(artifacts),
        TEXTMILL_MODELS_DIR=str(models),
    )
    wait_for(engine, "select from textmill.training_status where state = 'running'")
    other = replace(retraining(data_folder), task=Task.MODERATION)
    with pytest.raises(InputError, match="people agree on 0 documents"):
        list(retrain(other, engine, ArtifactFolders(artifacts, models)))
    assert list(models.glob(".retrain-*/feedback/*"))

    training.send_signal(sent)

    said, _ = training.communicate(timeout=PATIENCE)
    assert training.returncode == status, said
    if sent is signal.SIGKILL:  # the next training cleans up
        with pytest.raises(InputError, match="people agree on 0 documents"):
            list(retrain(other, engine, ArtifactFolders(artifacts, models)))
    assert list(models.iterdir()) == []
    with engine.connect() as connection:
        row = connection.execute(sa.text("select state, error from textmill.training_status")).one()
    assert tuple(row) == ("failed", error)
