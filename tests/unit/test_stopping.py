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

UNHEARD = """
import os, signal, sys
from producer.cli.show import console
from producer.cli.stopping import until_told_to_stop
reading, writing = os.pipe()
os.dup2(writing, sys.stderr.fileno())
os.close(reading)
os.close(writing)
stop = until_told_to_stop(lambda: console.print("stopping"))
os.kill(os.getpid(), signal.SIGTERM)
sys.exit(0 if stop.wait(60) else 1)
"""
"""A program whose standard error is a pipe that nobody reads any more."""


def test_signal_that_interrupts_a_signal_stops_the_program() -> None:
    """Without it, a dispatcher that is told twice to stop hangs until it is killed."""
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, check=True, text=True, timeout=90
    )

    assert ended.stdout.strip() == "True"


def test_program_that_nobody_listens_to_is_stopped_all_the_same() -> None:
    """Without it, `textmill up 2>&1 | sed /ready/q` hears no SIGTERM, and has to be killed."""
    ended = subprocess.run([sys.executable, "-c", UNHEARD], check=False, timeout=90)

    assert ended.returncode == 0
