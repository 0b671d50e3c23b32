"""`textmill` as a program: what its commands print, to which stream, and their exit codes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from producer.cli import main
from schema.urls import database_place
from tests.fixtures.commands import GOOD, invoke
from tests.fixtures.files import write_lines
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import Run, environment
from tests.fixtures.submits import count_jobs
from tests.fixtures.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
NO_JOB = "0190f3c2-0000-7000-8000-000000000000"
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
    """Run the test in a folder with one good file."""
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "good.jsonl", {"text": "good"})


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["submit", "translate", "good.jsonl"], "'sentiment', 'keywords', 'moderation'"),
        (["submit", "sentiment", "good.jsonl", "absent.jsonl"], "absent.jsonl"),
        (["submit", "sentiment", "good.jsonl", "--text-field", "body"], "'text'"),
        (["submit", "sentiment", "good.jsonl", "--id-field", "key"], "--id-field"),
        (["submit", "sentiment", "good.jsonl", "--name", "x" * 201], "--name"),
        (["submit", "sentiment", "good.jsonl", "--deadline", "1960-01-01"], "--deadline: "),
        (["submit", "sentiment", "good.jsonl", ".", "--format", "txt"], "is a directory"),
        (["submit", "sentiment", "good.jsonl", "."], ". is a directory; name the files in it"),
        (["submit", "sentiment", "good.jsonl", "scan.pdf"], "--format"),
        (["status", "yesterday"], "Invalid value for 'JOB'"),
        (["submit", "keywords", "good.jsonl", "--explain"], "leave --explain out"),
        (["submit", "sentiment", "good.jsonl", "--generate"], "leave --generate out"),
        (["submit", "praise", "good.jsonl"], "Invalid value for 'TASK'"),
        (["results", NO_JOB, "-o", "outcomes.xlsx"], "give --format jsonl|csv|parquet"),
        (["status", NO_JOB], "textmill status"),
        (["status", NO_JOB[:13]], "there is no job whose id begins with 0190f3c20000;"),
        (["status", NO_JOB[:7]], "Invalid value for 'JOB'"),
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
    """Without it, a scheduler cannot tell an outage from bad input, or logs hold the password."""
    down = "postgresql://textmill:top-secret@127.0.0.1:1/textmill"

    ended = invoke(database, *command.split(), TEXTMILL_DATABASE_URL=down)

    assert ended.exit_code == 3
    assert "Postgres at postgresql://textmill@127.0.0.1:1/textmill does not" in ended.stderr
    assert "start it, or correct TEXTMILL_DATABASE_URL" in ended.stderr
    assert "top-secret" not in ended.output


@pytest.mark.parametrize(
    "mistype",
    [
        lambda url: url.set(password=url.username),
        lambda url: url.set(username="nobody"),
        lambda url: url.set(database="none"),
    ],
    ids=["password", "username", "database"],
)
@pytest.mark.parametrize("command", [["status"], ["db", "check"], ["dispatch"]])
def test_login_that_postgres_refuses_exits_with_2_and_says_so(
    database: DatabaseUrls, command: list[str], mistype: Callable[[sa.URL], sa.URL]
) -> None:
    """Without it, a typing error looks like an outage, and a scheduler retries for ever."""
    url = mistype(sa.make_url(database.producer)).render_as_string(hide_password=False)

    ended = invoke(database, *command, TEXTMILL_DATABASE_URL=url)

    assert ended.exit_code == 2
    assert "refuses the login" in ended.stderr
    assert "; correct TEXTMILL_DATABASE_URL" in ended.stderr


def test_database_that_is_full_exits_with_3(database: DatabaseUrls, engine: sa.Engine) -> None:
    """Without it, a scheduler gives up on a fault that passes in a moment."""
    name = sa.make_url(database.owner).database
    with engine.begin() as connection:
        connection.exec_driver_sql(f"alter database {name} connection limit 0")

    ended = invoke(database, "status")

    assert ended.exit_code == 3
    assert "too many connections" in ended.stderr


@pytest.mark.parametrize("command", ["submit sentiment good.jsonl", "status", "db check"])
@pytest.mark.usefixtures("in_folder")
def test_database_that_was_not_migrated_exits_with_3_and_the_command_to_run(
    database: DatabaseUrls, command: str
) -> None:
    """Without it, the first command on one's own server ends in a stack trace."""
    bare = sa.make_url(database.owner).set(database="postgres")
    url = bare.render_as_string(hide_password=False)

    ended = invoke(database, *command.split(), TEXTMILL_DATABASE_URL=url)

    assert ended.exit_code == 3
    assert "run: textmill db upgrade" in ended.stderr


@pytest.mark.usefixtures("in_folder")
def test_role_without_the_right_exits_with_2_and_says_so(database: DatabaseUrls) -> None:
    """Without it, anyone who logs in as the wrong role gets a stack trace."""
    submit = ("submit", "sentiment", "good.jsonl")

    ended = invoke(database, *submit, TEXTMILL_DATABASE_URL=database.reader)

    assert ended.exit_code == 2
    place = database_place(sa.make_url(database.reader))
    assert f"textmill: the login of {place} lacks a right: permission denied" in ended.stderr
    assert ended.stderr.endswith("name one that is a member of textmill_producer\n")


@pytest.mark.parametrize("name", ["TEXTMILL_LOAD_BATCH", "TEXTMILL_THREADS"])
def test_malformed_setting_exits_with_2_and_is_named(database: DatabaseUrls, name: str) -> None:
    """Without it, a malformed variable ends in a stack trace, or is silently ignored."""
    ended = invoke(database, "status", **{name: "many"})

    assert ended.exit_code == 2
    assert name in ended.stderr
    assert "many" not in ended.stderr


def test_help_needs_no_valid_setting(database: DatabaseUrls) -> None:
    """Without it, whoever mistyped a setting cannot read which options there are instead."""
    asked = invoke(database, "db", "prune", "--help", TEXTMILL_LOAD_BATCH="many")

    assert asked.exit_code == 0
    assert asked.stdout.startswith("Usage: main db prune")


def test_data_directory_that_is_a_file_is_refused_in_a_line(
    database: DatabaseUrls, tmp_path: Path
) -> None:
    """Without it, a wrong path in a setting looks like a fault of the program."""
    file = tmp_path / "file.csv"
    file.touch()

    ended = invoke(database, "status", TEXTMILL_DATABASE_URL="", TEXTMILL_DATA_DIR=str(file))

    assert ended.exit_code == 2
    assert f"textmill: {file} cannot hold the stack's data (Not a directory)" in ended.stderr


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


@pytest.mark.parametrize(
    "program", [["producer.cli", "submit"], ["worker.cli", "predict"]], ids=["submit", "predict"]
)
def test_closed_standard_input_is_named(database: DatabaseUrls, program: list[str]) -> None:
    """Without it, a run by cron or systemd without standard input ends with a traceback."""
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
    assert (written.stderr.count("\n"), written.returncode) == (1, 0)  # the job is not over
    assert (again.stderr, again.returncode) == ("", 0)


def test_name_of_a_job_is_no_markup(database: DatabaseUrls) -> None:
    """Without it, one job with brackets in its name hides the status of all."""
    name = "[/v2][red]:tea:"

    invoke(database, "submit", "sentiment", "-", "--name", name, stdin=GOOD)
    shown = invoke(database, "status")

    assert name in shown.stdout


@pytest.mark.parametrize(
    "command", [["status"], ["results"], ["cancel"], ["feedback", "add"]], ids=str
)
def test_job_may_be_named_by_how_its_id_begins(
    database: DatabaseUrls, engine: sa.Engine, command: list[str]
) -> None:
    """Without it, all 36 characters have to be typed to look at the latest job."""
    ids = ["0190f3c2-1111-7000-8000-00000000000a", "0190f3c2-1111-7000-8000-00000000000b"]
    ids.append("0190f3c2-2222-7000-8000-00000000000c")
    invoke(database, "submit", "sentiment", "-", stdin=GOOD)
    with engine.begin() as connection:
        columns = "task, lane, submitted_by, options, state, accepted, failed, weight"
        for job_id in ids:
            connection.execute(
                sa.text(
                    f"insert into textmill.job (job_id, {columns})"
                    f" select :job_id, {columns} from textmill.job limit 1"
                ),
                {"job_id": job_id},
            )
    verdict = ["a", "agree"] if command[0] == "feedback" else []

    several = invoke(database, *command, ids[0][:12], *verdict)
    one = invoke(database, *command, ids[2][:12].upper(), *verdict)

    assert several.exit_code == 2
    assert f"several jobs' ids begin with 0190f3c2111, such as {ids[1]} and {ids[0]}" in (
        several.stderr
    )
    assert ids[2] in one.output
