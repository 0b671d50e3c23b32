"""`textmill up`: what it prints is enough to continue with."""

import shlex
import signal
from itertools import islice
from pathlib import Path

import pytest
import sqlalchemy as sa

from schema.database import create_engine
from tests.fixtures.processes import Start

SUBMIT = """select textmill.submit('sentiment', '[{"id": "1", "text": "good"}]')"""


def run(url: str, statement: str) -> None:
    engine = create_engine(url, application="tests")
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def test_up_prints_a_login_that_reads_and_one_that_also_writes_and_answers_ctrl_c(
    start: Start, tmp_path: Path
) -> None:
    """Without it, a newcomer's first `textmill.submit` in psql is refused.

    Ctrl-C is answered at once; silence would make people press it again.
    """
    up = start(
        *("producer.cli", "up", "--workers", "0"),
        TEXTMILL_DATABASE_URL="",
        TEXTMILL_BROKER_URL="",
        TEXTMILL_DATA_DIR=str(tmp_path / "data"),
    )

    assert up.stdout is not None
    shown = list(islice(up.stdout, 6))

    reads, reader, writes, producer = shown[-4:]
    assert "read-only" in reads
    assert "submit" in writes
    run(shlex.split(reader)[-1], "select * from textmill.job_status")
    run(shlex.split(producer)[-1], SUBMIT)
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        run(shlex.split(reader)[-1], SUBMIT)
    up.send_signal(signal.SIGINT)
    assert next(up.stdout) == "stopping; chunks in work are finished first …\n"
