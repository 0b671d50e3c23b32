"""A pipe by which a worker process shows its supervisor that it runs.

The heartbeat says so to the others, but it is a thread of the very process: a call that never
returns, and never lets the interpreter go, stops both, and the watch over stuck chunks with them.
"""

import os
import threading
import time
from contextlib import suppress

INTERVAL = 1.0
"""Seconds between beats."""

SILENT = 120.0
"""Seconds without a beat after which a process that has begun to beat counts as hung."""

FROZEN = 5.0
"""Seconds between two looks of the supervisor after which it was frozen itself, and both with it
perhaps."""


class Pulse:
    """The supervisor's end.

    Attributes:
        sender: file descriptor of the other end, for the process and nobody else.
    """

    def __init__(self) -> None:
        self._receiver, self.sender = os.pipe()
        os.set_blocking(self._receiver, False)
        os.set_blocking(self.sender, False)
        self._heard: float | None = None
        self._looked = time.monotonic()

    def is_silent(self) -> bool:
        """Whether the process has begun to beat, and stopped while the supervisor looked on."""
        now = time.monotonic()
        if self._heard is not None and now - self._looked > FROZEN:
            self._heard = now
        self._looked = now
        with suppress(BlockingIOError):
            if os.read(self._receiver, 65536):
                self._heard = now
        return self._heard is not None and now - self._heard > SILENT

    def close(self) -> None:
        """Let the receiving end go."""
        os.close(self._receiver)


def beat(sender: int) -> None:
    """Beat from now on, in a thread that ends with the process or its supervisor."""
    threading.Thread(target=_beat, args=[sender], name="pulse", daemon=True).start()


def _beat(sender: int) -> None:
    with suppress(BrokenPipeError):  # the supervisor is gone
        while True:
            with suppress(BlockingIOError):  # it is frozen, and will find enough of them
                os.write(sender, b".")
            time.sleep(INTERVAL)
