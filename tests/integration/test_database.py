"""Errors of Postgres, turned into errors for people."""

import subprocess
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from schema.database import reachable
from schema.database_errors import is_outage
from schema.errors import ServiceUnavailableError
from tests.fixtures.waiting import until


def test_transaction_that_idled_too_long_counts_as_an_outage(engine: sa.Engine) -> None:
    """Without it, a process that was frozen for a while ends with a traceback when it wakes."""
    with (
        pytest.raises(ServiceUnavailableError, match="does not answer") as raised,
        reachable(engine),
    ):
        _idle_too_long(engine)

    cause = raised.value.__cause__
    assert isinstance(cause, sa.exc.DBAPIError)  # whether it has an SQLSTATE depends on luck
    assert is_outage(cause)


def test_error_that_says_so_counts_as_an_outage_too(engine: sa.Engine) -> None:
    """Without it, what counts as an outage depends on how fast the connection closes."""
    idled = psycopg.errors.IdleInTransactionSessionTimeout()
    error = sa.exc.InternalError("select 1", None, idled)

    with pytest.raises(ServiceUnavailableError, match="does not answer"), reachable(engine):
        raise error

    assert is_outage(error)


def test_statement_that_took_too_long_is_no_outage_for_people(engine: sa.Engine) -> None:
    """Without it, whoever asks for too much is told to start a server that runs."""
    slow = "set local statement_timeout = '1ms'; select pg_sleep(9)"

    with (
        pytest.raises(ServiceUnavailableError, match="cancelled a statement"),
        reachable(engine),
        engine.begin() as connection,
    ):
        connection.exec_driver_sql(slow)


def test_tests_run_on_the_postgres_that_they_are_given(postgres: Path, engine: sa.Engine) -> None:
    """Without it, a run that is meant for an older Postgres may silently use the newest."""
    said = subprocess.run(
        [postgres / "bin" / "postgres", "--version"], capture_output=True, check=True, text=True
    ).stdout

    with engine.connect() as connection:
        assert connection.scalar(sa.text("show server_version")) in said


def _idle_too_long(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        pid = connection.scalar(sa.text("select pg_backend_pid()"))
        connection.execute(sa.text("set local idle_in_transaction_session_timeout = '1ms'"))
        until(lambda: not _lives(engine, pid))
        connection.execute(sa.text("select 1"))


def _lives(engine: sa.Engine, pid: int | None) -> bool:
    with engine.connect() as connection:
        return bool(
            connection.scalar(
                sa.text("select exists (select from pg_stat_activity where pid = :pid)"),
                {"pid": pid},
            )
        )
