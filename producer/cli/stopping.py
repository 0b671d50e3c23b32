"""How the long-running commands are told to stop."""

import queue
import signal
import threading


def until_told_to_stop() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    # An event has a lock, which the interrupted thread itself may hold: a second signal right after
    # the first would wait for it for ever. A simple queue may be put to from a signal handler.
    signals: queue.SimpleQueue[None] = queue.SimpleQueue()

    def pass_on() -> None:
        signals.get()
        stop.set()

    threading.Thread(target=pass_on, name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: signals.put(None))
    return stop
