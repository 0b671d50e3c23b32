"""`textmill` as a program: what it prints where, and what it ends with."""

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from producer.cli import main
from tests.fixtures.commands import invoke
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import PATIENCE, Run, environment

ROOT = Path(__file__).parents[2]
NO_JOB = "0190f3c2-0000-7000-8000-000000000000"
GOOD = '{"text": "good"}'
INTERRUPTIBLE = """
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind a &
from producer.cli import main

main()
"""
WITHOUT_INPUT = """
import os
import sys

os.close(0)
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
"""
NOTHING_HEAVY = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {
            "ftfy", "numpy", "opencc", "rjieba", "safetensors", "tokenizers", "torch", "worker"
        }:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the test stands: a folder with one good file."""
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "good.jsonl", {"text": "good"})


def write_lines(path: Path, *records: object) -> Path:
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(lines, encoding="utf-8")
    return path


def texts(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.text("select text from textmill.document order by seq")))


def count_jobs(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalars(sa.text("select count(*) from textmill.job")).one())


def test_submit_prints_the_job_id_and_nothing_else_to_stdout(
    textmill: Run, tmp_path: Path, producer_engine: sa.Engine
) -> None:
    """Without it, `job=$(textmill submit …)` breaks in every script."""
    file = write_lines(tmp_path / "reviews.jsonl", {"id": "a", "text": "很好"}, {"text": ""})

    ended = textmill("submit", "sentiment", file, "--name", "night", "--lane", "interactive")

    assert ended.returncode == 0
    with producer_engine.connect() as connection:
        job = connection.execute(sa.text("select * from textmill.job_status")).one()
    assert ended.stdout == f"{job.job_id}\n"
    assert "1 of 2 documents refused" in ended.stderr
    assert (job.task, job.name, job.lane) == ("sentiment", "night", "interactive")
    assert (job.accepted, job.rejected, job.state) == (2, 1, "pending")


def test_submit_says_why_documents_are_refused(database: DatabaseUrls, tmp_path: Path) -> None:
    """Without it, a wrong --text-field or a cut upload looks like a job that went well."""
    packed = gzip.compress(b"".join(b'{"text": "%d"}\n' % n for n in range(5000)))
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[:-8])
    write_lines(tmp_path / "bad.jsonl", {"text": ""}, {"text": 7}, {"text": " "}, {"text": "[x]"})
    (tmp_path / "empty.csv").write_text("id,text\n", encoding="utf-8")
    names = ("bad.jsonl", "empty.csv", "cut.jsonl.gz")

    ended = invoke(database, "submit", "sentiment", *(tmp_path / name for name in names))

    assert ended.exit_code == 0
    *_, empty, count, first, second, third = ended.stderr.splitlines()
    assert empty == f"{tmp_path / 'empty.csv'} holds no document"
    assert count == "4 of 5,005 documents refused:"
    assert first.startswith("  1 damaged_file: the file is damaged from line 5001 on (")
    assert second == "  2 empty_text: the text is empty"
    assert third == "  1 invalid_record: the text is a number; it must be a string"


def test_submit_json_has_the_promised_fields(database: DatabaseUrls) -> None:
    """Without it, programs that read the answer break."""
    lines = '{"text": "good"}\n{"text": 7}\n'

    ended = invoke(database, "submit", "sentiment", "-", "--json", stdin=lines)

    answer = json.loads(ended.stdout)
    assert list(answer) == ["job_id", "accepted", "rejected"]
    assert UUID(answer["job_id"]).version == 7
    assert (answer["accepted"], answer["rejected"]) == (2, 1)


def test_several_files_of_any_format_make_one_job_in_their_order(
    database: DatabaseUrls, tmp_path: Path, producer_engine: sa.Engine
) -> None:
    """Without it, a night's export of several files is as many jobs, or loses some."""
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
    """Without it, a pipe needs a file in between."""
    line = json.dumps({"key": 17, "body": "hello", "shop": "x"})

    ended = textmill(
        *("submit", "moderation", "-", "--text-field", "body", "--id-field", "key"), stdin=line
    )

    with producer_engine.connect() as connection:
        (row,) = connection.execute(sa.text("select * from textmill.document"))
    assert ended.returncode == 0
    assert (row.external_id, row.text, row.metadata) == ("17", "hello", {"shop": "x"})


def test_repeated_submit_prints_the_first_job_and_other_content_is_refused(
    database: DatabaseUrls, tmp_path: Path, producer_engine: sa.Engine
) -> None:
    """Without it, a scheduler that runs twice doubles the rows."""
    file = write_lines(tmp_path / "a.jsonl", {"text": "good"})
    other = write_lines(tmp_path / "b.jsonl", {"text": "bad"})

    first = invoke(database, "submit", "sentiment", file, "--idempotency-key", "night-1")
    again = invoke(database, "submit", "sentiment", file, "--idempotency-key", "night-1")
    changed = invoke(database, "submit", "sentiment", other, "--idempotency-key", "night-1")

    assert (first.exit_code, again.exit_code, changed.exit_code) == (0, 0, 2)
    assert again.stdout == first.stdout
    assert "choose another key" in changed.stderr
    assert count_jobs(producer_engine) == 1


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["submit", "translate", "good.jsonl"], "'sentiment', 'keywords', 'moderation'"),
        (["submit", "sentiment", "good.jsonl", "absent.jsonl"], "absent.jsonl"),
        (["submit", "sentiment", "good.jsonl", "--text-field", "body"], "'text'"),
        (["submit", "sentiment", "good.jsonl", "--id-field", "key"], "--id-field"),
        (["submit", "sentiment", "good.jsonl", "--name", "x" * 201], "--name"),
        (["submit", "sentiment", "good.jsonl", ".", "--format", "txt"], "is a directory"),
        (["submit", "sentiment", "good.jsonl", "."], ". is a directory; name the files in it"),
        (["submit", "sentiment", "good.jsonl", "scan.pdf"], "--format"),
        (["status", "yesterday"], "Invalid value for 'JOB'"),
        (["submit", "praise", "good.jsonl"], "Invalid value for 'TASK'"),
        (["results", NO_JOB, "-o", "outcomes.xlsx"], "give --format jsonl|csv|parquet"),
        (["status", NO_JOB], "textmill status"),
        (["results", NO_JOB], "textmill status"),
    ],
)
@pytest.mark.usefixtures("in_folder")
def test_request_that_cannot_be_carried_out_exits_with_2_and_writes_nothing(
    database: DatabaseUrls,
    producer_engine: sa.Engine,
    arguments: list[str],
    remedy: str,
) -> None:
    """Without it, a typing error leaves half a job, or a script cannot tell it from an outage."""
    ended = invoke(database, *arguments)

    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert remedy in ended.stderr
    assert count_jobs(producer_engine) == 0


@pytest.mark.parametrize(
    "command", ["submit sentiment good.jsonl", "status", "db check", "feedback export keywords"]
)
@pytest.mark.usefixtures("in_folder")
def test_database_that_is_down_exits_with_3_and_a_remedy_without_the_password(
    database: DatabaseUrls, command: str
) -> None:
    """Without it, a scheduler cannot tell an outage from bad input, or a log holds the secret."""
    down = "postgresql://textmill:top-secret@127.0.0.1:1/textmill"

    ended = invoke(database, *command.split(), TEXTMILL_DATABASE_URL=down)

    assert ended.exit_code == 3
    assert "Postgres at postgresql://textmill:***@127.0.0.1:1/textmill does not" in ended.stderr
    assert "start it, or correct TEXTMILL_DATABASE_URL" in ended.stderr
    assert "top-secret" not in ended.output


@pytest.mark.parametrize("command", ["submit sentiment good.jsonl", "status", "db check"])
@pytest.mark.usefixtures("in_folder")
def test_database_that_was_not_migrated_exits_with_3_and_the_command_to_run(
    database: DatabaseUrls, command: str
) -> None:
    """Without it, the first command on one's own server is a stack trace."""
    bare = sa.make_url(database.owner).set(database="postgres")
    url = bare.render_as_string(hide_password=False)

    ended = invoke(database, *command.split(), TEXTMILL_DATABASE_URL=url)

    assert ended.exit_code == 3
    assert "run: textmill db upgrade" in ended.stderr


@pytest.mark.usefixtures("in_folder")
def test_role_without_the_right_exits_with_2_and_says_so(database: DatabaseUrls) -> None:
    """Without it, who logs in as the wrong role gets a stack trace."""
    submit = ("submit", "sentiment", "good.jsonl")

    ended = invoke(database, *submit, TEXTMILL_DATABASE_URL=database.reader)

    assert ended.exit_code == 2
    assert "permission denied" in ended.stderr


@pytest.mark.parametrize("name", ["TEXTMILL_LOAD_BATCH", "TEXTMILL_THREADS"])
def test_malformed_setting_exits_with_2_and_is_named(database: DatabaseUrls, name: str) -> None:
    """Without it, a mistyped variable is a stack trace, or is silently ignored."""
    ended = invoke(database, "status", **{name: "many"})

    assert ended.exit_code == 2
    assert name in ended.stderr
    assert "many" not in ended.stderr


@pytest.mark.parametrize("group", [[], ["feedback"], ["sweep"], ["db"]], ids=str)
def test_help_names_every_command_in_whole_words(group: list[str]) -> None:
    """Without it, who looks for a command reads half of what it does."""
    shown = CliRunner().invoke(main, [*group, "--help"], terminal_width=80).output

    assert "..." not in shown.partition("Commands:")[2]


def test_servers_are_not_started_without_a_word(tmp_path: Path) -> None:
    """Without it, the first `textmill results` seems to hang."""
    environment = {
        "TEXTMILL_DATABASE_URL": "",
        "TEXTMILL_BROKER_URL": "",
        "TEXTMILL_DATA_DIR": str(tmp_path / "data"),
    }

    ended = CliRunner().invoke(main, ["status"], env=environment)

    assert ended.exit_code == 0
    assert "starting Postgres" in ended.stderr


def test_wait_exits_with_1_when_documents_failed_and_with_0_otherwise(
    database: DatabaseUrls, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a nightly script goes on with half its rows."""
    submit = ("submit", "sentiment", "-", "--idempotency-key", "night-1", "--json")
    job_id = json.loads(invoke(database, *submit, stdin=GOOD).stdout)["job_id"]
    work_off(producer_engine, worker_engine, UUID(job_id), POSITIVE)

    whole = invoke(database, *submit, "--wait", stdin=GOOD)
    broken = invoke(database, "submit", "sentiment", "-", "--wait", stdin='{"text": ""}')

    assert whole.exit_code == 0
    assert json.loads(whole.stdout)["job_id"] == job_id
    assert json.loads(whole.stdout)["state"] == "completed"
    assert broken.exit_code == 1


def test_wait_that_is_broken_off_has_named_its_job(database: DatabaseUrls, tmp_path: Path) -> None:
    """Without it, people submit again what already runs."""
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


@pytest.mark.parametrize(
    "program", [["producer.cli", "submit"], ["worker.cli", "predict"]], ids=["submit", "predict"]
)
def test_closed_standard_input_is_named(database: DatabaseUrls, program: list[str]) -> None:
    """Without it, a job of cron or systemd that reads nothing ends with a traceback."""
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_INPUT, *program, "sentiment", "-"],
        env=environment(database.producer, "redis://127.0.0.1:1/0", "unused"),
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )

    assert ended.returncode == 2
    assert "standard input is closed" in ended.stderr


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


def test_producer_works_where_nothing_of_the_worker_is_installed(
    textmill: Run, tmp_path: Path
) -> None:
    """Without it, every ETL host has to install torch."""
    (tmp_path / "sitecustomize.py").write_text(NOTHING_HEAVY, encoding="utf-8")
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    parquet = tmp_path / "outcomes.parquet"

    submitted = textmill("submit", "sentiment", "-", stdin=GOOD, **path)
    written = textmill("results", submitted.stdout.strip(), "-o", parquet, **path)
    again = textmill("submit", "sentiment", parquet, "--text-field", "status", **path)

    assert (submitted.stderr, submitted.returncode) == ("", 0)
    assert (written.stderr, written.returncode) == ("", 0)
    assert (again.stderr, again.returncode) == ("", 0)


def test_name_of_a_job_is_no_markup(database: DatabaseUrls) -> None:
    """Without it, one job with brackets in its name hides the status of all."""
    name = "[/v2][red]:tea:"

    invoke(database, "submit", "sentiment", "-", "--name", name, stdin=GOOD)
    shown = invoke(database, "status")

    assert name in shown.stdout


@pytest.mark.parametrize("when", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
def test_deadline_beyond_the_calendar_is_refused(database: DatabaseUrls, when: str) -> None:
    """Without it, a placeholder for "never" ends in a traceback."""
    refused = invoke(database, "submit", "sentiment", "-", "--deadline", when, stdin=GOOD)

    assert refused.exit_code == 2
    assert "--deadline" in refused.stderr
