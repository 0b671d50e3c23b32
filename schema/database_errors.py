"""What a Postgres error means: its message, and whether the cause may pass."""

import re
from typing import cast

import psycopg
import sqlalchemy as sa

TOO_LARGE = "54"
"""SQLSTATE class of input that is too large for Postgres; sending it again does not help."""

BLOCKED = ("40", "55")
"""SQLSTATE classes of what another session stands in the way of, by a lock or a conflict."""

MISCONFIGURED = "42"
"""SQLSTATE class of a missing right, table, column or function. An operator has to mend it."""

COUNTED = ("57014", "58")
"""SQLSTATEs, or classes of them, of errors that a chunk may have caused itself: a cancelled
statement (perhaps because it took too long) or a system error (perhaps an unreadable page)."""

_LOGIN_STATES = ("28", "3D")
"""SQLSTATE classes of a refused login; another try would be refused too."""

_LOGIN_TEXTS = re.compile(
    r"no password supplied|FATAL: +(.*authentication failed|.*pg_hba\.conf|no such (user|database)"
    r'|(role|database) ".*" (does not exist|is not permitted)|permission denied for database)'
)
"""Messages of refused logins for which the driver has no SQLSTATE."""

_QUOTING = ("22", "23", "38", "39", "HV", "P0", "XX")
"""SQLSTATE classes whose messages may quote a row: errors of values, constraints, functions and
servers."""

IDLED = psycopg.errors.IdleInTransactionSessionTimeout
"""Postgres ended the transaction of a process that had been frozen, and its connection with it."""

READ_ONLY = psycopg.errors.ReadOnlySqlTransaction
"""Postgres is a standby, or was made read-only, as some hosts do when a disk is nearly full."""


def what_it_says(error: BaseException | None) -> str:
    """The message of a Postgres error, as one line; if it may quote a row, only the condition."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    state = str(getattr(cause, "sqlstate", ""))
    if not state.startswith(_QUOTING):
        return str(cause).strip().partition("\n")[0]
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(cause).__name__).lower()
    return f"{state} {name}; its text may quote a row, so run the query there to read it"


def condition(error: sa.exc.DBAPIError) -> str:
    """The message of a Postgres error for a log: with its SQLSTATE, without any quoted row."""
    state, said = getattr(error.orig, "sqlstate", None), what_it_says(error)
    return said if state is None or said.startswith(state) else f"{state} {said}"


def refusal_of(error: sa.exc.DBAPIError) -> str:
    """What a database function that refuses a call says is wrong, and its hint, as one line."""
    diagnosis = cast("psycopg.Error", error.orig).diag
    hint = diagnosis.message_hint
    remedy = f"; {hint[0].lower()}{hint[1:].removesuffix('.')}" if hint else ""
    return f"{diagnosis.message_primary}{remedy}"


def refuses_login(cause: BaseException | None) -> bool:
    """Whether a Postgres error says that a login is refused, however often it is tried."""
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_LOGIN_STATES)
    return _LOGIN_TEXTS.search(what_it_says(cause)) is not None


def is_outage(error: Exception) -> bool:
    """Whether Postgres is away or cannot serve for a while, so that the chunk is not at fault.

    This includes waiting in vain for another session (a lock timeout, a deadlock).
    """
    if not isinstance(error, sa.exc.DBAPIError) or has_state(error, TOO_LARGE, *COUNTED):
        return False
    lost = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
    return lost or error.connection_invalidated or isinstance(error.orig, IDLED | READ_ONLY)


def may_pass(error: Exception) -> bool:
    """Whether to retry work that belongs to no chunk: after an outage or a `COUNTED` error."""
    return is_outage(error) or has_state(error, *COUNTED)


def has_state(error: Exception, *states: str) -> bool:
    """Whether `error` comes from Postgres, with one of these SQLSTATEs or SQLSTATE classes."""
    return isinstance(error, sa.exc.DBAPIError) and str(
        getattr(error.orig, "sqlstate", None)
    ).startswith(states)
