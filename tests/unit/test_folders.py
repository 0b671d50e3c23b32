"""Folders that are replaced as a whole or not at all."""

import os
import signal
from pathlib import Path
from subprocess import run
from sys import executable

import pytest

from worker.folders import replacing, take_place

OWN = frozenset({"config", "weights", "checkpoint"})
KILLED = """
import os, signal
from pathlib import Path
from worker.folders import replacing
with replacing(Path("model"), frozenset({"config", "weights"})) as whole:
    (whole / "config").write_text("new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of the model and files of the user."""
    folder = tmp_path / "model"
    for name in ("config", "weights", "notes", "checkpoint/state", "plots/one"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old", encoding="utf-8")
    (folder / "link").symlink_to("notes")
    return folder


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}


def replace_config(folder: Path) -> None:
    with replacing(folder, OWN) as whole:
        (whole / "config").write_text("new", encoding="utf-8")


def test_what_is_written_takes_the_place_of_what_was_and_nothing_else(folder: Path) -> None:
    """Without it a file of the previous model decides outputs, or a user's file is lost."""
    replace_config(folder)

    kept = {"notes": "old", "link": "old", "plots/one": "old"}
    assert content(folder) == {"config": "new", **kept}
    assert (folder / "link").is_symlink()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_what_was_not_there_is_made(tmp_path: Path) -> None:
    """Without it the folder of the first model must be made by hand."""
    replace_config(tmp_path / "models" / "model")

    assert content(tmp_path / "models") == {"model/config": "new"}


def test_folder_that_cannot_be_moved_gets_the_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a training that writes to a mounted volume fails after hours."""

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "rename", refuse)

    replace_config(folder)

    assert content(folder) == {"config": "new", "notes": "old", "link": "old", "plots/one": "old"}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_linked_folder_stays_linked(folder: Path) -> None:
    """Without it the model replaces the link instead of the folder that it points to."""
    link = folder.with_name("current")
    link.symlink_to(folder)

    replace_config(link)

    assert link.is_symlink()
    assert content(folder)["config"] == "new"


def test_a_killed_process_leaves_what_was(folder: Path) -> None:
    """Without it a serving model is lost, or half of it belongs to another model."""
    before = content(folder)

    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = run([executable, "-c", KILLED], cwd=folder.parent, env=environment, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert content(folder) == before


def test_what_cannot_take_its_place_gives_it_back(folder: Path) -> None:
    """Without it a full disk or a missing right leaves no model under the name."""
    before = content(folder)

    with pytest.raises(OSError, match="absent"):
        take_place(folder.with_name("absent"), folder)

    assert content(folder) == before
