"""A thread that does something again and again."""

import threading

from tests.fixtures.waiting import PATIENCE
from worker.periodic import every


def test_an_action_under_way_ends_before_its_context_does() -> None:
    """Without it a heartbeat could write its row again after the process has removed it."""
    begun, calls = threading.Event(), []

    def act() -> None:
        calls.append("begun")
        if len(calls) > 1:
            begun.set()
        calls.append("ended")

    with every(0.001, act, "test"):
        assert begun.wait(PATIENCE)
    seen = list(calls)

    assert seen[-1] == "ended"
    assert seen == calls
