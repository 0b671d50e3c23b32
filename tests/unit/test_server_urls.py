"""Where a worker finds its servers."""

import pytest
from pydantic import SecretStr

from schema.errors import SettingsError
from schema.settings import ServiceSettings
from worker.server_urls import server_urls

DATABASE = SecretStr("postgresql://user:secret@host/database")
BROKER = SecretStr("redis://:secret@host:6379/0")


@pytest.mark.parametrize(("database", "broker"), [(None, BROKER), (DATABASE, None), (None, None)])
def test_worker_without_both_servers_names_what_to_set(
    database: SecretStr | None, broker: SecretStr | None
) -> None:
    """Without it, a worker starts although it can never get work."""
    services = ServiceSettings(database_url=database, broker_url=broker)

    with pytest.raises(SettingsError, match="set TEXTMILL_DATABASE_URL and TEXTMILL_BROKER_URL"):
        server_urls(services)


def test_worker_takes_the_servers_that_are_set() -> None:
    services = ServiceSettings(database_url=DATABASE, broker_url=BROKER)

    assert server_urls(services) == (DATABASE.get_secret_value(), BROKER.get_secret_value())
