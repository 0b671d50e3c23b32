"""The models that a process has loaded."""

import json
import logging
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from errno import ENOSPC
from pathlib import Path

import pytest
import torch

from schema.documents import Lane, Task
from schema.errors import ArtifactError, NotLoadedError, exit_code
from schema.exit_codes import EXIT_UNREACHABLE
from tests.fixtures.engines import engine_of
from tests.fixtures.variants import damage, shipped_version, variant
from worker import process
from worker.artifact_folders import ArtifactFolders
from worker.engine import Engine
from worker.exit_codes import EXIT_NOT_LOADED
from worker.models import IDLE_MODELS, Models
from worker.pipeline import Pipeline
from worker.pipeline.artifact import CHARACTER_NGRAMS, GENERATOR, RANKER, SHIPPED

SENTIMENT = Task.SENTIMENT


@pytest.fixture(scope="module")
def default() -> Pipeline:
    return Pipeline.load(SHIPPED / SENTIMENT, "cpu")


@pytest.fixture
def engine(default: Pipeline) -> Iterator[Engine]:
    with engine_of({default: 4096}) as engine:
        yield engine


@pytest.fixture
def models(default: Pipeline, engine: Engine, tmp_path: Path) -> Models:
    """Models with an empty models folder, `tmp_path`."""
    return Models({SENTIMENT: default}, ArtifactFolders(SHIPPED, tmp_path), engine, "cpu")


def predict(engine: Engine, pipeline: Pipeline) -> None:
    """Have a model predict something."""
    windows, wanted = pipeline.prepare("The tea was lovely").window_ids(), threading.Event()
    assert len(engine.predict(pipeline, Lane.BULK, windows, wanted, generates=False)) == 1


def test_chunk_keeps_its_model_while_another_begins_to_serve(
    models: Models, engine: Engine, tmp_path: Path
) -> None:
    """Without it, a promotion drops documents, or splits a chunk between two models."""
    first, second = variant(tmp_path, 1), variant(tmp_path, 2)
    models.follow({SENTIMENT: first})

    with models.using(SENTIMENT) as begun:
        models.follow({SENTIMENT: second})
        with models.using(SENTIMENT) as later:
            predict(engine, later)
        predict(engine, begun)

    assert (begun.model_version, later.model_version) == (first, second)
    assert models.serving == {SENTIMENT: second}


def test_without_a_promotion_the_process_serves_what_it_brings_along(
    models: Models, default: Pipeline, tmp_path: Path
) -> None:
    """Without it, a rollback of the first promotion has no model to return to."""
    models.follow({SENTIMENT: variant(tmp_path, 1)})
    models.follow({SENTIMENT: None})

    with models.using(SENTIMENT) as pipeline:
        assert pipeline is default


@pytest.mark.parametrize("fault", ["missing", "broken", "misnamed", "another task's"])
def test_model_that_cannot_be_loaded_leaves_the_old_one_and_is_named(
    models: Models, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """Without it, a bad promotion stops every worker, or is noticed by nobody."""
    promoted = variant(tmp_path, 1)
    if fault == "missing":
        (tmp_path / promoted).rename(tmp_path / "elsewhere")
    elif fault == "broken":
        damage(tmp_path, promoted)
    elif fault == "misnamed":
        (tmp_path / promoted).rename(tmp_path / "0123456789abcdef")
        promoted = "0123456789abcdef"
    else:
        promoted = variant(tmp_path, 2, Task.MODERATION)

    with caplog.at_level(logging.ERROR):
        models.follow({SENTIMENT: promoted})

    assert models.serving == {SENTIMENT: shipped_version()}
    assert f"sentiment keeps {shipped_version()}: " in (models.error or "")
    assert promoted in caplog.text


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (Task.SENTIMENT, CHARACTER_NGRAMS),
        (Task.KEYWORDS, RANKER),
        (Task.KEYWORDS, GENERATOR),
    ],
)
def test_artifact_that_lacks_a_file_which_its_config_names_is_refused(
    tmp_path: Path, task: Task, name: str
) -> None:
    """Without it, an incomplete copy is taken for ever for one that may load later."""
    folders = ArtifactFolders(tmp_path, tmp_path / "models")
    shutil.copytree(SHIPPED / task, tmp_path / task)
    (tmp_path / task / name).unlink()

    with pytest.raises(ArtifactError, match=f"it lacks {name}"):
        Pipeline.load(tmp_path / task, "cpu")
    with pytest.raises(ArtifactError, match=f"it lacks {name}") as refused:
        folders.load(task, None, "cpu")
    with pytest.raises(ArtifactError, match="does not hold model"):
        folders.find(task, shipped_version(task))
    assert not isinstance(refused.value, NotLoadedError)


def test_models_folder_that_cannot_be_read_is_named_and_stops_no_other_task(
    default: Pipeline, engine: Engine, tmp_path: Path
) -> None:
    """Without it, no promotion of any task is followed, and only a traceback in a log says so."""
    away = tmp_path / ("x" * 300)  # root may read every folder, but no name is as long as this one
    keywords = Pipeline.load(SHIPPED / Task.KEYWORDS, "cpu")
    folders = ArtifactFolders(SHIPPED, away)
    models = Models({SENTIMENT: default, Task.KEYWORDS: keywords}, folders, engine, "cpu")

    models.follow({SENTIMENT: "0123456789abcdef", Task.KEYWORDS: "fedcba9876543210"})

    said = models.error or ""
    assert f"sentiment keeps {shipped_version()}: cannot look into the models folder" in said
    assert f"keywords keeps {keywords.model_version}: cannot look into" in said
    assert "File name too long" in said
    assert ArtifactFolders(away, tmp_path).default_version(SENTIMENT) is None


def test_model_that_arrives_late_is_served_then(models: Models, tmp_path: Path) -> None:
    """Without it, a slow copy between hosts needs every worker restarted."""
    promoted = variant(tmp_path, 1)
    (tmp_path / promoted).rename(tmp_path / "on its way")
    models.follow({SENTIMENT: promoted})
    (tmp_path / "on its way").rename(tmp_path / promoted)

    models.follow({SENTIMENT: promoted})
    too_early = models.serving
    models._due.clear()  # noqa: SLF001  # as if a minute had passed
    models.follow({SENTIMENT: promoted})

    assert too_early == {SENTIMENT: shipped_version()}
    assert (models.serving, models.error) == ({SENTIMENT: promoted}, None)


def test_pinned_models_are_loaded_on_demand_and_few_of_them_kept(
    models: Models, engine: Engine, default: Pipeline, tmp_path: Path
) -> None:
    """Without it, jobs pinned to many versions fill the memory."""
    versions = [variant(tmp_path, number) for number in range(IDLE_MODELS + 2)]

    with ExitStack() as chunks:
        used = [chunks.enter_context(models.using(SENTIMENT, version)) for version in versions]
        with models.using(SENTIMENT):
            pass
        for pipeline in used:
            predict(engine, pipeline)
    with models.using(SENTIMENT, versions[-1]) as again, models.using(SENTIMENT) as serving:
        pass

    assert [pipeline.model_version for pipeline in used] == versions
    assert again is used[-1]
    assert serving is default
    with models.using(SENTIMENT, versions[0]) as loaded_anew:
        assert loaded_anew is not used[0]


def test_unused_models_make_room_for_one_that_is_wanted(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a pinned job waits for ever for the memory of models that nobody uses."""
    unused, used, serving, wanted = (variant(tmp_path, number) for number in range(4))
    models.follow({SENTIMENT: serving})
    with models.using(SENTIMENT, unused):
        pass
    load = Pipeline.load

    def load_if_there_is_room(folder: Path, *more: object) -> Pipeline:
        if unused in models._loaded:  # noqa: SLF001
            raise torch.OutOfMemoryError
        return load(folder, *more)  # type: ignore[arg-type]

    with models.using(SENTIMENT, used) as kept:
        monkeypatch.setattr(Pipeline, "load", load_if_there_is_room)
        with models.using(SENTIMENT, wanted) as loaded:
            assert loaded.model_version == wanted
        monkeypatch.setattr(Pipeline, "load", raising(torch.OutOfMemoryError()))
        with pytest.raises(NotLoadedError), models.using(SENTIMENT, unused):
            pass

        with models.using(SENTIMENT, used) as again, models.using(SENTIMENT) as still:
            assert again is kept
            assert still.model_version == serving


def test_unknown_version_leads_nowhere_else(models: Models) -> None:
    """Without it, a forged version makes a worker read another folder of its host."""
    with pytest.raises(ArtifactError, match="does not hold model"):
        models._folders.find(SENTIMENT, "../../etc")  # noqa: SLF001


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no memory"), OSError("stale file handle"), MemoryError()]
)
def test_what_may_pass_does_not_end_the_supervisor(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it one failing GPU would stop the processes of all others."""

    def fail(*_: object) -> Pipeline:
        raise error

    monkeypatch.setattr(Pipeline, "load", fail)
    monkeypatch.setattr(process, "_end_with_supervisor", lambda: None)
    folders = ArtifactFolders(SHIPPED, SHIPPED)
    monkeypatch.setattr(process, "run", lambda *_: folders.load(Task.SENTIMENT, None, "cpu"))

    given = ["process", "--name", "one", "--device", "cpu", "--tasks", "sentiment", "--pulse", "0"]
    monkeypatch.setattr(sys, "argv", given)
    monkeypatch.setattr(process, "beat", lambda _: None)

    with pytest.raises(SystemExit) as ended:
        process.main()

    assert ended.value.code == EXIT_NOT_LOADED


def test_added_artifact_is_whole_or_absent(tmp_path: Path) -> None:
    """Without it, a worker finds half a model, or one without its card."""
    folders = ArtifactFolders(SHIPPED, tmp_path / "models")

    version = folders.add(SHIPPED / SENTIMENT)

    assert folders.add(SHIPPED / SENTIMENT) == version
    assert [path.name for path in (tmp_path / "models").iterdir()] == [version]
    card = json.loads((tmp_path / "models" / version / "card.json").read_bytes())
    assert card["model_version"] == version


def test_what_else_a_folder_holds_is_not_copied(tmp_path: Path) -> None:
    """Without it, a link in a folder from elsewhere shows any file to all who read the models."""
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    folder = shutil.copytree(SHIPPED / SENTIMENT, tmp_path / "given")
    (folder / "notes.txt").symlink_to(secret)
    (folder / "CARD.md").unlink()
    (folder / "CARD.md").symlink_to(secret)
    folders = ArtifactFolders(SHIPPED, tmp_path / "models")

    copy = tmp_path / "models" / folders.add(folder)

    assert {file.name for file in copy.iterdir()} == {
        *(file.name for file in (SHIPPED / SENTIMENT).iterdir())
    } - {"CARD.md"}


def test_damaged_copy_is_replaced(tmp_path: Path) -> None:
    """Without it, copying the model again, the remedy that errors name, does nothing."""
    folders = ArtifactFolders(SHIPPED, tmp_path / "models")
    version = folders.add(SHIPPED / SENTIMENT)
    (tmp_path / "models" / version / "weights.safetensors").write_bytes(b"")

    folders.add(SHIPPED / SENTIMENT)

    assert folders.load(SENTIMENT, version, "cpu").model_version == version
    assert [path.name for path in (tmp_path / "models").iterdir()] == [version]


def test_models_folder_that_takes_nothing_is_said_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a full disk causes a traceback, and its exit code reads "model not better"."""
    folders = ArtifactFolders(SHIPPED, tmp_path / "models")
    no_folder = tmp_path / "file"
    no_folder.write_bytes(b"")
    copy = str(tmp_path / "models" / "copy")
    full = raising(OSError(ENOSPC, "No space left on device", "weights", None, copy))

    with pytest.raises(NotLoadedError, match=r"cannot write .*file.*; make room") as refused:
        ArtifactFolders(SHIPPED, no_folder).add(SHIPPED / SENTIMENT)
    monkeypatch.setattr(shutil, "copy", full)
    with pytest.raises(NotLoadedError, match=r"models \(No space left on device\);"):
        folders.add(SHIPPED / SENTIMENT)

    assert exit_code(refused.value) == EXIT_UNREACHABLE
    assert list((tmp_path / "models").iterdir()) == []


def test_two_may_add_the_same_artifact_at_once(tmp_path: Path) -> None:
    """Without it, one of two hosts that share the folder fails with a traceback."""
    folders = ArtifactFolders(SHIPPED, tmp_path / "models")

    with ThreadPoolExecutor(4) as threads:
        versions = {*threads.map(lambda _: folders.add(SHIPPED / SENTIMENT), range(8))}

    assert versions == {path.name for path in (tmp_path / "models").iterdir()}


def test_what_a_damaged_file_breaks_is_named(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, one task's damaged model holds up the promotions of other tasks."""
    promoted = variant(tmp_path, 1)
    monkeypatch.setattr(Pipeline, "load", raising(IndexError("list index out of range")))

    models.follow({SENTIMENT: promoted})

    assert "is damaged (IndexError: list index out of range); copy it anew" in (models.error or "")


def raising(error: Exception) -> Callable[..., object]:
    def refuse(*_: object) -> object:
        raise error

    return refuse
