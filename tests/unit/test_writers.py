"""Outcome files: the same rows in every format."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from stat import S_IMODE

import pyarrow.parquet as pq
import pytest

from producer import writers
from producer.outcomes import FIELDS
from producer.writers import OutputFormat, replacing, write_outcomes

ROWS: list[dict[str, object]] = [
    {
        "external_id": "1",
        "status": "succeeded",
        "result": {
            "task": "sentiment",
            "label": "positive",
            "score": 0.9,
            "text": '很好, "great"\nreally',
        },
        "error": None,
        "metadata": {"source": "shop"},
        "line": 1,
        "seq": 1,
    },
    {
        "external_id": None,
        "status": "failed",
        "result": None,
        "error": {"code": "invalid_json", "stage": "intake", "message": "the line is not JSON"},
        "metadata": None,
        "line": 2,
        "seq": 2,
    },
]
EXPECTED = [{name: row[name] for name in FIELDS} for row in ROWS]
HEADLINES = ("label", "score", "keywords", "code", "message")
RESULTS = (
    {"task": "moderation", "labels": ["spam", "fraud"], "scores": {"spam": 0.9, "fraud": 0.8}},
    {"task": "moderation", "labels": [], "scores": {"spam": 0.25, "fraud": 0.125}},
    {"task": "keywords", "keywords": [{"text": "green tea"}, {"text": "pot"}]},
    {
        "task": "keywords",
        "keywords": [{"text": "tea", "score": 0.5}, {"text": "drinks", "generated": True}],
    },
)


def read_jsonl(data: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in data.decode().split("\n")[:-1]]


def read_csv(data: bytes) -> list[dict[str, object]]:
    return [parsed(row) for row in csv.DictReader(io.StringIO(data.decode(), newline=""))]


def read_parquet(data: bytes) -> list[dict[str, object]]:
    return [parsed(row) for row in pq.read_table(io.BytesIO(data)).to_pylist()]


def parsed(row: Mapping[str, object]) -> dict[str, object]:
    values = {name: None if value == "" else value for name, value in row.items()}
    for name in ("result", "error", "metadata", "line"):
        values[name] = None if values[name] is None else json.loads(str(values[name]))
    return {name: values[name] for name in FIELDS}


READERS = {
    OutputFormat.JSONL: read_jsonl,
    OutputFormat.CSV: read_csv,
    OutputFormat.PARQUET: read_parquet,
}


@pytest.mark.parametrize("form", OutputFormat)
def test_every_format_holds_the_same_rows(form: OutputFormat) -> None:
    """A consumer may change the format without losing a field, a line break or a quote."""
    out = io.BytesIO()

    write_outcomes(ROWS, form, out)

    assert READERS[form](out.getvalue()) == EXPECTED


def test_tables_have_columns_for_what_people_look_at_first() -> None:
    """Without it, an analyst has to parse JSON to count labels."""
    rows = [*ROWS, *({**ROWS[0], "result": result} for result in RESULTS)]
    table, parquet = io.BytesIO(), io.BytesIO()

    write_outcomes(rows, OutputFormat.CSV, table)
    write_outcomes(rows, OutputFormat.PARQUET, parquet)

    found = pq.read_table(parquet).select(HEADLINES).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("positive", 0.9, None, None, None),
        (None, None, None, "invalid_json", "the line is not JSON"),
        ("spam;fraud", 0.9, None, None, None),
        ("clean", 0.25, None, None, None),
        (None, None, "green tea;pot", None, None),
        (None, None, "tea;+drinks", None, None),
    ]
    written = csv.DictReader(io.StringIO(table.getvalue().decode(), newline=""))
    assert [[row[name] for name in HEADLINES] for row in written] == [
        ["" if row[name] is None else str(row[name]) for name in HEADLINES] for row in found
    ]


def test_json_lines_hold_no_control_character() -> None:
    """Without it, results that are shown on a terminal control it: JSON escapes only some."""
    text = "\x00\x1b\x7f\x80\x9b31m\x9f\xa0好"
    out = io.BytesIO()

    write_outcomes([ROWS[0] | {"text": text}], OutputFormat.JSONL, out, texts=True)

    [line] = out.getvalue().decode().splitlines()
    assert r"\u001b\u007f\u0080\u009b31m\u009f" in line
    assert "\xa0好" in line
    assert json.loads(line)["text"] == text


@pytest.mark.parametrize("form", OutputFormat)
def test_a_job_without_documents_gives_a_file_that_can_be_read(form: OutputFormat) -> None:
    """A nightly consumer must not break on an empty night."""
    out = io.BytesIO()

    write_outcomes([], form, out)

    assert READERS[form](out.getvalue()) == []


@pytest.mark.parametrize("form", OutputFormat)
def test_rows_are_written_while_they_come(
    form: OutputFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Millions of outcomes do not fit into memory."""
    monkeypatch.setattr(writers, "ROWS_AT_ONCE", 100)
    out = io.BytesIO()
    seen = []

    def rows() -> Iterator[dict[str, object]]:
        for _ in range(5000):
            seen.append(out.tell())
            yield ROWS[0]

    write_outcomes(rows(), form, out)

    assert 0 < seen[2500] < seen[-1]
    assert len(READERS[form](out.getvalue())) == len(seen)


def test_row_groups_of_long_texts_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, several copies of five thousand texts of a megabyte are in memory at once."""
    monkeypatch.setattr(writers, "CHARACTERS_AT_ONCE", 1000)
    out = io.BytesIO()

    write_outcomes(
        [row | {"text": "好" * 500} for row in ROWS * 5], OutputFormat.PARQUET, out, texts=True
    )

    assert pq.ParquetFile(out).num_row_groups == 5
    assert pq.read_table(out).num_rows == 10


def test_file_that_is_replaced_stays_as_private_as_it_was(tmp_path: Path) -> None:
    """Without it, the second night's results of a private file can be read by everybody."""
    path = tmp_path / "results.csv"
    path.touch(mode=0o600)

    with replacing(path) as file:
        file.write(b"secret")

    assert path.read_bytes() == b"secret"
    assert S_IMODE(path.stat().st_mode) == 0o600


def texts_in(data: bytes, form: OutputFormat) -> list[object]:
    """The field `text` of each row, None where there is none."""
    rows: list[dict[str, object]]
    match form:
        case OutputFormat.JSONL:
            rows = [json.loads(line) for line in data.splitlines()]
        case OutputFormat.CSV:
            rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
        case OutputFormat.PARQUET:
            rows = pq.read_table(io.BytesIO(data)).to_pylist()
    return [row.get("text") for row in rows]


@pytest.mark.parametrize("form", OutputFormat)
def test_texts_are_written_where_they_are_asked_for(form: OutputFormat) -> None:
    """Without it, the results of a plain text file must be joined to its lines by hand."""
    rows = [row | {"text": "很好"} for row in ROWS]
    plain, whole = io.BytesIO(), io.BytesIO()

    write_outcomes(rows, form, plain)
    write_outcomes(rows, form, whole, texts=True)

    assert texts_in(plain.getvalue(), form) == [None, None]
    assert texts_in(whole.getvalue(), form) == ["很好", "很好"]
