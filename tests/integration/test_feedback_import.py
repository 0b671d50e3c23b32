"""Files of verdicts: good lines are imported, and bad ones are named."""

import csv
import json
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from schema.database import reachable
from schema.documents import JobId, Task
from schema.errors import InputError
from tests.fixtures.commands import invoke
from tests.fixtures.files import write_lines
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.postgres import DatabaseUrls


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_import_takes_the_good_lines_and_names_the_bad(
    database: DatabaseUrls, jobs: dict[Task, JobId], tmp_path: Path, form: str
) -> None:
    """Without it, one typing error loses a day's reviewing."""
    job = str(jobs[Task.MODERATION])
    file = tmp_path / f"reviewed.{form}"
    if form == "csv":
        file.write_text(
            "job_id,external_id,verdict,labels\n"
            f"{job},a,disagree,spam;fraud\n{job},b,maybe,\n{job},b,disagree,clean\n",
            encoding="utf-8",
        )
    else:
        rows = [
            {"job_id": job, "external_id": "a", "verdict": "disagree", "labels": ["spam", "fraud"]},
            {"job_id": job, "external_id": "b", "verdict": "maybe"},
            {"job_id": job, "external_id": "b", "verdict": "disagree", "labels": []},
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    imported = invoke(database, "feedback", "import", file)
    exported = invoke(database, "feedback", "export", "moderation")

    line = 3 if form == "csv" else 2
    assert imported.exit_code == 1
    assert f"{file}:{line}: verdict: it must be agree or disagree\n" in imported.stderr
    assert "2 verdicts added, 1 rejected" in imported.stderr
    labels = [json.loads(row)["labels"] for row in exported.stdout.splitlines()]
    assert labels == [["fraud", "spam"], []]


def test_import_shows_control_characters_and_sends_none(
    database: DatabaseUrls, jobs: dict[Task, JobId], tmp_path: Path
) -> None:
    """Without it, a file that someone sent controls the terminal of whoever imports it."""
    file = tmp_path / "reviewed.csv"
    job = jobs[Task.MODERATION]
    file.write_text(
        f"job_id,external_id,verdict,\x1b[2Jcolumn\n{job},\x9b31m,agree,\n", encoding="utf-8"
    )

    imported = invoke(database, "feedback", "import", file)

    assert imported.exit_code == 1
    assert r"\x1b[2Jcolumn" in imported.stderr
    assert "\x1b" not in imported.stderr
    assert "\x9b" not in imported.stderr


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_without_a_job_judge_the_one_that_is_named(
    database: DatabaseUrls, jobs: dict[Task, JobId], tmp_path: Path, form: str
) -> None:
    """Without it, anyone who judges a file of results has to write the job's id into each row."""
    job, other = jobs[Task.SENTIMENT], jobs[Task.MODERATION]
    file = tmp_path / f"reviewed.{form}"
    rows = [
        {"external_id": "a", "verdict": "disagree", "labels": "neutral", "job_id": ""},
        {"external_id": "b", "verdict": "disagree", "labels": "clean", "job_id": str(other)},
    ]
    if form == "csv":
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        del rows[0]["job_id"]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    unnamed = invoke(database, "feedback", "import", file)
    named = invoke(database, "feedback", "import", file, "--job", str(job))
    without_column = tmp_path / "short.csv"
    without_column.write_text("external_id,verdict\nb,agree\n", encoding="utf-8")
    short = invoke(database, "feedback", "import", without_column, "--job", str(job))

    assert "job_id: it is missing" in unnamed.stderr
    assert "1 verdict added, 1 rejected" in unnamed.stderr
    assert "1 verdict added, 1 there already, 0 rejected" in named.stderr
    assert short.exit_code == 0, short.stderr
    exported = invoke(database, "feedback", "export", "sentiment").stdout.splitlines()
    assert [json.loads(row)["external_id"] for row in exported] == ["a", "b"]


def test_ids_may_be_integers_as_in_a_submit(
    database: DatabaseUrls,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    tmp_path: Path,
) -> None:
    """Without it, anyone who submitted integers as ids has to rewrite them to judge the results."""
    documents = '{"id": 7, "text": "good"}\n{"id": 8.0, "text": "good"}'
    job_id = invoke(database, "submit", "sentiment", "-", stdin=documents).stdout.strip()
    work_off(producer_engine, worker_engine, JobId(UUID(job_id)), POSITIVE)
    verdict = {"job_id": job_id, "verdict": "agree"}
    file = write_lines(
        tmp_path / "a.jsonl",
        *(verdict | {"external_id": given} for given in (7, True, 8.0)),
    )

    imported = invoke(database, "feedback", "import", file)

    assert "2 verdicts added, 1 rejected" in imported.stderr
    assert f"{file}:2: external_id: it must be the id of a document" in imported.stderr


def test_line_that_is_no_object_is_told_the_fields_of_a_verdict(
    database: DatabaseUrls, tmp_path: Path
) -> None:
    """Without it, the message names the fields of a document, which an import refuses."""
    file = tmp_path / "a.jsonl"
    file.write_text('"agree"\n', encoding="utf-8")

    imported = invoke(database, "feedback", "import", file)

    example = '{"job_id": ..., "external_id": ..., "verdict": ...}'
    assert f"{file}:1: the line is JSON but not an object; write {example}" in imported.stderr


def test_verdict_that_is_too_long_for_postgres_ends_no_import(
    database: DatabaseUrls, engine: sa.Engine, jobs: dict[Task, JobId], tmp_path: Path
) -> None:
    """Without it, one oversized cell stops an import, with a message that blames the server."""
    file = tmp_path / "reviewed.csv"
    job = jobs[Task.SENTIMENT]
    long = "".join(chr(0x4E00 + number) for number in range(9000))  # incompressible
    file.write_text(
        f"job_id,external_id,verdict,annotator\n{job},a,agree,{long}\n{job},a,agree,anna\n",
        encoding="utf-8",
    )

    imported = invoke(database, "feedback", "import", file)
    with (
        pytest.raises(InputError, match="nothing so large"),
        reachable(engine),
        engine.begin() as connection,
    ):
        connection.execute(
            sa.text("update textmill.job set idempotency_key = :key, content_hash = ''"),
            {"key": long},
        )

    assert imported.exit_code == 1
    assert "1 verdict added, 1 rejected" in imported.stderr
    assert f"{file}:2: annotator:" in imported.stderr


def test_broken_row_ends_no_import(
    database: DatabaseUrls, jobs: dict[Task, JobId], tmp_path: Path
) -> None:
    """Without it, one unexpected cell or field name costs all rows below it."""
    job = jobs[Task.SENTIMENT]
    good = f"{job},a,agree"
    table = tmp_path / "REVIEWED.CSV"
    table.write_text(
        "job_id,external_id,verdict,annotator,comment\n"
        f'{good},kim,{"x" * 140_000}\n{good},lin,"open\n{good},anna,fine\n',
        encoding="utf-8",
    )
    lines = tmp_path / "reviewed.jsonl"
    rows = [
        {"job_id": str(job), "external_id": "b", "verdict": "agree", **more}
        for more in ({"\ud800": 1}, {"annotator": "kim"})
    ]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    from_table = invoke(database, "feedback", "import", table)
    from_lines = invoke(database, "feedback", "import", lines)

    assert from_table.exit_code == from_lines.exit_code == 1
    assert f"{table}:3: no record starts here" in from_table.stderr
    assert "2 verdicts added, 1 rejected" in from_table.stderr
    assert f"{lines}:1: the name of a field holds half of a surrogate pair" in from_lines.stderr
    assert "1 verdict added, 1 rejected" in from_lines.stderr


def test_table_that_is_of_something_else_is_refused_once(
    database: DatabaseUrls, tmp_path: Path
) -> None:
    """Without it, the wrong file fills a terminal with the same message for each of its rows."""
    table = tmp_path / "reviewed.csv"
    table.write_text("id,text\n" + "1,good\n" * 1000, encoding="utf-8")

    ended = invoke(database, "feedback", "import", table)

    assert ended.exit_code == 2
    assert ended.stderr == (
        f"textmill: {table} has no column job_id, external_id, verdict; verdicts have the columns"
        " job_id, external_id, verdict, labels, keywords, comment, annotator, adjudicates, of which"
        " job_id, external_id, verdict are needed; it has: id, text\n"
    )


@pytest.mark.parametrize("name", ["reviewed.txt", "reviewed.pdf"])
def test_file_of_another_format_is_refused_with_those_of_verdicts(
    database: DatabaseUrls, tmp_path: Path, name: str
) -> None:
    """Without it, the message names a format that the option refuses."""
    file = tmp_path / name
    file.touch()

    ended = invoke(database, "feedback", "import", file)

    assert ended.exit_code == 2
    assert ended.stderr.endswith("give --format jsonl|csv|tsv|parquet\n")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_results_with_verdicts_beside_them_can_be_imported(
    database: DatabaseUrls, jobs: dict[Task, JobId], tmp_path: Path, form: str
) -> None:
    """Without it, anyone who judges in a spreadsheet has to remove its other columns."""
    job = jobs[Task.SENTIMENT]
    results = tmp_path / f"results.{form}"
    invoke(database, "results", job, "--text", "-o", results)
    if form == "csv":
        with results.open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, object]] = [dict(row) for row in csv.DictReader(file)]
    else:
        rows = pq.read_table(results).to_pylist()
    judged = tmp_path / f"judged.{form}"
    for row in rows:
        row |= {"job_id": str(job), "verdict": "agree"}
    if form == "csv":
        with judged.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), judged)

    imported = invoke(database, "feedback", "import", judged, "--json")

    assert json.loads(imported.stdout) == {
        "added": 2,
        "there_already": 0,
        "not_judged": 0,
        "rejected": 1,  # document c, which failed
    }
    assert imported.stderr.count("ignored, no columns of verdicts: status, label, score") == 1


def test_rows_that_nobody_judged_are_left_out_and_counted(
    database: DatabaseUrls, jobs: dict[Task, JobId], tmp_path: Path
) -> None:
    """Without it, anyone who judged part of a spreadsheet gets an error for every other row."""
    file = tmp_path / "reviewed.csv"
    file.write_text(
        "external_id,verdict,labels,comment\na,agree,,\nb,,,\nb,,neutral,\nb,,,lukewarm\n",
        encoding="utf-8",
    )
    keywords = tmp_path / "keywords.csv"
    keywords.write_text("external_id,verdict,keywords\na,,green tea;pot\n", encoding="utf-8")

    some = invoke(database, "feedback", "import", file, "--job", str(jobs[Task.SENTIMENT]))
    none = invoke(database, "feedback", "import", keywords, "--job", str(jobs[Task.KEYWORDS]))

    assert "1 verdict added, 1 not judged, 2 rejected" in some.stderr
    assert (none.exit_code, none.stderr) == (0, "0 verdicts added, 1 not judged, 0 rejected\n")


def test_keywords_may_be_marked_as_results_mark_them(
    database: DatabaseUrls, jobs: dict[Task, JobId], tmp_path: Path
) -> None:
    """Without it, a model learns generated keywords that people keep with a leading plus."""
    file = tmp_path / "reviewed.csv"
    row = f"{jobs[Task.KEYWORDS]},a,disagree,green tea;+hot drinks;+"
    file.write_text(f"job_id,external_id,verdict,keywords\n{row}\n", encoding="utf-8")

    imported = invoke(database, "feedback", "import", file)
    exported = invoke(database, "feedback", "export", "keywords")

    assert imported.exit_code == 0, imported.stderr
    assert json.loads(exported.stdout)["keywords"] == ["green tea", "hot drinks"]


def test_rejected_lines_of_one_kind_are_named_a_few_times_and_then_counted(
    database: DatabaseUrls, jobs: dict[Task, JobId], tmp_path: Path
) -> None:
    """Without it, the one other mistake in a large file is lost among thousands of lines."""
    job = str(jobs[Task.SENTIMENT])
    row = {"job_id": job, "verdict": "agree"}
    unknown = [row | {"external_id": f"x{number}"} for number in range(30)]
    file = write_lines(
        tmp_path / "a.jsonl", *unknown, row | {"external_id": "a", "verdict": "perhaps"}
    )

    imported = invoke(database, "feedback", "import", file)

    assert imported.stderr.count("there is no document") == 10
    more = "and 20 more of this kind: give the id that the document was submitted with"
    assert more in imported.stderr
    assert f"{file}:31: verdict: it must be agree or disagree" in imported.stderr
    assert "0 verdicts added, 31 rejected" in imported.stderr


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_verdicts_may_come_by_standard_input(
    database: DatabaseUrls, jobs: dict[Task, JobId], form: str
) -> None:
    """Without it, the output of another program has to be written to a file first."""
    line = {"job_id": str(jobs[Task.SENTIMENT]), "external_id": "a", "verdict": "agree"}
    given = (
        f"{json.dumps(line)}\n{{}}\n"
        if form == "jsonl"
        else f"{','.join(line)}\n{','.join(line.values())}\n,,maybe\n"
    )

    ended = invoke(database, "feedback", "import", "-", "--format", form, stdin=given)

    assert "1 verdict added, 1 rejected" in ended.stderr
    assert f"-:{2 if form == 'jsonl' else 3}: " in ended.stderr
