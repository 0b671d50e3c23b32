"""A thread that does something again and again."""

import threading
import time

from tests.fixtures.waiting import PATIENCE
from worker.periodic import every


def test_an_action_under_way_ends_before_its_context_does() -> None:
    """Without it a heartbeat could write its row again after the process has removed it."""
    begun, calls = threading.Event(), []

    def act() -> None:
        calls.append("begun")
        begun.set()
        time.sleep(0.1)  # long enough for the context to end meanwhile
        calls.append("ended")

    with every(0.001, act, "test"):
        assert begun.wait(PATIENCE)

    assert calls[-1] == "ended"
