"""The core that a worker process computes on, in case the core is also its device.

Threads that compute at the same time on one core slow each other down: every few milliseconds, one
finds the caches full of another's data. Preparing documents took a fifth longer beside the engine
than before it. So on the bulk lane one thread holds the core and computes while the others wait
for Postgres, the device or the core. On the interactive lane no thread waits for the core.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from schema.documents import Lane


class Core:
    """Decides which thread computes on the core.

    Args:
        is_device: whether the engine computes here, too; if not, nobody waits.
    """

    def __init__(self, *, is_device: bool) -> None:
        self._is_device = is_device
        self._on_free: Callable[[], object] = lambda: None
        self._held = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0

    @contextmanager
    def held(self, lane: Lane) -> Iterator[None]:
        """Hold the core while a chunk thread prepares documents or finishes their results."""
        if not self._waits(lane):
            yield
            return
        self._acquire()
        try:
            yield
        finally:
            self._release()

    @contextmanager
    def elsewhere(self, lane: Lane) -> Iterator[None]:
        """Release the held core while its thread waits for what others compute."""
        if not self._waits(lane):
            yield
            return
        self._release()
        try:
            yield
        finally:
            self._acquire()

    @contextmanager
    def if_free(self, on_free: Callable[[], object]) -> Iterator[bool]:
        """Take the core for the engine's bulk windows if it is free, and yield whether it was.

        The engine never waits: chunk threads go first, since each soon waits for Postgres or the
        engine again.

        Args:
            on_free: from here on, called by every chunk thread that releases the core.
        """
        if not self._is_device:
            yield True
            return
        self._on_free = on_free  # before the look: a release after it must not go unnoticed
        free = not self._waiting and self._held.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._held.release()

    def _waits(self, lane: Lane) -> bool:
        return self._is_device and lane is Lane.BULK

    def _acquire(self) -> None:
        with self._counting:
            self._waiting += 1
        self._held.acquire()
        with self._counting:
            self._waiting -= 1

    def _release(self) -> None:
        self._held.release()
        self._on_free()
