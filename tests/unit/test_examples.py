"""The examples hold what their README promises."""

import re
from collections import Counter
from pathlib import Path

import pytest

from producer.readers import read_documents
from schema.documents import Document, Rejected, Task
from schema.settings import IntakeSettings

EXAMPLES = Path(__file__).parents[2] / "examples"
README = (EXAMPLES / "README.md").read_text()
FOUND_LATER = {"duplicate_id", "no_content"}
"""Failures that only loading or the worker can detect, not reading."""


@pytest.mark.parametrize("task", Task)
def test_reading_refuses_the_lines_that_the_readme_lists(task: Task) -> None:
    """Without it `make demo` shows other failures than the README lists."""
    listed = _failures(task)

    records = list(read_documents(str(EXAMPLES / f"{task}.jsonl"), limits=IntakeSettings()))

    refused = {record.line: str(record.code) for record in records if isinstance(record, Rejected)}
    assert refused == {line: code for line, code in listed.items() if code not in FOUND_LATER}
    assert str(len(records)) == _counts(task)[0]
    assert str(len(records) - len(listed)) == _counts(task)[1]


@pytest.mark.parametrize("task", Task)
def test_ids_repeat_only_where_the_readme_lists_a_duplicate(task: Task) -> None:
    """Without it the examples would fail in ways that the README does not list."""
    records = list(read_documents(str(EXAMPLES / f"{task}.jsonl"), limits=IntakeSettings()))
    documents = [record for record in records if isinstance(record, Document)]

    first = {document.external_id: document.line for document in reversed(documents)}
    repeated = [document.line for document in documents if document.line not in first.values()]

    assert repeated == [line for line, code in _failures(task).items() if code == "duplicate_id"]


@pytest.mark.parametrize("task", Task)
def test_examples_hold_chinese_and_english_at_length(task: Task) -> None:
    """Without it a demo that loses a language, or every window but the first, looks fine."""
    records = read_documents(str(EXAMPLES / f"{task}.jsonl"), limits=IntakeSettings())
    documents = [record for record in records if isinstance(record, Document)]

    languages = Counter(str(document.metadata.get("lang")) for document in documents)

    assert min(languages["en"], languages["zh"] + languages["zh-Hant"]) >= 10
    assert languages["mixed"] >= 5
    assert max(len(document.text.split()) for document in documents) >= 300


def _failures(task: Task) -> dict[int, str]:
    rows = re.findall(rf"^\| `{task}\.jsonl` \| (\d+) \| `(\w+)` \|", README, re.MULTILINE)
    return {int(line): code for line, code in rows}


def _counts(task: Task) -> tuple[str, str]:
    """Lines and results, as the README counts them."""
    (row,) = re.findall(rf"^\| `{task}\.jsonl` \| (\d+) \| (\d+) \|", README, re.MULTILINE)
    return row[0], row[1]
