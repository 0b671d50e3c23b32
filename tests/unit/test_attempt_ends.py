"""Attempts of processes that died, while Postgres does not answer."""

import socket
import time
from collections.abc import Iterator

import pytest

from schema.database import create_engine
from schema.states import AttemptEnd
from worker.attempt_ends import PAUSE, AttemptEnds


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)  # noqa: FBT003
        yield server


def tries(server: socket.socket) -> int:
    """How many connections were made to it since the last look."""
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_an_outage_holds_up_the_supervisor_once_however_many_processes_died(
    silent_server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a host with many processes restarts none of them, and does not hear SIGTERM."""
    port = silent_server.getsockname()[1]
    url = f"postgresql://mill:secret@127.0.0.1:{port}/textmill?gssencmode=disable"
    ends = AttemptEnds(create_engine(url, application="test", connect_timeout=2))

    assert [ends.end(f"process {number}", AttemptEnd.CRASHED) for number in range(5)] == [0] * 5
    assert tries(silent_server) == 1

    ends.end_late()
    ends.end_late()
    assert tries(silent_server) == 1

    later = time.monotonic() + PAUSE
    monkeypatch.setattr(time, "monotonic", lambda: later)
    ends.end_late()
    assert tries(silent_server) == 1
