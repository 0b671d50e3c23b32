"""The database, for commands that read or write it."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from schema.database import check_version, closing_engine, reachable
from schema.settings import ServiceSettings, read
from schema.stack import database_url


@contextmanager
def connected() -> Iterator[sa.Engine]:
    """The database that the settings name, or that of the running embedded stack.

    Raises:
        SchemaVersionError: the database has another migration.
        ServiceUnavailableError: the database does not answer.
        SettingsError: none is set, and no embedded stack runs.
    """
    url = database_url(read(ServiceSettings))
    with closing_engine(url, application="textmill-worker", role="textmill_trainer") as engine:
        with reachable(engine), engine.connect() as connection:
            check_version(connection)
        yield engine
