"""A pipe through which a worker process shows its supervisor that it runs.

The heartbeat tells everyone else, but it is only a thread of the process: a call that never returns
and never releases the interpreter stops both, and with them the watch over stuck chunks.
"""

import os
import threading
import time
from contextlib import suppress

INTERVAL = 1.0
"""Seconds between beats."""

SILENT = 120.0
"""Seconds without a beat after which a process that has started to beat counts as hung."""

FROZEN = 5.0
"""If more seconds than this pass between two looks of the supervisor, it was frozen, and perhaps
the process with it."""


class Pulse:
    """The supervisor's end.

    Attributes:
        sender: file descriptor of the other end, for the process alone.
    """

    def __init__(self) -> None:
        self._receiver, self.sender = os.pipe()
        os.set_blocking(self._receiver, False)
        os.set_blocking(self.sender, False)
        self._heard: float | None = None
        self._looked = time.monotonic()

    def is_silent(self) -> bool:
        """Whether the process started to beat and then stopped while the supervisor was running."""
        now = time.monotonic()
        if self._heard is not None and now - self._looked > FROZEN:
            self._heard = now
        self._looked = now
        with suppress(BlockingIOError):
            if os.read(self._receiver, 65536):
                self._heard = now
        return self._heard is not None and now - self._heard > SILENT

    def close(self) -> None:
        """Close the receiving end."""
        os.close(self._receiver)


def beat(sender: int) -> None:
    """Start to beat, in a thread that ends with the process or its supervisor."""
    threading.Thread(target=_beat, args=[sender], name="pulse", daemon=True).start()


def _beat(sender: int) -> None:
    with suppress(BrokenPipeError):  # the supervisor is gone
        while True:
            with suppress(BlockingIOError):  # the supervisor is frozen; the pipe holds enough beats
                os.write(sender, b".")
            time.sleep(INTERVAL)
