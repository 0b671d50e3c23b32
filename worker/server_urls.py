"""Where a worker finds Postgres and Redis."""

from typing import NamedTuple

from schema.errors import SettingsError
from schema.settings import ServiceSettings


class ServerUrls(NamedTuple):
    """URLs with passwords: not for logs."""

    database: str
    broker: str


def server_urls(services: ServiceSettings) -> ServerUrls:
    """The servers that the settings name; workers do not look for an embedded stack.

    Raises:
        SettingsError: one of the URLs is not set.
    """
    if services.database_url is None or services.broker_url is None:
        msg = "set TEXTMILL_DATABASE_URL and TEXTMILL_BROKER_URL, or run: textmill up"
        raise SettingsError(msg)
    return ServerUrls(
        services.database_url.get_secret_value(), services.broker_url.get_secret_value()
    )
