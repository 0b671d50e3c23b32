"""How the long-running commands are told to stop."""

import queue
import signal
import threading
from collections.abc import Callable


def until_told_to_stop(told: Callable[[], None] = lambda: None) -> threading.Event:
    """An event that SIGTERM and Ctrl-C set; before that, `told` is called once, in a thread.

    It is set even if `told` raises an error.
    """
    stop = threading.Event()
    # Setting an event takes a lock, which the interrupted thread itself may hold: a second signal
    # right after the first would wait for ever. A signal handler may put into a SimpleQueue.
    signals: queue.SimpleQueue[None] = queue.SimpleQueue()

    def pass_on() -> None:
        signals.get()
        try:
            told()
        finally:
            stop.set()  # even if what `told` prints reaches nobody

    threading.Thread(target=pass_on, name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: signals.put(None))
    return stop
