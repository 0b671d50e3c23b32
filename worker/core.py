"""The core that a worker process computes on, where it is the device as well.

Threads that compute at once on one core make each other slower: every few milliseconds one finds
the caches full of another's data. To prepare documents took a fifth longer beside the engine than
before it. So on the bulk lane one thread holds the core and computes, the others wait for Postgres,
for the device or for the core. The interactive lane does not wait: it computes beside the holder.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from schema.documents import Lane


class Core:
    """Who computes on it.

    Args:
        is_device: whether the engine computes here, too; otherwise nobody waits.

    Attributes:
        on_free: called, from any thread, when a chunk thread lets the core go.
    """

    def __init__(self, *, is_device: bool) -> None:
        self.on_free: Callable[[], object] = lambda: None
        self._is_device = is_device
        self._held = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0

    @contextmanager
    def held(self, lane: Lane) -> Iterator[None]:
        """A chunk thread's work: preparing documents, finishing their results."""
        if not self._waits(lane):
            yield
            return
        self._take()
        try:
            yield
        finally:
            self._let_go()

    @contextmanager
    def elsewhere(self, lane: Lane) -> Iterator[None]:
        """While the core is held: waiting for what others compute."""
        if not self._waits(lane):
            yield
            return
        self._let_go()
        try:
            yield
        finally:
            self._take()

    @contextmanager
    def if_free(self) -> Iterator[bool]:
        """The engine's work on the bulk lane, if it may do any: it does not wait.

        Chunk threads go first, since each soon waits for Postgres or the engine again. When one
        that was in the way lets the core go, `on_free` is called.
        """
        if not self._is_device:
            yield True
            return
        free = not self._waiting and self._held.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._held.release()

    def _waits(self, lane: Lane) -> bool:
        return self._is_device and lane is Lane.BULK

    def _take(self) -> None:
        with self._counting:
            self._waiting += 1
        self._held.acquire()
        with self._counting:
            self._waiting -= 1

    def _let_go(self) -> None:
        self._held.release()
        self.on_free()
