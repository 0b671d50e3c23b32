"""`textmill-worker evaluate`."""

from pathlib import Path

import pytest

from tests.fixtures.worker_commands import lines, run

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
    """Without it a program must write its labelled rows to a file first."""
    arguments = ["evaluate", "sentiment", "-", "--artifact", artifacts / "sentiment", "--json"]
    row = '{"text": "fine", "label": "neutral"}\n'

    [found] = lines(run(*arguments, stdin=row * 3))
    broken = run(*arguments, stdin=row + "{")

    assert (found["file"], found["documents"]) == ("-", 3)
    assert broken.exit_code == 2
    assert "standard input, line 2" in broken.stderr


def test_evaluate_measures_only_annotated_labels(artifacts: Path, data_folder: Path) -> None:
    """Without it "not annotated" would count as "does not hold"."""
    file = data_folder / "moderation" / "mail" / "test.jsonl.gz"

    [line] = lines(
        run("evaluate", "moderation", file, "--artifact", artifacts / "moderation", "--json")
    )

    assert set(line["labels"]) == {"spam", "fraud"}
    assert set(line["labels"]["spam"]) == {"precision", "recall", "f1", "auc", "support"}
    assert line["labels"]["fraud"]["auc"] is None


def test_evaluate_measures_generated_keywords(generating: Path, posts: Path) -> None:
    """Without it nobody knows how good generated keywords are."""
    file = posts / "keywords" / "posts" / "test.jsonl.gz"
    arguments = ["evaluate", "keywords", file, "--artifact", generating / "keywords"]

    [line] = lines(run(*arguments, "--json"))
    table = run(*arguments)

    assert set(line) == KEYWORDS_FIELDS | GENERATED_FIELDS
    assert line["absent_f1_at_5"] > 0.5
    assert line["absent_recall_at_10"] == 1
    assert line["absent_documents"] == line["documents"] == 4
    assert "absent_recall_at_10" in table.stdout
