"""Engines for Postgres: one way to connect, with timeouts and errors that say what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

import psycopg
import sqlalchemy as sa

from schema.database_errors import (
    BLOCKED,
    IDLED,
    READ_ONLY,
    TOO_LARGE,
    refuses_login,
    what_it_says,
)
from schema.errors import (
    InputError,
    SchemaVersionError,
    ServiceUnavailableError,
    SettingsError,
    TextmillError,
)
from schema.urls import database_place, parse_database_url

MIGRATION = "0001"
"""The migration that this code is made for."""

CONNECT_TIMEOUT = 10
"""Seconds to wait for a connection."""

_ROLE = "textmill_role"
"""Engine option that names the role its login should be a member of."""

_KEPT = 4
"""Connections that an engine keeps open while nobody uses them."""

_engines: WeakSet[sa.Engine] = WeakSet()
"""Every engine of this process."""

_UNDEFINED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)


def create_engine(
    url: str,
    *,
    application: str,
    role: str = "textmill_producer",
    connections: int | None = _KEPT,
    connect_timeout: int = CONNECT_TIMEOUT,
    pings: bool = True,
) -> sa.Engine:
    """Make an engine for `url`; nothing connects before it is used.

    A process that forks may use it on both sides: the child makes connections of its own.

    Args:
        url: `postgresql://user:password@host:port/database`.
        application: shown in `pg_stat_activity`.
        role: role that the login should be a member of; the error names it if a right is missing.
        connections: most connections held at once, beyond which a thread waits for another one;
            None sets no limit, so that no thread waits.
        connect_timeout: seconds to wait for a connection, 2 at least.
        pings: whether a connection is tested each time before it is used; if not, the caller must
            try again when it gets one that was lost meanwhile.

    Raises:
        SettingsError: `url` is not a Postgres URL.
    """
    try:
        parsed = parse_database_url(url)
    except ValueError as error:
        msg = f"the URL of the database: {error}"
        raise SettingsError(msg) from None
    engine = sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=connections or _KEPT,
        max_overflow=0 if connections else -1,
        # Parameters hold texts and keywords, which must not reach a log.
        hide_parameters=True,
        pool_pre_ping=pings,
        # Whatever the default of the database or login: a transaction that waits for a row and
        # then reads must see what was committed meanwhile.
        isolation_level="READ COMMITTED",
        execution_options={_ROLE: role},
        connect_args={
            "application_name": application,
            "client_encoding": "utf8",  # even if the database has no encoding (SQL_ASCII)
            "connect_timeout": connect_timeout,
            # A server-side prepared statement does not survive a transaction pooler.
            "prepare_threshold": None,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            # Keepalives watch idle connections; this setting, those with unacknowledged data.
            "tcp_user_timeout": 60_000,
        },
    )
    sa.event.listen(engine, "handle_error", _leave_standby)
    _engines.add(engine)
    return engine


@contextmanager
def closing_engine(
    url: str, *, application: str, role: str = "textmill_producer"
) -> Iterator[sa.Engine]:
    """An engine as `create_engine` makes it, whose connections are closed with the block."""
    engine = create_engine(url, application=application, role=role)
    try:
        yield engine
    finally:
        engine.dispose()


def _leave_connections_to_parent() -> None:
    """Forget the connections of the process that forked: two that write to one would garble it."""
    for engine in _engines:
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_leave_connections_to_parent)


def _leave_standby(context: sa.ExceptionContext) -> None:
    """Drop read-only connections: after a failover they would lead to the standby for ever."""
    if isinstance(context.original_exception, READ_ONLY):
        context.is_disconnect = True


@contextmanager
def reachable(engine: sa.Engine) -> Iterator[None]:
    """Turn the errors of a misconfigured or unavailable server into errors for people.

    Their messages name the server, without the secrets in its URL, and say what to do.

    Raises:
        InputError: what was sent is larger than Postgres accepts.
        SchemaVersionError: the database lacks a table, a column or a function.
        ServiceUnavailableError: the connection was refused or lost, Postgres takes no writes, or
            another session is in the way, or a statement took longer than it may.
        SettingsError: the role may not log in, or lacks a right.
    """
    try:
        yield
    except (sa.exc.DBAPIError, psycopg.Error) as error:  # COPY raises the latter
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        translated = _translated(cause, engine)
        if translated is None:
            raise
        raise translated from error


def _translated(cause: BaseException | None, engine: sa.Engine) -> TextmillError | None:
    """The error for people; None if the fault is in our code."""
    said = what_it_says(cause)
    where = database_place(engine.url)
    match cause:
        case psycopg.errors.InsufficientPrivilege():
            role = engine.get_execution_options().get(_ROLE)
            msg = f"the login of {where} lacks a right: {said}"
            return SettingsError(
                f"{msg}; let TEXTMILL_DATABASE_URL name one that is a member of {role}"
            )
        case psycopg.OperationalError() if refuses_login(cause):
            msg = f"Postgres at {where} refuses the login ({said})"
            return SettingsError(f"{msg}; correct TEXTMILL_DATABASE_URL")
        case psycopg.ProgrammingError() if said.startswith("invalid connection option"):
            return SettingsError(f"{said}, which follows ? in TEXTMILL_DATABASE_URL; correct it")
        case _ if isinstance(cause, _UNDEFINED):
            msg = f"Postgres at {where} says: {said}"
            return SchemaVersionError(f"{msg}; if it was not migrated, run: textmill db upgrade")
        case psycopg.OperationalError(sqlstate=str(state)) if state.startswith(TOO_LARGE):
            return InputError(f"Postgres takes nothing so large ({said}); hand over less")
        case _:
            why = _unavailable(cause, said, where)
            return None if why is None else ServiceUnavailableError(why)


def _unavailable(cause: BaseException | None, said: str, where: str) -> str | None:
    """Why Postgres does not serve, and what to do; None if it is not an outage."""
    match cause:
        case psycopg.OperationalError(sqlstate=str(state)) if state.startswith(BLOCKED):
            return f"another session of Postgres was in the way ({said}); try again"
        case READ_ONLY():
            return (
                f"Postgres at {where} takes no writes ({said});"
                " wait until it does, or let TEXTMILL_DATABASE_URL name the one that does"
            )
        case psycopg.errors.QueryCanceled():
            return f"Postgres cancelled a statement ({said}); ask for less, or raise its time limit"
        case psycopg.OperationalError() | IDLED():
            return (
                f"Postgres at {where} does not answer ({said});"
                " start it, or correct TEXTMILL_DATABASE_URL"
            )
        case _:
            return None


@contextmanager
def unblocked(engine: sa.Engine, *, lock_timeout: str = "5s") -> Iterator[sa.Connection]:
    """A transaction that waits for no lock longer than `lock_timeout`.

    Args:
        engine: the database.
        lock_timeout: in Postgres notation; longer than Postgres takes to end the session of a
            process that died.

    Raises:
        OperationalError: another session held a lock for longer, perhaps at an open prompt.
    """
    with engine.begin() as connection:
        connection.execute(
            sa.text("select set_config('lock_timeout', :lock_timeout, true)"),
            {"lock_timeout": lock_timeout},
        )
        yield connection


def check_version(connection: sa.Connection) -> None:
    """Refuse a database that is at another migration.

    Raises:
        SchemaVersionError: the database was not migrated, or is older or newer than this code.
    """
    current = migration(connection)
    if current == MIGRATION:
        return
    if current is None:
        msg = "the database holds no Textmill tables; run: textmill db upgrade"
    else:
        remedy = "run: textmill db upgrade" if current < MIGRATION else "update textmill"
        msg = f"the database is at migration {current}, this code is made for {MIGRATION}; {remedy}"
    raise SchemaVersionError(msg)


def migration(connection: sa.Connection) -> str | None:
    """The migration that the database is at; None if it holds no Textmill tables."""
    if connection.scalar(sa.text("select to_regclass('textmill.alembic_version')")) is None:
        return None
    current: str | None = connection.scalar(
        sa.text("select version_num from textmill.alembic_version")
    )
    return current
