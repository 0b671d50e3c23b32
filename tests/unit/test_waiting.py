"""Which windows share a micro-batch."""

import threading
from typing import TYPE_CHECKING, cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schema.documents import Lane
from worker.waiting import WASTE, Request, Stream, WaitingWindows

if TYPE_CHECKING:
    from worker.pipeline import Pipeline

LENGTHS = st.lists(st.integers(1, 300), max_size=60)
BUDGETS = st.integers(1, 1000)


def request(lengths: list[int]) -> Request:
    stream = Stream(cast("Pipeline", None), Lane.BULK, generates=False)
    windows = [np.zeros(length, np.int32) for length in lengths]
    return Request(stream, windows, threading.Event())


@given(st.lists(LENGTHS, max_size=4), BUDGETS)
def test_every_window_is_taken_once_and_within_the_budget(
    requests: list[list[int]], budget: int
) -> None:
    """Without it a document gets no outcome or two, or a micro-batch outgrows the device."""
    waiting, taken = WaitingWindows(), []
    arriving = [request(lengths) for lengths in requests]
    windows = [window for one in arriving for window in one.windows]

    while arriving or len(waiting):
        if arriving:
            waiting.add(arriving.pop().windows)
        batch = waiting.take(budget, WASTE)
        assert len(batch) == 1 or max((w.length for w in batch), default=0) * len(batch) <= budget
        taken += batch

    assert sorted(map(id, taken)) == sorted(map(id, windows))
    assert waiting.tokens == 0


def test_later_windows_do_not_hold_up_a_round() -> None:
    """Without it a stream of long documents keeps the short ones waiting for ever."""
    waiting = WaitingWindows()
    waiting.add(request([10, 10, 1]).windows)
    taken = []

    for _ in range(3):
        taken.append([window.length for window in waiting.take(20, WASTE)])
        waiting.add(request([20]).windows)

    assert taken == [[10, 10], [1], [20]]


def test_windows_of_equal_length_do_not_hold_up_a_round() -> None:
    """Without it, a steady stream of equal windows keeps the shorter ones waiting for ever."""
    waiting = WaitingWindows()
    waiting.add(request([10, 10, 1]).windows)
    taken = []

    for _ in range(4):
        taken.append([window.length for window in waiting.take(10, WASTE)])
        waiting.add(request([10]).windows)

    assert taken == [[10], [10], [1], [10]]


def test_shorter_windows_join_the_round_under_way() -> None:
    """Without it, micro-batches near the end of a round run half empty."""
    waiting = WaitingWindows()
    waiting.add(request([10, 4]).windows)
    waiting.take(10, WASTE)

    waiting.add(request([3, 12]).windows)

    assert [window.length for window in waiting.take(8, waste=1)] == [4, 3]
    assert [window.length for window in waiting.take(12, WASTE)] == [12]


def test_dropped_request_is_forgotten() -> None:
    """Without it the device would compute for a chunk that nobody has any more."""
    waiting = WaitingWindows()
    dropped, kept = request([3, 5]), request([4])
    waiting.add(dropped.windows)
    waiting.add(kept.windows)

    waiting.drop(dropped)

    assert waiting.tokens == 4
    assert waiting.take(100, WASTE) == kept.windows
