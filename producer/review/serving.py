"""The address that the page listens on, and its server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import sqlalchemy as sa
import uvicorn

from producer.review.app import create_app
from producer.review.guard import START, Keys
from schema.database import check_version, reachable
from schema.errors import SettingsError, UsageError

GRACE = 3
"""Seconds that open requests get to finish when the server stops."""


class Site(NamedTuple):
    """A page that is served.

    Attributes:
        url: the address to open; its token lets in anyone who has it.
        port: where it listens.
    """

    url: str
    port: int


@contextmanager
def serving(engine: sa.Engine, annotator: str, host: str, port: int) -> Iterator[Site]:
    """Serve the page to `annotator` while the block runs.

    Args:
        engine: the database, in a role that may read texts and give feedback.
        annotator: in whose name verdicts are given.
        host: name or address to listen on.
        port: port to listen on; 0 takes a free one.

    Raises:
        UsageError: the address cannot be listened on.
        SettingsError: the role may not read texts or may not give feedback.
        SchemaVersionError: the database is at another migration.
        ServiceUnavailableError: Postgres does not answer.
    """
    _check(engine)
    with _listening(host, port) as listener:
        bound: int = listener.getsockname()[1]
        keys = Keys(bound)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(engine, annotator, keys, host),
                access_log=False,  # the start URL is a secret
                lifespan="off",
                log_level="warning",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE,
                ws="none",
            )
        )
        # In another thread, so that uvicorn leaves signals to the command.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="review")
        thread.start()
        try:
            yield Site(f"http://{_in_url(host)}:{bound}{START}?token={keys.token}", bound)
        finally:
            server.should_exit = True
            thread.join()


def _check(engine: sa.Engine) -> None:
    rights = sa.text(
        "select has_column_privilege('textmill.document', 'text', 'select')"
        " and has_column_privilege('textmill.feedback', 'verdict', 'insert')"
    )
    with reachable(engine), engine.connect() as connection:
        if not connection.scalar(rights):
            role = engine.url.username
            msg = (
                f"role {role} may not read texts or not give feedback;"
                f" grant it: grant textmill_annotator to {role}"
            )
            raise SettingsError(msg)
        check_version(connection)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, where = found[0]
        listener = socket.create_server((where[0], port), family=family)
    except OSError as error:
        msg = f"cannot listen on {host}:{port} ({error}); choose others with --host and --port"
        raise UsageError(msg) from error
    with listener:
        yield listener


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
