"""Chunks go in together, a suspect goes in alone."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from worker.gate import ClosedError, Gate

PATIENCE = 30


class Visitor:
    """Goes through the gate in a thread of its own, and stays inside until it is let out."""

    def __init__(self, pool: ThreadPoolExecutor, way: AbstractContextManager[None]) -> None:
        self.inside = threading.Event()
        self.let_out = threading.Event()
        self._way = way
        self.done: Future[None] = pool.submit(self._visit)

    def _visit(self) -> None:
        with self._way:
            self.inside.set()
            assert self.let_out.wait(PATIENCE)

    def leave(self) -> None:
        """Let it out, and wait until it is."""
        self.let_out.set()
        self.done.result(PATIENCE)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=8) as pool:
        yield pool


def test_suspect_waits_until_it_is_alone_and_later_chunks_wait_for_it(
    pool: ThreadPoolExecutor,
) -> None:
    """Without it, innocents share a suspect's crash, or a busy process never runs a suspect."""
    gate = Gate()
    first, second = Visitor(pool, gate.together()), Visitor(pool, gate.together())
    assert first.inside.wait(PATIENCE)
    assert second.inside.wait(PATIENCE)

    suspect = Visitor(pool, gate.alone())
    while not gate._suspects_waiting:  # noqa: SLF001  # the moment that matters
        threading.Event().wait(0.001)
    later = Visitor(pool, gate.together())
    first.leave()
    assert not suspect.inside.is_set()
    second.leave()
    assert suspect.inside.wait(PATIENCE)
    assert not later.inside.is_set()
    suspect.leave()

    assert later.inside.wait(PATIENCE)
    later.leave()


def test_suspects_go_one_by_one(pool: ThreadPoolExecutor) -> None:
    """Without it, two suspects share a crash, and the innocent one is condemned."""
    gate = Gate()
    inside = 0
    most = 0

    def visit() -> None:
        nonlocal inside, most
        with gate.alone():
            inside += 1
            most = max(most, inside)
            threading.Event().wait(0.001)
            inside -= 1

    for visited in [pool.submit(visit) for _ in range(50)]:
        visited.result(PATIENCE)

    assert most == 1


def test_closed_gate_lets_nobody_in_and_everybody_out(pool: ThreadPoolExecutor) -> None:
    """Without it, a process that drains takes up chunks that it will not finish."""
    gate = Gate()
    inside = Visitor(pool, gate.together())
    assert inside.inside.wait(PATIENCE)
    waiting = Visitor(pool, gate.alone())

    gate.close()

    with pytest.raises(ClosedError):
        waiting.done.result(PATIENCE)
    with pytest.raises(ClosedError), gate.together():
        pass
    inside.leave()
