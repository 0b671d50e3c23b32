"""What an error of Postgres means: what it says, whether it passes."""

import re

import psycopg
import sqlalchemy as sa

TOO_LARGE = "54"
"""SQLSTATE class of what is too large for Postgres. Sent again, it still is."""

MISCONFIGURED = "42"
"""SQLSTATE class of a missing right, table, column or function. An operator has to mend it."""

COUNTED = ("57014", "58")
"""SQLSTATEs, or classes of them, that a chunk may have caused itself: of a statement that was
cancelled, such as for the time it took, and of a system error, such as an unreadable page."""

_LOGIN_STATES = ("28", "3D")
"""SQLSTATE classes of a refused login: another try is refused, too."""

_LOGIN_TEXTS = re.compile(
    r"no password supplied|FATAL: +(.*authentication failed|.*pg_hba\.conf|no such (user|database)"
    r'|(role|database) ".*" (does not exist|is not permitted)|permission denied for database)'
)
"""Messages of a refused login, for which the driver has no SQLSTATE."""

_QUOTING = ("22", "23", "38", "39", "HV", "P0", "XX")
"""SQLSTATE classes whose messages may quote a row: of values, constraints, functions, servers."""

IDLED = psycopg.errors.IdleInTransactionSessionTimeout
"""Postgres ended the transaction of a process that had been frozen, and its connection with it."""

READ_ONLY = psycopg.errors.ReadOnlySqlTransaction
"""Postgres is a standby, or was closed to writing, as some do when a disk is nearly full."""


def what_it_says(cause: BaseException | None) -> str:
    """What an error of Postgres says, as a line; where it may quote a row, the condition alone."""
    state = str(getattr(cause, "sqlstate", ""))
    if not state.startswith(_QUOTING):
        return str(cause).strip().partition("\n")[0]
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(cause).__name__).lower()
    return f"{state} {name}; its text may quote a row, so run the query there to read it"


def condition(error: sa.exc.DBAPIError) -> str:
    """What Postgres says, for a log: with its SQLSTATE, and without what may quote a row."""
    state, said = getattr(error.orig, "sqlstate", None), what_it_says(error.orig)
    return said if state is None or said.startswith(state) else f"{state} {said}"


def refuses_login(cause: BaseException | None) -> bool:
    """Whether an error of Postgres says that a login will not do, however often it is tried."""
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_LOGIN_STATES)
    return _LOGIN_TEXTS.search(what_it_says(cause)) is not None


def is_outage(error: Exception) -> bool:
    """Whether Postgres is away, or cannot serve for a while; nothing is wrong with the chunk.

    So it is as well where another session holds what is needed (a lock timeout, a deadlock).
    """
    if not isinstance(error, sa.exc.DBAPIError) or has_state(error, TOO_LARGE, *COUNTED):
        return False
    lost = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
    return lost or error.connection_invalidated or isinstance(error.orig, IDLED | READ_ONLY)


def may_pass(error: Exception) -> bool:
    """Whether to try again what is no chunk's: an outage, or what would count against one."""
    return is_outage(error) or has_state(error, *COUNTED)


def has_state(error: Exception, *states: str) -> bool:
    """Whether it is an error of Postgres with one of these SQLSTATEs, or of these classes."""
    return isinstance(error, sa.exc.DBAPIError) and str(
        getattr(error.orig, "sqlstate", None)
    ).startswith(states)
