"""What the guard does when its parent process is gone."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from producer.local import guard

STUBBORN = 'trap "" TERM; echo ready; while :; do read -r _; done'


def test_what_is_under_guard_is_ended_when_the_lines_end() -> None:
    """A killed `textmill up` must not leave its servers behind."""
    with _started("echo ready; read -r _") as process:
        guard.main([f"{process.pid} {signal.SIGTERM.value} 0.2"])

        assert process.wait() == -signal.SIGTERM


def test_what_does_not_listen_is_killed() -> None:
    """Otherwise a process that hangs would hold the data directory for good."""
    with _started(STUBBORN) as process:
        guard.main([f"{process.pid} {signal.SIGTERM.value} 0.2"])

        assert process.wait() == -signal.SIGKILL


def test_what_was_released_is_left_alone() -> None:
    """Otherwise the guard could kill another process that has been given the same id."""
    with _started("echo ready; read -r _") as process:
        guard.main([f"{process.pid} {signal.SIGTERM.value} 0.2", f"{process.pid}"])
        process.communicate("\n")

        assert process.returncode == 0


@contextmanager
def _started(script: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        ["/bin/sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()
