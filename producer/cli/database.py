"""`textmill db`."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
import sqlalchemy as sa

from producer.cli.show import console
from schema.database import check_version, closing_engine, reachable
from schema.settings import ServiceSettings, read
from schema.stack import database_url


@click.group()
def db() -> None:
    """Migrate and check the database."""


@db.command()
def upgrade() -> None:
    """Migrate the database, and grant the roles their rights.

    \b
    Example:
      TEXTMILL_DATABASE_URL=postgresql://owner@host/database textmill db upgrade
    """
    import migrations  # noqa: PLC0415  # Alembic would cost every command a third of a second

    with _database() as engine:
        left = migrations.upgrade(engine)
    if left is None:
        console.print("the database is up to date")
        return
    console.print("the database is up to date, but this role may not create or grant roles;")
    console.print("have someone who may run this SQL:")
    click.echo(left)


@db.command()
def check() -> None:
    """Exit with 0 when the database answers and is up to date.

    \b
    Example:
      textmill db check && echo fine
    """
    with _database() as engine, engine.connect() as connection:
        check_version(connection)
    console.print("the database answers, and is up to date")


@contextmanager
def _database() -> Iterator[sa.Engine]:
    url = database_url(read(ServiceSettings))
    with closing_engine(url, application="textmill-db") as engine, reachable(engine):
        yield engine
