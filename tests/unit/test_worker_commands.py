"""`textmill-worker train`, `evaluate` and `predict`."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from schema.documents import Task
from tests.fixtures.phrases import POSTS
from worker.cli import main
from worker.commands.options import command_line
from worker.pipeline import Pipeline
from worker.training.loop import TrainingConfig
from worker.training.recipe import REFINING, TRAINING, Recipe
from worker.training.run import Report

SENTIMENT_FIELDS = {
    "file",
    "documents",
    "model_version",
    "loss",
    "accuracy",
    "macro_f1",
    "macro_recall",
    "ece",
}
MODERATION_FIELDS = {
    "file",
    "documents",
    "model_version",
    "flag_f1",
    "flag_auc",
    "ece",
    "labels",
}
KEYWORDS_FIELDS = {
    "file",
    "documents",
    "model_version",
    "f1_at_5",
    "f1_at_10",
    "present_documents",
}


GENERATED_FIELDS = {"absent_f1_at_5", "absent_recall_at_10", "absent_documents"}


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def lines(result: Result, exit_code: int = 0) -> list[dict[str, Any]]:
    assert result.exit_code == exit_code, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("task", "source", "fields"),
    [
        ("sentiment", "reviews", SENTIMENT_FIELDS),
        ("moderation", "mail", MODERATION_FIELDS),
        ("keywords", "papers", KEYWORDS_FIELDS),
    ],
)
def test_evaluate_prints_a_line_a_file(
    task: str, source: str, fields: set[str], artifacts: Path, data_folder: Path
) -> None:
    """Without it programs that compare models would break on a renamed field."""
    file = data_folder / task / source / "test.jsonl.gz"

    found = lines(run("evaluate", task, file, file, "--artifact", artifacts / task, "--json"))

    assert [set(line) for line in found] == [fields, fields]
    assert found[0]["file"] == str(file)


def test_evaluate_reads_standard_input(artifacts: Path) -> None:
    """Without it labelled rows that a program makes need a file first."""
    arguments = ["evaluate", "sentiment", "-", "--artifact", artifacts / "sentiment", "--json"]
    row = '{"text": "fine", "label": "neutral"}\n'

    [found] = lines(run(*arguments, stdin=row * 3))
    broken = run(*arguments, stdin=row + "{")

    assert (found["file"], found["documents"]) == ("-", 3)
    assert broken.exit_code == 2
    assert "standard input, line 2" in broken.stderr


def test_evaluate_measures_only_annotated_labels(artifacts: Path, data_folder: Path) -> None:
    """Without it "nothing is known" would count as "does not hold"."""
    file = data_folder / "moderation" / "mail" / "test.jsonl.gz"

    [line] = lines(
        run("evaluate", "moderation", file, "--artifact", artifacts / "moderation", "--json")
    )

    assert set(line["labels"]) == {"spam", "fraud"}
    assert set(line["labels"]["spam"]) == {"precision", "recall", "f1", "auc", "support"}
    assert line["labels"]["fraud"]["auc"] is None


def test_evaluate_names_a_broken_line(artifacts: Path, tmp_path: Path) -> None:
    """Without it one bad line of thousands could not be found."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "fine", "label": "neutral"}\n{"text": 3}\n', encoding="utf-8")

    result = run("evaluate", "sentiment", file, "--artifact", artifacts / "sentiment")

    assert result.exit_code == 2
    assert "line 2" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_line_that_is_not_utf8_is_named(command: str, artifacts: Path, tmp_path: Path) -> None:
    """Without it, a person looks for one byte in a million lines."""
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"text": "fine", "label": "neutral"}\n{"text": "\xff"}\n')

    result = run(command, "sentiment", file, "--artifact", artifacts / "sentiment")

    assert result.exit_code == 2
    assert "rows.jsonl, line 2: byte 11 is not UTF-8" in result.stderr


@pytest.mark.parametrize("name", ["absent.jsonl", "absent.txt.gz", "folder/absent", "没有.csv"])
def test_predict_takes_no_missing_file_for_a_document(name: str) -> None:
    """Without it, a mistyped name is analysed, and its outcome believed."""
    result = run("predict", "sentiment", name)

    assert result.exit_code == 2
    assert f"there is no file {name}" in result.stderr


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("rows.csv", "textmill submit"), ("rows.Parquet", "textmill submit"), ("", "name")],
)
def test_predict_takes_no_table_for_documents(
    name: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the header of a table gets a sentiment."""
    monkeypatch.chdir(tmp_path)
    if name:
        (tmp_path / name).write_text("id,text\n1,good\n")

    result = run("predict", "sentiment", name)

    assert result.exit_code == 2
    assert remedy in result.stderr


@pytest.mark.parametrize("text", ["味道不错/送得也快", "Yes.", "5/5 stars", "read notes.txt"])
def test_predict_takes_a_document_that_resembles_a_file(text: str, artifacts: Path) -> None:
    """Without it, a short text cannot be tried."""
    [line] = lines(
        run("predict", "sentiment", text, "--artifact", artifacts / "sentiment", "--json")
    )

    assert line["status"] == "succeeded"


def test_predict_says_that_there_was_no_document() -> None:
    """Without it, a pipe that broke off looks like a model that finds nothing."""
    result = run("predict", "sentiment", "-")

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "there was no document\n"


def test_predict_takes_a_document(artifacts: Path) -> None:
    """Without it one text could not be tried without servers."""
    [line] = lines(
        run("predict", "sentiment", "味道很好", "--artifact", artifacts / "sentiment", "--json")
    )

    assert line["status"] == "succeeded"
    assert line["result"]["label"] in {"negative", "neutral", "positive"}


def test_predict_takes_a_file_and_shows_failures_beside_results(
    artifacts: Path, tmp_path: Path
) -> None:
    """Without it failures would be missing among the answers, or end them."""
    file = tmp_path / "documents.txt"
    file.write_text("We study solar cells.\n\n我们研究水稻产量\n", encoding="utf-8")

    found = lines(
        run("predict", "keywords", file, "--artifact", artifacts / "keywords", "--json"),
        exit_code=1,
    )

    assert [line["status"] for line in found] == ["succeeded", "failed", "succeeded"]
    assert found[1]["error"]["code"] == "no_content"


def test_an_empty_text_fails_alone(artifacts: Path, tmp_path: Path) -> None:
    """Without it one record without content keeps all the others of its file from an answer."""
    file = tmp_path / "documents.jsonl"
    file.write_text('{"text": "fine"}\n{"text": ""}\n{"text": "bad"}\n', encoding="utf-8")

    found = lines(
        run("predict", "sentiment", file, "--artifact", artifacts / "sentiment", "--json"),
        exit_code=1,
    )

    assert [line["status"] for line in found] == ["succeeded", "failed", "succeeded"]
    assert found[1]["error"]["code"] == "no_content"


def test_predict_reads_standard_input_and_draws_a_table(artifacts: Path) -> None:
    """Without it `predict` would have no place in a pipe, or no answer for people."""
    result = run(
        "predict", "moderation", "-", "--artifact", artifacts / "moderation", stdin="hello\n"
    )

    assert result.exit_code == 0
    assert "hello" in result.stdout


def test_a_model_of_another_task_is_refused(artifacts: Path) -> None:
    """Without it moderation scores could be read as sentiment."""
    result = run("predict", "sentiment", "hello", "--artifact", artifacts / "moderation")

    assert result.exit_code == 2
    assert "is a model for moderation" in result.stderr


def test_model_that_may_load_later_ends_a_command_with_3(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, want of memory ends in a traceback that names no artifact."""
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


def test_predict_marks_generated_keywords(generating: Path) -> None:
    """Without it nobody sees that a keyword does not stand in the text."""
    arguments = ["predict", "keywords", POSTS[0][0], "--artifact", generating / "keywords"]

    [line] = lines(run(*arguments, "--generate", "--json"))
    table = run(*arguments, "--generate")

    made = [keyword for keyword in line["result"]["keywords"] if keyword.get("generated")]
    assert made[0].keys() == {"text", "score", "generated"}
    assert f"+{made[0]['text']}" in table.stdout


def test_predict_refuses_to_generate_what_it_cannot(artifacts: Path) -> None:
    """Without it nobody knows why nothing was generated."""
    other = run("predict", "sentiment", "tea", "--artifact", artifacts / "sentiment", "--generate")
    without = run("predict", "keywords", "tea", "--artifact", artifacts / "keywords", "--generate")

    assert (other.exit_code, without.exit_code) == (2, 2)
    assert "leave --generate out" in other.stderr
    assert "textmill-worker extend" in without.stderr


def test_evaluate_measures_generated_keywords(generating: Path, posts: Path) -> None:
    """Without it nobody knows what the option is worth."""
    file = posts / "keywords" / "posts" / "test.jsonl.gz"
    arguments = ["evaluate", "keywords", file, "--artifact", generating / "keywords"]

    [line] = lines(run(*arguments, "--json"))
    table = run(*arguments)

    assert set(line) == KEYWORDS_FIELDS | GENERATED_FIELDS
    assert line["absent_f1_at_5"] > 0.5
    assert line["absent_recall_at_10"] == 1
    assert line["absent_documents"] == line["documents"] == 4
    assert "absent_recall_at_10" in table.stdout


def test_extend_says_what_is_missing(tmp_path: Path) -> None:
    """Without it a mistyped folder would be a traceback."""
    result = run("extend", "--data", tmp_path, "--out", tmp_path / "out")

    assert result.exit_code == 2
    assert "holds no source" in result.stderr


def test_train_says_what_is_missing(tmp_path: Path) -> None:
    """Without it a mistyped folder would be a traceback."""
    result = run("train", "keywords", "--data", tmp_path, "--out", tmp_path / "out")

    assert result.exit_code == 2
    assert "holds no source" in result.stderr


@pytest.mark.parametrize(("start", "training"), [("artifact", REFINING), ("language", TRAINING)])
def test_an_artifact_is_refined_gently(
    start: str,
    training: Mapping[Task, TrainingConfig],
    data_folder: Path,
    artifacts: Path,
    language_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it a few labels of one's own would undo what the model knew."""
    begun: list[Recipe] = []

    def begin(recipe: Recipe, *_: object, **__: object) -> list[Report]:
        begun.append(recipe)
        return []

    monkeypatch.setattr(import_module("worker.commands.train"), "train_artifact", begin)
    folder = artifacts / "sentiment" if start == "artifact" else language_model

    run("train", "sentiment", "--data", data_folder, "--start", folder)

    assert [recipe.training for recipe in begun] == [training[Task.SENTIMENT]]


def test_document_is_no_markup(artifacts: Path) -> None:
    """Without it, a document with brackets crashes the table, or shows in colours."""
    text = "[/v2] [red] :tea:"

    shown = run("predict", "sentiment", text, "--artifact", artifacts / "sentiment")

    assert text in shown.stdout


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
