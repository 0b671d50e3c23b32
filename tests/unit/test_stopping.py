"""The long-running commands stop when they are told to."""

import subprocess
import sys

INTERRUPTED = """
import os, signal
from producer.cli.stopping import until_told_to_stop
stop = until_told_to_stop()
with stop._cond:
    os.kill(os.getpid(), signal.SIGTERM)
    sum(range(100000))
print(stop.wait(60))
"""
"""A program that gets a signal while its main thread holds the lock of its event."""


def test_signal_that_interrupts_a_signal_stops_the_program() -> None:
    """Without it, a dispatcher that is told twice to stop hangs until it is killed."""
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, check=True, text=True, timeout=90
    )

    assert ended.stdout.strip() == "True"
