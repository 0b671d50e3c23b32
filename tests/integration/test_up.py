"""`textmill up`: what it prints is enough to continue with."""

import json
import shlex
import signal
import subprocess
from itertools import islice
from pathlib import Path

from tests.fixtures.processes import Start

SUBMIT = """select textmill.submit('sentiment', '[{"id": "1", "text": "good"}]')"""


def run(command: str, statement: str) -> str:
    """What a printed command says to a statement: rows, or why it is refused."""
    line = f'{command.strip()} --no-psqlrc --no-password --command "$1"'
    return subprocess.run(
        ["/bin/sh", "-c", line, "sh", statement],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


def test_up_prints_a_login_that_reads_and_one_that_also_writes_and_answers_ctrl_c(
    start: Start, tmp_path: Path
) -> None:
    """Without it, a newcomer's first `textmill.submit` in psql is refused.

    A password in a command would be seen by every account that lists processes. Ctrl-C is answered
    at once; silence would make people press it again.
    """
    data = tmp_path / "the data"
    up = start(
        *("producer.cli", "up", "--workers", "0"),
        TEXTMILL_DATABASE_URL="",
        TEXTMILL_BROKER_URL="",
        TEXTMILL_DATA_DIR=str(data),
    )

    assert up.stdout is not None
    shown = list(islice(up.stdout, 7))
    passwords = json.loads((data / "passwords.json").read_text("utf-8"))

    reads, reader, writes, producer, others = shown[-5:]
    call = f"TEXTMILL_DATA_DIR={shlex.quote(str(data))} textmill submit sentiment FILE --wait"
    assert shown[1] == f"ready; in another terminal:  {call}\n"
    assert "read-only" in reads
    assert "submit" in writes
    assert "(0 rows)" in run(reader, "select * from textmill.job_status")
    assert "(1 row)" in run(producer, SUBMIT)
    assert "permission denied" in run(reader, SUBMIT)
    assert str(data / "passfile") in others
    assert not [secret for secret in passwords.values() if secret in "".join(shown)]
    up.send_signal(signal.SIGINT)
    assert next(up.stdout) == "stopping; chunks in work are finished first …\n"


def test_up_on_a_database_of_ones_own_claims_no_login_of_a_reader(
    start: Start, tmp_path: Path
) -> None:
    """Without it, a command that is said to be read-only and without texts logs in as the owner."""
    data = tmp_path / "data"

    up = start("producer.cli", "up", "--workers", "0", TEXTMILL_DATA_DIR=str(data))

    assert up.stdout is not None
    assert [line.split()[0] for line in islice(up.stdout, 2)] == ["starting", "ready;"]
    up.send_signal(signal.SIGINT)
    assert next(up.stdout).startswith("stopping; ")
