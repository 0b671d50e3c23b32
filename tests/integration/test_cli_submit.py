"""`textmill submit`: what it reads, what it prints, and what it waits for."""

import gzip
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from producer import control, jobs
from producer.cli import main
from producer.jobs import JobStatus
from schema.documents import JobId
from schema.errors import ServiceUnavailableError
from tests.fixtures.commands import GOOD, invoke
from tests.fixtures.files import write_lines
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import Run, environment
from tests.fixtures.submits import count_jobs
from tests.fixtures.waiting import PATIENCE

INTERRUPTIBLE = """
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if the tests run with &
from producer.cli import main

main()
"""


def texts(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.text("select text from textmill.document order by seq")))


def test_submit_prints_the_job_id_and_nothing_else_to_stdout(
    textmill: Run, tmp_path: Path, producer_engine: sa.Engine
) -> None:
    """Without it, `job=$(textmill submit …)` breaks in every script."""
    file = write_lines(tmp_path / "reviews.jsonl", {"id": "a", "text": "很好"}, {"text": ""})

    options = ("--name", "night", "--lane", "interactive", "--weight", "3")

    ended = textmill("submit", "sentiment", file, *options)

    assert ended.returncode == 0
    with producer_engine.connect() as connection:
        job = connection.execute(sa.text("select * from textmill.job_status")).one()
        assert connection.scalar(sa.text("select weight from textmill.job")) == 3
    assert ended.stdout == f"{job.job_id}\n"
    assert "1 of 2 documents rejected" in ended.stderr
    assert (job.task, job.name, job.lane) == ("sentiment", "night", "interactive")
    assert (job.accepted, job.rejected, job.state) == (2, 1, "pending")


@pytest.mark.parametrize(("text", "waits"), [("很好", True), ("", False)])
def test_a_job_waits_for_workers_only_if_something_is_left_to_run(
    database: DatabaseUrls,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    waits: bool,  # noqa: FBT001
) -> None:
    """Without it, people start workers for a job that is over, or wait for one that cannot run."""
    monkeypatch.setattr(import_module("producer.cli.submit"), "is_served", lambda: False)
    file = write_lines(tmp_path / "reviews.jsonl", {"text": text})

    ended = invoke(database, "submit", "sentiment", file)

    assert ("the job begins with: textmill up" in ended.stderr) == waits


def test_submit_says_why_documents_are_rejected(database: DatabaseUrls, tmp_path: Path) -> None:
    """Without it, a wrong --text-field or a truncated upload looks like a job that went well."""
    packed = gzip.compress(b"".join(b'{"text": "%d"}\n' % n for n in range(5000)))
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[:-8])
    write_lines(tmp_path / "bad.jsonl", {"text": ""}, {"text": 7}, {"text": " "}, {"text": "[x]"})
    (tmp_path / "empty.csv").write_text("id,text\n", encoding="utf-8")
    names = ("bad.jsonl", "empty.csv", "cut.jsonl.gz")

    ended = invoke(database, "submit", "sentiment", *(tmp_path / name for name in names))

    assert ended.exit_code == 1
    *_, empty, count, first, second, third = ended.stderr.splitlines()
    assert empty == f"{tmp_path / 'empty.csv'} holds no document"
    assert count == "4 of 5,005 documents rejected:"
    cut, bad = (tmp_path / name for name in ("cut.jsonl.gz", "bad.jsonl"))
    assert first.startswith(f"  1 damaged_file: {cut}: the file is damaged from line 5001 on (")
    assert second == f"  2 empty_text: {bad}: the text is empty"
    assert third == f"  1 invalid_record: {bad}: the text is a number; it must be a string"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ('{"text": "good"}\n{"text": ""}\n', 0),
        ("", 0),
        ('{"text": ""}\n{"text": 7}\n', 1),
        ("id,text\n1,good\n", 1),
    ],
)
def test_submit_of_which_nothing_runs_is_no_success(
    database: DatabaseUrls, lines: str, code: int, producer_engine: sa.Engine
) -> None:
    """Without it, a nightly script continues with none of its rows."""
    ended = invoke(database, "submit", "sentiment", "-", stdin=lines)

    assert ended.exit_code == code
    assert count_jobs(producer_engine) == 1
    hint = "standard input was read as JSON Lines, which it is not; give --format csv|tsv|"
    assert (hint in ended.stderr) == (lines[:2] == "id")


def test_submit_json_has_the_promised_fields(database: DatabaseUrls) -> None:
    """Without it, programs that read the output break."""
    lines = '{"text": "good"}\n{"text": 7}\n'

    ended = invoke(database, "submit", "sentiment", "-", "--json", stdin=lines)

    answer = json.loads(ended.stdout)
    assert list(answer)[:4] == ["job_id", "accepted", "rejected", "repeated"]
    assert {*answer} == {*JobStatus.model_fields, "repeated"}
    assert UUID(answer["job_id"]).version == 7
    assert (answer["accepted"], answer["rejected"]) == (2, 1)


def test_several_files_of_any_format_make_one_job_in_their_order(
    database: DatabaseUrls, tmp_path: Path, producer_engine: sa.Engine
) -> None:
    """Without it, an export of several files becomes as many jobs, or some files are lost."""
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"text": "one"}\n{"text": "two"}\n'))
    table = tmp_path / "b.csv"
    table.write_text("text,shop\nthree,x\n", encoding="utf-8")
    plain = tmp_path / "c.txt"
    plain.write_text("four\n", encoding="utf-8")

    ended = invoke(database, "submit", "keywords", packed, table, plain)

    assert ended.exit_code == 0
    assert count_jobs(producer_engine) == 1
    assert texts(producer_engine) == ["one", "two", "three", "four"]


def test_standard_input_is_read_with_the_fields_that_are_named(
    textmill: Run, producer_engine: sa.Engine
) -> None:
    """Without it, piped documents have to be written to a file first."""
    line = json.dumps({"key": 17, "body": "hello", "shop": "x"})

    ended = textmill(
        *("submit", "moderation", "-", "--text-field", "body", "--id-field", "key"), stdin=line
    )

    with producer_engine.connect() as connection:
        (row,) = connection.execute(sa.text("select * from textmill.document"))
    assert ended.returncode == 0
    assert (row.external_id, row.text, row.metadata) == ("17", "hello", {"shop": "x"})


def test_rejected_record_of_several_files_names_its_own(
    database: DatabaseUrls, tmp_path: Path
) -> None:
    """Without it, a line number could refer to any of the files."""
    good, bad = tmp_path / "good.jsonl", tmp_path / "b\udcffd.jsonl"
    good.write_text('{"body": "hello"}\n', encoding="utf-8")
    bad.write_text("{}", encoding="utf-8")

    alone = invoke(database, "submit", "sentiment", bad, "--text-field", "body")
    among = invoke(database, "submit", "sentiment", good, bad, "--text-field", "body")
    rows = invoke(database, "results", among.stdout.strip()).stdout.splitlines()

    reason = "the field 'body' is missing or null"
    assert f"missing_text: {reason}" in alone.stderr
    assert f"missing_text: {tmp_path}/b?d.jsonl: {reason}" in among.stderr
    assert json.loads(rows[-1])["error"]["message"] == f"{tmp_path}/b?d.jsonl: {reason}"


def test_repeated_submit_prints_the_first_job_and_other_content_is_refused(
    database: DatabaseUrls, tmp_path: Path, producer_engine: sa.Engine
) -> None:
    """Without it, a scheduler that runs twice doubles the rows."""
    file = write_lines(tmp_path / "a.jsonl", {"text": "good"})
    other = write_lines(tmp_path / "b.jsonl", {"text": "bad"})

    first = invoke(database, "submit", "sentiment", file, "--idempotency-key", "night-1")
    again = invoke(database, "submit", "sentiment", file, "--idempotency-key", "night-1")
    told = [
        json.loads(invoke(database, *submit, "--json").stdout)["repeated"]
        for submit in (
            ("submit", "sentiment", file, "--idempotency-key", "night-1"),
            ("submit", "moderation", file, "--idempotency-key", "night-2"),
        )
    ]
    changed = invoke(database, "submit", "sentiment", other, "--idempotency-key", "night-1")

    assert (first.exit_code, again.exit_code, changed.exit_code) == (0, 0, 2)
    assert again.stdout == first.stdout
    assert told == [True, False]
    assert "choose another key" in changed.stderr
    assert count_jobs(producer_engine) == 2


def test_repeated_submit_of_a_job_that_was_ended_is_no_success(
    database: DatabaseUrls, producer_engine: sa.Engine
) -> None:
    """Without it, a nightly job that was cancelled counts as done once it is submitted again."""
    submit = ("submit", "sentiment", "-", "--idempotency-key", "night-1")
    job_id = invoke(database, *submit, stdin=GOOD).stdout.strip()
    control.cancel(producer_engine, JobId(UUID(job_id)))

    again = invoke(database, *submit, stdin=GOOD)

    assert (again.exit_code, again.stdout) == (1, f"{job_id}\n")
    assert "submitted before with this key; their job is cancelled" in again.stderr
    assert f"1 of its documents were cancelled; run them with: textmill retry {job_id}" in (
        again.stderr
    )


def test_wait_exits_with_1_when_documents_failed_and_with_0_otherwise(
    database: DatabaseUrls, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a nightly script continues with half its rows."""
    submit = ("submit", "sentiment", "-", "--idempotency-key", "night-1", "--json")
    job_id = json.loads(invoke(database, *submit, stdin=GOOD).stdout)["job_id"]
    work_off(producer_engine, worker_engine, JobId(UUID(job_id)), POSITIVE)

    whole = invoke(database, *submit, "--wait", stdin=GOOD)
    broken = invoke(database, "submit", "sentiment", "-", "--wait", stdin='{"text": ""}')

    assert whole.exit_code == 0
    assert json.loads(whole.stdout)["job_id"] == job_id
    assert json.loads(whole.stdout)["state"] == "completed"
    assert broken.exit_code == 1


def test_wait_tells_a_log_what_is_done(
    database: DatabaseUrls,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, a nightly job that takes hours looks as if it hangs."""
    submit = ("submit", "sentiment", "-", "--idempotency-key", "night-1", "--json")
    job_id = json.loads(invoke(database, *submit, stdin=GOOD).stdout)["job_id"]
    work_off(producer_engine, worker_engine, JobId(UUID(job_id)), POSITIVE)

    soon = invoke(database, *submit, "--wait", stdin=GOOD)
    monkeypatch.setattr(sys.modules["producer.cli.submit"], "TELL_EVERY", 0)
    later = invoke(database, *submit, "--wait", stdin=GOOD)

    assert "documents done" not in soon.stderr
    assert "1 of 1 documents done, " in later.stderr
    assert json.loads(later.stdout)["state"] == "completed"


def test_wait_tells_that_nobody_works(
    database: DatabaseUrls, producer_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a job that no worker will ever take looks like a slow one."""
    asked = threading.Event()

    def nobody(_: sa.Engine) -> bool:
        asked.set()
        return False

    def end() -> None:
        asked.wait(PATIENCE)
        control.cancel(producer_engine, jobs.latest(producer_engine, 1)[0].job_id)

    monkeypatch.setattr(sys.modules["producer.cli.submit"], "TELL_EVERY", 0)
    monkeypatch.setattr(sys.modules["producer.cli.show"], "any_alive", nobody)
    with ThreadPoolExecutor() as threads:
        ended = threads.submit(end)
        waited = invoke(database, "submit", "sentiment", "-", "--wait", stdin=GOOD)
        ended.result()

    assert "no worker process is alive; start some with" in waited.stderr


def test_wait_that_is_broken_off_has_named_its_job(database: DatabaseUrls, tmp_path: Path) -> None:
    """Without it, people submit a job again that is already running."""
    good = write_lines(tmp_path / "good.jsonl", {"text": "good"})
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "submit", "sentiment", good, "--wait"],
        env=environment(database.producer, "redis://127.0.0.1:1/0", "unused"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout

    job_id = process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert f"textmill cancel {job_id}" in err
    assert json.loads(invoke(database, "status", job_id, "--json").stdout)["pending"] == 1


def test_wait_that_fails_names_its_job_to_programs(
    database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a program that retries after an outage submits everything twice."""

    def fail(*_: object, **__: object) -> None:
        msg = "Postgres does not answer"
        raise ServiceUnavailableError(msg)

    monkeypatch.setattr(sys.modules["producer.cli.submit"], "statuses", fail)

    ended = invoke(database, "submit", "sentiment", "-", "--wait", "--json", stdin=GOOD)

    answer = json.loads(ended.stdout)
    assert ended.exit_code == 3
    assert (answer["accepted"], answer["rejected"]) == (1, 0)
    assert f"job {answer['job_id']} stays" in ended.stderr


def test_wait_on_a_named_database_starts_nothing(
    database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without it, a host that only submits starts its own Redis and workers, or needs torch."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["producer.cli.submit"], "statuses", stop)
    environment = {
        "TEXTMILL_DATABASE_URL": database.producer,
        "TEXTMILL_BROKER_URL": "",
        "TEXTMILL_DATA_DIR": str(tmp_path / "data"),
    }

    arguments = ["submit", "sentiment", "-", "--wait"]
    ended = CliRunner().invoke(main, arguments, input=GOOD, env=environment)

    assert f"job {ended.stdout.strip()} stays" in ended.stderr
    assert not (tmp_path / "data").exists()


def test_job_that_nothing_runs_says_so(tmp_path: Path) -> None:
    """Without it, a job waits for ever for workers that nobody started."""
    environment = {
        "TEXTMILL_DATABASE_URL": "",
        "TEXTMILL_BROKER_URL": "",
        "TEXTMILL_DATA_DIR": str(tmp_path / "data"),
    }

    ended = CliRunner().invoke(main, ["submit", "sentiment", "-"], input=GOOD, env=environment)

    assert ended.exit_code == 0
    assert "textmill up" in ended.stderr


def test_deadline_may_be_a_duration(database: DatabaseUrls, producer_engine: sa.Engine) -> None:
    """Without it, anyone who means "in four hours" has to compute a time, unlike for sweeps."""
    ended = invoke(database, "submit", "sentiment", "-", "--deadline", "4h", stdin=GOOD)

    assert ended.exit_code == 0
    with producer_engine.connect() as connection:
        left = connection.scalar(sa.text("select deadline_at - created_at from textmill.job"))
    assert abs(left - timedelta(hours=4)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "when",
    ["9999-12-31T23:59:59-12:00", "9999-12-31", "0001-01-01T00:00:00+14:00", "0s", "4 hours"],
)
def test_deadline_that_cannot_be_is_refused(database: DatabaseUrls, when: str) -> None:
    """Without it, a placeholder for "never" ends in a traceback."""
    refused = invoke(database, "submit", "sentiment", "-", "--deadline", when, stdin=GOOD)

    assert refused.exit_code == 2
    assert "deadline" in refused.stderr
