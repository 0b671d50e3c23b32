"""Alembic migrations of the Postgres schema `textmill`, and the roles that use it."""

from importlib.resources import as_file, files

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from schema.database import MIGRATION, check_version, migration
from schema.errors import SettingsError

_LOCK = sa.text("select pg_advisory_xact_lock(hashtext('textmill.upgrade'))")
"""Held until the end of the transaction, so that a database has one upgrade at a time."""

_TRIES = 10
"""How often granting is tried; a try fails when another database of the server is upgraded."""


def upgrade(engine: sa.Engine) -> str | None:
    """Bring the database to the latest migration and grant the roles their rights.

    Returns:
        None when all was done; otherwise the SQL that a more privileged role must run,
        because this one may not create roles.

    Raises:
        SchemaVersionError: the database is newer than this code.
        SettingsError: the database cannot hold every text, because its encoding is not UTF8.
    """
    package = files(__name__)
    with as_file(package) as folder, engine.connect() as connection:
        config = Config()
        # A percent sign in the path would be read as interpolation.
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        connection.execute(_LOCK)
        _check_encoding(connection)
        if (migration(connection) or "") > MIGRATION:
            check_version(connection)
        command.upgrade(config, "head")
        connection.commit()
    roles = package.joinpath("roles.sql").read_text(encoding="utf-8")
    try:
        _grant(engine, roles)
    except sa.exc.ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != "42501":  # insufficient_privilege
            raise
        return roles
    return None


def _check_encoding(connection: sa.Connection) -> None:
    """Refuse a database whose encoding lacks characters; a server without a locale has SQL_ASCII.

    Raises:
        SettingsError: the encoding is not UTF8.
    """
    encoding = connection.scalar(sa.text("show server_encoding"))
    if encoding != "UTF8":
        msg = (
            f"the encoding of the database is {encoding}, and it must be UTF8;"
            " create it with: create database … encoding 'UTF8' template template0"
        )
        raise SettingsError(msg)


def _grant(engine: sa.Engine, roles: str) -> None:
    """Run the SQL of the roles; try again if another database of the server does so at once."""
    for left in reversed(range(_TRIES)):
        try:
            with engine.begin() as connection:
                connection.execute(_LOCK)
                connection.execution_options(no_parameters=True).exec_driver_sql(roles)
        except sa.exc.DBAPIError as error:
            if left == 0 or not _is_overtaken(error):
                raise
        else:
            return


def _is_overtaken(error: sa.exc.DBAPIError) -> bool:
    """Whether another transaction wrote the row of a role, or of its settings, just then."""
    said = str(error.orig)
    return "tuple concurrently updated" in said or "pg_db_role_setting" in said
