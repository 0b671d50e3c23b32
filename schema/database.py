"""Engines for Postgres: one way to connect, with timeouts and errors that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from schema.errors import InputError, SchemaVersionError, ServiceUnavailableError, SettingsError
from schema.tables import MIGRATION

CONNECT_TIMEOUT = 10
"""Seconds to wait for a connection."""

_TOO_LARGE = "54"
"""Class of the SQLSTATEs that say: what was sent is too large."""

_IN_THE_WAY = ("40", "55")
"""Classes of those that say: another session was in the way."""

_UNDEFINED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)


def create_engine(url: str, *, application: str, connections: int = 4) -> sa.Engine:
    """Make an engine for `url`; nothing connects before it is used.

    Args:
        url: `postgresql://…`, as psql takes it.
        application: shown in `pg_stat_activity`.
        connections: most connections held at once.

    Raises:
        SettingsError: `url` is not a Postgres URL.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        msg = "TEXTMILL_DATABASE_URL is not a URL; it looks like postgresql://user@host/database"
        raise SettingsError(msg) from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        msg = f"TEXTMILL_DATABASE_URL must begin with postgresql://, not {parsed.drivername}://"
        raise SettingsError(msg)
    return sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=connections,
        max_overflow=0,
        # Parameters hold texts and keywords, which must not reach a log.
        hide_parameters=True,
        pool_pre_ping=True,
        connect_args={
            "application_name": application,
            "connect_timeout": CONNECT_TIMEOUT,
            # A server-side prepared statement does not survive a transaction pooler.
            "prepare_threshold": None,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            # Keepalives watch silent connections; this one, those with bytes on their way.
            "tcp_user_timeout": 60_000,
        },
    )


@contextmanager
def reachable(engine: sa.Engine) -> Iterator[None]:
    """Turn what a wrong or absent server says into errors for people.

    They name the server without its password, and what to do.

    Raises:
        InputError: what was sent is larger than Postgres takes.
        SchemaVersionError: the database lacks a table, a column or a function.
        ServiceUnavailableError: the connection was refused or lost, or others are in the way.
        SettingsError: the role that logs in lacks a right.
    """
    where = engine.url.set(drivername="postgresql").render_as_string(hide_password=True)
    try:
        yield
    except (sa.exc.OperationalError, psycopg.OperationalError) as error:  # COPY raises the latter
        said = _first_line(error)
        state = _state(error)
        if state.startswith(_TOO_LARGE):
            msg = f"Postgres takes nothing so large ({said}); hand over less"
            raise InputError(msg) from error
        if state.startswith(_IN_THE_WAY):
            msg = f"another session of Postgres was in the way ({said}); try again"
            raise ServiceUnavailableError(msg) from error
        msg = (
            f"Postgres at {where} does not answer ({said}); "
            "start it, or correct TEXTMILL_DATABASE_URL"
        )
        raise ServiceUnavailableError(msg) from error
    except sa.exc.ProgrammingError as error:
        said = f"Postgres at {where} says: {_first_line(error)}"
        if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            msg = f"{said}; let TEXTMILL_DATABASE_URL log in as a role that may do this"
            raise SettingsError(msg) from error
        if isinstance(error.orig, _UNDEFINED):
            msg = f"{said}; if it was not migrated, run: textmill db upgrade"
            raise SchemaVersionError(msg) from error
        raise


def check_version(connection: sa.Connection) -> None:
    """Refuse a database of another migration.

    Raises:
        SchemaVersionError: the database was not migrated, or is older or newer than this code.
    """
    table = connection.scalar(sa.text("select to_regclass('textmill.alembic_version')::text"))
    found = (
        connection.scalar(sa.text("select version_num from textmill.alembic_version"))
        if table is not None
        else None
    )
    if found == MIGRATION:
        return
    if found is None:
        msg = "the database holds no Textmill tables; run: textmill db upgrade"
    else:
        remedy = "run: textmill db upgrade" if found < MIGRATION else "update textmill"
        msg = f"the database is at migration {found}, this code is made for {MIGRATION}; {remedy}"
    raise SchemaVersionError(msg)


def _first_line(error: sa.exc.DBAPIError | psycopg.Error) -> str:
    return str(_cause(error)).strip().partition("\n")[0]


def _state(error: sa.exc.DBAPIError | psycopg.Error) -> str:
    """The SQLSTATE; empty where no server spoke."""
    return getattr(_cause(error), "sqlstate", None) or ""


def _cause(error: sa.exc.DBAPIError | psycopg.Error) -> BaseException | None:
    return error.orig if isinstance(error, sa.exc.DBAPIError) else error
