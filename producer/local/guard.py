"""Ends the processes of a parent that died without ending them itself.

Runs as a separate program that needs only the standard library. A line `PID SIGNAL SECONDS` on
stdin puts a process under guard, a line `PID` releases it. The end of stdin means that the
parent is gone: however it died, the kernel closed its end of the pipe. Each process that is still
under guard then gets its signal, last started first, and SIGKILL when its seconds have passed.

Linux's parent-death signal would not do: it is tied to the thread that started the process, and
macOS has none.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable

_POLL = 0.05  # seconds


def main(lines: Iterable[str]) -> None:
    """Read `lines` to their end, then end every process still under guard."""
    guarded: dict[int, tuple[int, float]] = {}
    for line in lines:
        match line.split():
            case [pid, number, seconds]:
                guarded[int(pid)] = (int(number), float(seconds))
            case [pid]:
                guarded.pop(int(pid), None)
    for process, (stop, grace) in reversed(guarded.items()):
        _end(process, stop, grace)


def _end(pid: int, stop: int, grace: float) -> None:
    try:
        os.kill(pid, stop)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(_POLL)
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main(sys.stdin)
