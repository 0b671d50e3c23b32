"""A thread that does something again and again."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def every(interval: float, action: Callable[[], object], name: str) -> Iterator[None]:
    """Within this context, call `action` in a thread of its own, again and again.

    Leaving the context waits for a call under way.

    Args:
        interval: seconds before the first call, and from the end of each to the next.
        action: an error that it raises ends the thread.
        name: the thread's name.
    """
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(interval):
            action()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
