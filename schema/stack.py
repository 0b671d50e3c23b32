"""How a running embedded stack is found by programs that did not start it."""

import json
from typing import Final

from schema.errors import SettingsError
from schema.settings import ServiceSettings

STACK: Final = "stack.json"
"""File in the data directory, there while the stack runs: its URLs and its processes."""


def database_url(services: ServiceSettings) -> str:
    """Where the database is for its owner: as set, or that of the stack that runs here.

    Raises:
        SettingsError: none is set, and no stack runs here.
    """
    if services.database_url is not None:
        return services.database_url.get_secret_value()
    try:
        content = json.loads((services.data_dir / STACK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = "no stack runs here: set TEXTMILL_DATABASE_URL, or run: textmill up"
        raise SettingsError(msg) from None
    return str(content["urls"]["owner"])
