"""`textmill results`: where outcomes are written, and what is printed when they are gone."""

import json
import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from producer import Textmill
from producer.outcomes import outcomes
from schema.documents import Document, JobId
from schema.states import DocumentStatus
from tests.fixtures.chunks import add_job
from tests.fixtures.commands import invoke
from tests.fixtures.outcomes import FAILURE, POSITIVE, work_off
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import Run, environment
from tests.fixtures.submits import hand_over
from tests.fixtures.waiting import until_blocked

GOOD = '{"text": "good"}'


def test_results_written_twice_at_once_are_whole(
    database: DatabaseUrls, engine: sa.Engine, textmill: Run, tmp_path: Path
) -> None:
    """Without it, two runs of a nightly script remove each other's file."""
    job_id = invoke(database, "submit", "sentiment", "-", stdin=f"{GOOD}\n" * 3).stdout.strip()
    output = tmp_path / "outcomes.jsonl"

    with ThreadPoolExecutor(2) as pool:
        with engine.begin() as connection:
            connection.exec_driver_sql("lock table textmill.document")
            writing = [pool.submit(textmill, "results", job_id, "-o", output) for _ in range(2)]
            until_blocked(engine, *writing)
        ended = [done.result() for done in writing]

    assert [done.returncode for done in ended] == [0, 0]
    assert len(output.read_text(encoding="utf-8").splitlines()) == 3
    assert list(tmp_path.iterdir()) == [output]


def test_results_go_into_a_pipe_as_into_a_file(
    database: DatabaseUrls, textmill: Run, tmp_path: Path
) -> None:
    """Without it, `-o /dev/null` as root replaces the device with a file."""
    job_id = invoke(database, "submit", "sentiment", "-", stdin=GOOD).stdout.strip()
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    written = textmill("results", job_id, "-o", pipe)

    assert written.returncode == 0
    assert json.loads(os.read(reading, 10_000))["status"] == "pending"
    os.close(reading)


def test_results_go_through_a_link_and_leave_it_one(database: DatabaseUrls, tmp_path: Path) -> None:
    """Without it, `-o /dev/stdout > file` leaves the file empty, and root without /dev/stdout."""
    job_id = invoke(database, "submit", "sentiment", "-", stdin=GOOD).stdout.strip()
    link, file = tmp_path / "latest.jsonl", tmp_path / "file"
    link.symlink_to(file)

    written = invoke(database, "results", job_id, "-o", str(link))

    assert written.exit_code == 0, written.stderr
    assert json.loads(file.read_text(encoding="utf-8"))["status"] == "pending"
    assert link.is_symlink()


@pytest.mark.parametrize("dropped", [("document", "result", "failure"), ("result",), ("failure",)])
def test_job_whose_month_was_dropped_says_so(
    database: DatabaseUrls,
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    tmp_path: Path,
    dropped: tuple[str, ...],
) -> None:
    """Without it, a script takes an empty file for the results of a night."""
    lines = f'{GOOD}\n{{"text": ""}}\n'
    job_id = invoke(database, "submit", "sentiment", "-", stdin=lines).stdout.strip()
    work_off(producer_engine, worker_engine, JobId(UUID(job_id)), POSITIVE)
    output = tmp_path / "outcomes.jsonl"
    output.write_text("of yesterday", encoding="utf-8")
    with engine.begin() as connection:
        for table in dropped:
            connection.exec_driver_sql(f"drop table textmill.{table}_{datetime.now(UTC):%Y%m}")

    printed = invoke(database, "results", job_id)
    written = invoke(database, "results", job_id, "-o", output)
    retried = invoke(database, "retry", job_id)

    assert (printed.exit_code, printed.stdout, written.exit_code) == (2, "", 2)
    for said in (printed, written, retried):
        assert f"the documents of job {job_id} are gone, or their outcomes" in said.stderr
    assert output.read_text(encoding="utf-8") == "of yesterday"
    assert list(tmp_path.iterdir()) == [output]


def test_job_without_documents_has_no_results_and_is_not_taken_for_a_dropped_one(
    database: DatabaseUrls,
) -> None:
    """Without it, a night without documents makes a script fail."""
    job_id = invoke(database, "submit", "sentiment", "-", stdin="").stdout.strip()

    printed = invoke(database, "results", job_id)

    assert (printed.exit_code, printed.stdout) == (0, "")


def test_results_come_with_their_texts_where_asked(database: DatabaseUrls) -> None:
    """Without it, anyone who reads results has to join them to their documents."""
    stdin = f'{GOOD}\n{{"text": ""}}\n'
    job_id = invoke(database, "submit", "sentiment", "-", stdin=stdin).stdout.strip()

    plain = invoke(database, "results", job_id)
    whole = invoke(database, "results", job_id, "--text")

    assert "text" not in json.loads(plain.stdout.splitlines()[0])
    assert [json.loads(line)["text"] for line in whole.stdout.splitlines()] == ["good", None]


def test_results_are_those_of_a_status_where_asked(
    database: DatabaseUrls, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, three failures are looked for among ten million results."""
    job_id = add_job(producer_engine, 4, chunk=2)
    work_off(
        *(producer_engine, worker_engine, job_id),
        lambda document: POSITIVE if document.seq == 1 else FAILURE,
        chunks=1,
    )

    ids = {
        status: [
            json.loads(line)["external_id"]
            for line in invoke(database, "results", job_id, "--status", status).stdout.splitlines()
        ]
        for status in DocumentStatus
    }
    unfinished = invoke(database, "results", job_id)

    assert ids == {"succeeded": ["1"], "failed": ["2"], "pending": ["3", "4"], "cancelled": []}
    assert "the job is not over: running, 2 of 4 documents done" in unfinished.stderr
    with Textmill(database.producer) as textmill:
        (failed,) = textmill.results(job_id, status="failed")
        assert failed["external_id"] == "2"
        with pytest.raises(ValueError, match="it is one of: succeeded, failed, cancelled, pending"):
            textmill.results(job_id, status="broken")


def test_name_in_capitals_tells_the_format_as_that_of_an_input_does(
    database: DatabaseUrls, tmp_path: Path
) -> None:
    """Without it, a name that `submit` reads as CSV is refused for results."""
    job_id = invoke(database, "submit", "sentiment", "-", stdin=GOOD).stdout.strip()
    output = tmp_path / "OUTCOMES.CSV"

    ended = invoke(database, "results", job_id, "-o", output)

    assert ended.exit_code == 0, ended.stderr
    assert output.read_text(encoding="utf-8").startswith("external_id,status,label,")


def test_a_dash_is_standard_output(database: DatabaseUrls, tmp_path: Path) -> None:
    """Without it, people who know `-` from other programs get a file of that name."""
    job_id = invoke(database, "submit", "sentiment", "-", stdin=GOOD).stdout.strip()

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        ended = invoke(database, "results", job_id, "-o", "-")

    assert json.loads(ended.stdout)["status"] == "pending"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
@pytest.mark.parametrize("command", [["results"], ["status", "--json"]])
def test_output_that_is_full_is_said_and_no_failure_of_documents(
    database: DatabaseUrls, command: list[str]
) -> None:
    """Without it, a script takes half a file for the whole, or a full disk for failed documents."""
    job_id = invoke(database, "submit", "sentiment", "-", stdin=GOOD).stdout.strip()

    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "producer.cli", *command, job_id],
            env=environment(database.producer, "redis://127.0.0.1:1/0", "unused"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert ended.returncode == 2
    reason = "cannot write standard output: No space left on device; send it to another place"
    assert ended.stderr.endswith(f"textmill: {reason}\n")


def test_memory_does_not_grow_with_long_texts(producer_engine: sa.Engine) -> None:
    """Without it, reading the results of a thousand long documents takes gigabytes of memory."""
    size = 128 * 1024
    long = (Document(text=f"{number}{'x' * size}") for number in range(700))
    job_id = hand_over(producer_engine, long).job_id

    tracemalloc.start()
    lengths = [len(row["text"] or "") for row in outcomes(producer_engine, job_id, texts=True)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(lengths) == 700
    assert peak < 300 * size
