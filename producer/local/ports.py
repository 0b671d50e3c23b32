"""Start a server on a free port of the loopback interface."""

import socket
import time
from collections.abc import Callable

from producer.local.children import Child, Children, Program
from schema.errors import ServiceUnavailableError

LOOPBACK = "127.0.0.1"

_ATTEMPTS = 5
_START_TIMEOUT = 60.0  # seconds; recovery after a crash reads the whole log of changes first
_POLL = 0.02  # seconds


def start_on_free_port(
    children: Children,
    program: Callable[[int], Program],
    ready: Callable[[Child, int], bool],
    wanted: int = 0,
) -> int:
    """Start what `program` makes for a port, and wait until it is `ready`.

    If another process takes the port before the server binds it, another port is tried.

    Args:
        children: starts the server.
        program: what to start, given its port.
        ready: whether the started server, given its port, serves.
        wanted: port to prefer if it is free; 0 for any.

    Returns:
        The port.

    Raises:
        ServiceUnavailableError: the server ended or was not ready in time.
    """
    attempt = 1
    while True:
        port = _free_port(wanted)
        child = children.start(program(port))
        try:
            _wait(child, port, ready)
        except ServiceUnavailableError:
            children.end(child)
            if attempt == _ATTEMPTS or not answers(port):
                raise
            attempt += 1
        else:
            return port


def answers(port: int) -> bool:
    """Whether anything accepts connections on `port`."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        # Closed connections of the server that had the port before do not count as its users.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(child: Child, port: int, ready: Callable[[Child, int], bool]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not ready(child, port):
        child.check()
        if time.monotonic() > deadline:
            msg = f"{child.name} was not ready after {_START_TIMEOUT:.0f} seconds"
            raise ServiceUnavailableError(msg)
        time.sleep(_POLL)
