"""Chunks enter together; a suspect enters alone."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ClosedError(Exception):
    """The process drains: nothing may start."""


class Gate:
    """Decides what may be in work in a process at once: any number of chunks, or one suspect.

    A waiting suspect goes before chunks that arrive later, so that a busy process does not keep it
    waiting for ever. While a chunk inside is stalled, which may take hours, later chunks go on.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._together = 0
        self._alone = 0
        self._stalled = 0
        self._suspects_waiting = 0
        self._closed = False

    def close(self) -> None:
        """Let nothing in any more; chunks already inside may finish."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Enter together with others, once no suspect is inside, or waits for chunks that run.

        Raises:
            ClosedError: the gate was closed first.
        """
        with self._changed:
            self._wait(lambda: not self._alone and (self._stalled or not self._suspects_waiting))
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Enter alone, once nothing else is inside.

        Raises:
            ClosedError: the gate was closed first.
        """
        with self._changed:
            self._suspects_waiting += 1
            try:
                self._wait(lambda: not self._alone and not self._together)
                self._alone += 1
            finally:
                self._suspects_waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._alone -= 1
                self._changed.notify_all()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Say that a chunk inside waits for Postgres, or for a lock that another session holds."""
        with self._changed:
            self._stalled += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._stalled -= 1

    def _wait(self, free: Callable[[], object]) -> None:
        self._changed.wait_for(lambda: self._closed or free())
        if self._closed:
            raise ClosedError
