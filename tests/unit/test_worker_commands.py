"""`textmill-worker train` and `extend`, and behaviour that commands share."""

import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest

from schema.documents import Task
from tests.fixtures.worker_commands import run
from worker.cli import COMMANDS
from worker.commands.options import command_line
from worker.pipeline import Pipeline
from worker.training.loop import TrainingConfig
from worker.training.recipe import REFINING, TRAINING, Recipe
from worker.training.run import Report


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_line_that_is_not_utf8_is_named(command: str, artifacts: Path, tmp_path: Path) -> None:
    """Without it, a person looks for one byte in a million lines."""
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"text": "fine", "label": "neutral"}\n{"text": "\xff"}\n')

    result = run(command, "sentiment", file, "--artifact", artifacts / "sentiment")

    assert result.exit_code == 2
    assert "rows.jsonl, line 2: byte 11 is not UTF-8" in result.stderr


def test_model_that_may_load_later_ends_a_command_with_3(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, lack of memory ends in a traceback that names no artifact."""
    folder = artifacts / "sentiment"

    def no_memory(*_: object) -> None:
        message = "you need 8 GB more"
        raise MemoryError(message)

    monkeypatch.setattr(Pipeline, "load", no_memory)
    (tmp_path / "test.jsonl").write_text('{"text": "hello", "label": "neutral"}\n')
    for arguments in (("predict", "sentiment"), ("evaluate", "sentiment", tmp_path / "test.jsonl")):
        result = run(*arguments, "--artifact", folder, stdin="hello")

        assert result.exit_code == 3, result.output
        assert f"cannot load {folder}: MemoryError: you need 8 GB more" in result.stderr


def test_extend_says_what_is_missing(tmp_path: Path) -> None:
    """Without it a mistyped folder would cause a traceback."""
    result = run("extend", "--data", tmp_path, "--out", tmp_path / "out")

    assert result.exit_code == 2
    assert "holds no source" in result.stderr


def test_train_says_what_is_missing(tmp_path: Path) -> None:
    """Without it a mistyped folder would cause a traceback."""
    result = run("train", "keywords", "--data", tmp_path, "--out", tmp_path / "out")

    assert result.exit_code == 2
    assert "holds no source" in result.stderr


def test_a_seed_below_zero_is_refused(tmp_path: Path) -> None:
    """Without it, a training ends in a traceback of a library."""
    result = run("train", "keywords", "--data", tmp_path, "--seed", "-1")

    assert result.exit_code == 2
    assert "-1 is not in the range x>=0" in result.stderr


@pytest.mark.parametrize(("start", "training"), [("artifact", REFINING), ("language", TRAINING)])
def test_an_artifact_is_refined_gently(
    start: str,
    training: Mapping[Task, TrainingConfig],
    data_folder: Path,
    artifacts: Path,
    language_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it a user's few labels would undo what the model knew."""
    begun: list[Recipe] = []

    def begin(recipe: Recipe, *_: object, **__: object) -> list[Report]:
        begun.append(recipe)
        return []

    monkeypatch.setattr(import_module("worker.commands.train"), "train_artifact", begin)
    folder = artifacts / "sentiment" if start == "artifact" else language_model

    run("train", "sentiment", "--data", data_folder, "--start", folder)

    assert [recipe.training for recipe in begun] == [training[Task.SENTIMENT]]


def test_a_start_of_less_permissive_sources_is_refused(
    data_folder: Path, artifacts: Path, tmp_path: Path
) -> None:
    """Without it, weights learned without a licence would ship under a permissive card."""
    options = ("--start", artifacts / "sentiment", "--out", tmp_path / "out")

    result = run("train", "sentiment", "--data", data_folder, *options, "--licence-class", "A")

    assert result.exit_code == 2
    assert "learned from sources beyond class A (reviews)" in result.stderr


def test_the_command_on_a_card_can_be_given_again() -> None:
    """Without it an artifact could not be made again from its card."""
    line = command_line(
        "train",
        "sentiment",
        data=Path("my data"),
        start=None,
        soft_labels=(Path("one"), Path("other")),
        seed=0,
        unlabelled=True,
        resume=False,
    )

    assert line == (
        "textmill-worker train sentiment --data 'my data' --soft-labels one --soft-labels other"
        " --seed 0 --unlabelled"
    )


def test_help_lists_the_commands_without_importing_them() -> None:
    """Without it, `textmill-worker --help` takes seconds, or lists a command that there is not."""
    script = (
        "import sys; from worker.cli import main; main(['--help'], standalone_mode=False);"
        " print('torch' in sys.modules)"
    )
    listed = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, check=True, text=True
    ).stdout

    assert all(f"  {name} " in listed for name in COMMANDS)
    assert listed.endswith("False\n")
    for name in COMMANDS:
        assert import_module(f"worker.commands.{name}").command.name == name
