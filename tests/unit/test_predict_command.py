"""`textmill-worker predict`."""

from pathlib import Path

import pytest

from tests.fixtures.phrases import POSTS
from tests.fixtures.worker_commands import lines, run


@pytest.mark.parametrize("name", ["absent.jsonl", "absent.txt.gz", "folder/absent", "没有.csv"])
def test_predict_takes_no_missing_file_for_a_document(name: str) -> None:
    """Without it, a mistyped file name is analysed as a text, and its outcome believed."""
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
    """Without it, a broken pipe looks like a model that finds nothing."""
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
    """Without it failures would be missing from the output, or end it."""
    file = tmp_path / "documents.txt"
    file.write_text("We study solar cells.\n\n我们研究水稻产量\n", encoding="utf-8")

    found = lines(
        run("predict", "keywords", file, "--artifact", artifacts / "keywords", "--json"),
        exit_code=1,
    )

    assert [line["status"] for line in found] == ["succeeded", "failed", "succeeded"]
    assert found[1]["error"]["code"] == "no_content"


def test_an_empty_text_fails_alone(artifacts: Path, tmp_path: Path) -> None:
    """Without it one record without content leaves all others of its file without a result."""
    file = tmp_path / "documents.jsonl"
    file.write_text('{"text": "fine"}\n{"text": ""}\n{"text": "bad"}\n', encoding="utf-8")

    found = lines(
        run("predict", "sentiment", file, "--artifact", artifacts / "sentiment", "--json"),
        exit_code=1,
    )

    assert [line["status"] for line in found] == ["succeeded", "failed", "succeeded"]
    assert found[1]["error"]["code"] == "no_content"


def test_predict_reads_standard_input_and_draws_a_table(artifacts: Path) -> None:
    """Without it `predict` would not work in a pipe, or print nothing that people can read."""
    result = run(
        "predict", "moderation", "-", "--artifact", artifacts / "moderation", stdin="hello\n"
    )

    assert result.exit_code == 0
    assert "hello" in result.stdout


def test_predict_shows_control_characters_and_sends_none(artifacts: Path) -> None:
    """Without it, a document writes the clipboard of whoever analyses it."""
    arguments = ["predict", "sentiment", "-", "--artifact", artifacts / "sentiment"]

    result = run(*arguments, stdin="good \x1b]52;c;aGk=\x07 \x9b31m tea\n")

    assert r"good \x1b]52;c;aGk=\x07 \x9b31m tea" in result.stdout


def test_a_model_of_another_task_is_refused(artifacts: Path) -> None:
    """Without it moderation scores could be read as sentiment."""
    result = run("predict", "sentiment", "hello", "--artifact", artifacts / "moderation")

    assert result.exit_code == 2
    assert "is a model for moderation" in result.stderr


def test_predict_marks_generated_keywords(generating: Path) -> None:
    """Without it nobody sees that a keyword does not occur in the text."""
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


def test_document_is_no_markup(artifacts: Path) -> None:
    """Without it, a document with brackets crashes the table, or shows in colours."""
    text = "[/v2] [red] :tea:"

    shown = run("predict", "sentiment", text, "--artifact", artifacts / "sentiment")

    assert text in shown.stdout
