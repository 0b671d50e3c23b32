"""The core that a worker process computes on, where it is the device as well.

Threads that compute at once on one core make each other slower: every few milliseconds one finds
the caches full of another's data. To prepare documents took a fifth longer beside the engine than
before it. So the bulk lane takes turns: one thread computes, the others wait for Postgres, for the
device or for their turn. The interactive lane does not wait: it computes beside whoever has the
turn.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from schema.documents import Lane


class Core:
    """Whose turn it is.

    Attributes:
        on_free: called, from any thread, when a chunk thread gives up its turn.
    """

    def __init__(self, *, is_device: bool) -> None:
        """Nobody has the turn.

        Args:
            is_device: whether the engine computes here, too; otherwise nobody waits.
        """
        self.on_free: Callable[[], object] = lambda: None
        self._is_device = is_device
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0

    @contextmanager
    def turn(self, lane: Lane) -> Iterator[None]:
        """A chunk thread's work: preparing documents, finishing their results."""
        if not self._takes_turns(lane):
            yield
            return
        self._take()
        try:
            yield
        finally:
            self._give_up()

    @contextmanager
    def elsewhere(self, lane: Lane) -> Iterator[None]:
        """Within a turn: waiting for what others compute."""
        if not self._takes_turns(lane):
            yield
            return
        self._give_up()
        try:
            yield
        finally:
            self._take()

    @contextmanager
    def if_free(self) -> Iterator[bool]:
        """The engine's work on the bulk lane, if it may do any: it waits for no turn.

        Chunk threads go first, since each soon waits for Postgres or the engine again. When one
        that was in the way gives up its turn, `on_free` is called.
        """
        if not self._is_device:
            yield True
            return
        free = not self._waiting and self._turn.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._turn.release()

    def _takes_turns(self, lane: Lane) -> bool:
        return self._is_device and lane is Lane.BULK

    def _take(self) -> None:
        with self._counting:
            self._waiting += 1
        self._turn.acquire()
        with self._counting:
            self._waiting -= 1

    def _give_up(self) -> None:
        self._turn.release()
        self.on_free()
