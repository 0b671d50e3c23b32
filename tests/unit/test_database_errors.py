"""How errors of Postgres are classified and logged."""

import psycopg
import pytest
import sqlalchemy as sa

from schema.database_errors import condition, is_outage, may_pass


def database_error(kind: type[sa.exc.DBAPIError], cause: psycopg.Error) -> sa.exc.DBAPIError:
    return kind("select 1", None, cause)


@pytest.mark.parametrize(
    "cause",
    [
        psycopg.OperationalError(),
        psycopg.errors.DiskFull(),
        psycopg.errors.CannotConnectNow(),
        psycopg.errors.LockNotAvailable(),
        psycopg.errors.DeadlockDetected(),
    ],
)
def test_outage_of_postgres_is_told_from_faults_of_a_chunk(cause: psycopg.Error) -> None:
    """Without it, a restart of Postgres counts against the running chunks."""
    assert is_outage(database_error(sa.exc.OperationalError, cause))
    assert is_outage(database_error(sa.exc.InternalError, psycopg.errors.ReadOnlySqlTransaction()))
    assert not is_outage(OSError())


@pytest.mark.parametrize("cause", [psycopg.errors.QueryCanceled(), psycopg.errors.IoError()])
def test_what_a_chunk_may_have_caused_is_no_outage(cause: psycopg.Error) -> None:
    """Without it, a chunk that exceeds a time limit of the login is retried for ever."""
    error = database_error(sa.exc.OperationalError, cause)

    assert not is_outage(error)
    assert may_pass(error)


def test_log_names_the_condition_and_quotes_no_row() -> None:
    """Without it, keywords of a document end up in a log, or nobody knows what happened."""
    quoting = psycopg.errors.UntranslatableCharacter("bad\nCONTEXT: secret")
    waiting = psycopg.errors.LockNotAvailable("canceling\nCONTEXT: while updating")

    assert "secret" not in condition(database_error(sa.exc.DataError, quoting))
    assert condition(database_error(sa.exc.DataError, quoting)).startswith("22P05 ")
    assert condition(database_error(sa.exc.OperationalError, waiting)) == "55P03 canceling"
    assert condition(database_error(sa.exc.OperationalError, psycopg.OperationalError("x"))) == "x"
