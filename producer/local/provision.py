"""Add what a fresh cluster lacks: the database, its tables, and login roles."""

from collections.abc import Mapping

import psycopg
from psycopg import sql

from schema.database import closing_engine

DATABASE = "textmill"
LOGINS = {name: f"{name}_login" for name in ("producer", "worker", "reader", "annotator")}
"""The login role of each group role `textmill_<name>`."""


def provision(url: str, passwords: Mapping[str, str]) -> None:
    """Create the database if it does not exist, migrate it, and create the login roles.

    Args:
        url: the superuser's URL of the database.
        passwords: the password of each login, by its key in `LOGINS`.
    """
    with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
        query = "select from pg_database where datname = %s"
        if connection.execute(query, [DATABASE]).fetchone() is None:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
    import migrations  # noqa: PLC0415  # Alembic costs every command a third of a second

    with closing_engine(url, application="textmill-up") as engine:
        migrations.upgrade(engine)
    with psycopg.connect(url) as connection:
        for side, login in LOGINS.items():
            _make_login(connection, login, f"textmill_{side}", passwords[side])


def _make_login(connection: psycopg.Connection, login: str, group: str, password: str) -> None:
    names = {"login": sql.Identifier(login), "group": sql.Identifier(group)}
    query = "select from pg_roles where rolname = %s"
    if connection.execute(query, [login]).fetchone() is None:
        connection.execute(sql.SQL("create role {login} in role {group}").format(**names))
    connection.execute(
        sql.SQL("alter role {login} login password {password}").format(
            **names, password=sql.Literal(password)
        )
    )
    # A member does not inherit the settings of its group, such as a reader's time limits.
    settings = connection.execute(
        "select unnest(setconfig) from pg_db_role_setting"
        " where setdatabase = 0 and setrole = %s::regrole",
        [group],
    )
    for (setting,) in settings.fetchall():
        key, _, value = setting.partition("=")
        connection.execute(
            sql.SQL("alter role {login} set {key} = {value}").format(
                **names, key=sql.Identifier(key), value=sql.Literal(value)
            )
        )
