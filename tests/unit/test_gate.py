"""Chunks enter together, a suspect enters alone."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.fixtures.waiting import PATIENCE, until
from worker.gate import ClosedError, Gate


class Inside:
    """The visitors inside; each one that enters checks that it may be there."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self._lock = threading.Lock()
        self._visitors: list[Visitor] = []

    def enter(self, visitor: "Visitor") -> None:
        """Add a visitor, and check the rule: of any two that meet, the second finds the first."""
        with self._lock:
            self.order.append(visitor.name)
            self._visitors.append(visitor)
            met = [other.name for other in self._visitors]
            assert len(met) == 1 or not any(other.alone for other in self._visitors), met

    def leave(self, visitor: "Visitor") -> None:
        """Remove a visitor that is about to leave."""
        with self._lock:
            self._visitors.remove(visitor)


class WatchedGate(Gate):
    """Counts how often it refuses each visitor."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = Inside()
        self.at_thread: dict[int, Visitor] = {}

    def _wait(self, free: Callable[[], object]) -> None:
        def noted() -> bool:
            is_free = bool(free())
            self.at_thread[threading.get_ident()].refusals += not is_free
            return is_free

        super()._wait(noted)


class Visitor:
    """Enters the gate in its own thread, and stays inside until it is let out."""

    def __init__(
        self, pool: ThreadPoolExecutor, gate: WatchedGate, name: str, *, alone: bool
    ) -> None:
        self.name = name
        self.alone = alone
        self.refusals = 0
        self.entered = threading.Event()
        self.let_out = threading.Event()
        self._gate = gate
        self.done: Future[None] = pool.submit(self._visit)

    def _visit(self) -> None:
        self._gate.at_thread[threading.get_ident()] = self
        with self._gate.alone() if self.alone else self._gate.together():
            self._gate.inside.enter(self)
            self.entered.set()
            assert self.let_out.wait(PATIENCE)
            self._gate.inside.leave(self)

    def is_refused(self, times: int = 1) -> bool:
        """Wait until the gate has refused it `times` times; False if it enters or ends first."""
        until(lambda: self.refusals >= times or self.entered.is_set() or self.done.done())
        return self.refusals >= times

    def goes_in(self) -> bool:
        """Wait until it is inside; False if it may not be, or if the gate was closed."""
        until(lambda: self.entered.is_set() or self.done.done())
        return self.entered.is_set()

    def leave(self) -> None:
        """Let it out, and wait until it has left."""
        self.let_out.set()
        self.done.result(PATIENCE)


@pytest.fixture
def gate() -> WatchedGate:
    return WatchedGate()


@pytest.fixture
def visit(gate: WatchedGate) -> Iterator[Callable[..., Visitor]]:
    """A function that begins a visit; every visit ends with the test."""
    visitors = []
    with ThreadPoolExecutor(max_workers=8) as pool:

        def begin(name: str, *, alone: bool = False) -> Visitor:
            visitors.append(Visitor(pool, gate, name, alone=alone))
            return visitors[-1]

        yield begin
        gate.close()
        for visitor in visitors:
            visitor.let_out.set()


def test_suspect_waits_until_it_is_alone_and_later_chunks_wait_for_it(
    gate: WatchedGate, visit: Callable[..., Visitor]
) -> None:
    """Without it, innocent chunks share a suspect's crash, or a busy process never runs one."""
    first, second = visit("first"), visit("second")
    assert first.goes_in()
    assert second.goes_in()

    suspect = visit("suspect", alone=True)
    assert suspect.is_refused()
    later = visit("later")
    assert later.is_refused()
    first.leave()
    assert suspect.is_refused(times=2)
    second.leave()
    assert suspect.goes_in()
    suspect.leave()
    assert later.goes_in()
    later.leave()

    assert sorted(gate.inside.order[:2]) == ["first", "second"]
    assert gate.inside.order[2:] == ["suspect", "later"]


def test_suspects_go_one_by_one(gate: WatchedGate, visit: Callable[..., Visitor]) -> None:
    """Without it, two suspects share a crash, and the innocent one is condemned."""
    first = visit("first", alone=True)
    assert first.goes_in()

    chunk = visit("chunk")
    assert chunk.is_refused()
    second = visit("second", alone=True)
    assert second.is_refused()
    first.leave()
    assert second.goes_in()
    second.leave()
    assert chunk.goes_in()
    chunk.leave()

    assert gate.inside.order == ["first", "second", "chunk"]


def test_suspect_that_waits_for_a_stalled_chunk_keeps_nobody_out(
    gate: WatchedGate, visit: Callable[..., Visitor]
) -> None:
    """Without it, one locked row and one suspect stop a process for as long as the lock is held."""
    first = visit("first")
    assert first.goes_in()
    suspect = visit("suspect", alone=True)
    assert suspect.is_refused()
    later = visit("later")
    assert later.is_refused()

    with gate.stalled():
        assert later.goes_in()
    last = visit("last")
    assert last.is_refused()
    later.leave()
    first.leave()
    assert suspect.goes_in()
    with gate.stalled():
        assert last.is_refused(times=2)
    suspect.leave()
    assert last.goes_in()
    last.leave()

    assert gate.inside.order == ["first", "later", "suspect", "last"]


def test_closed_gate_lets_nobody_in_and_everybody_out(
    gate: WatchedGate, visit: Callable[..., Visitor]
) -> None:
    """Without it, a draining process starts chunks that it will not finish."""
    inside = visit("inside")
    assert inside.goes_in()
    waiting = visit("waiting", alone=True)
    assert waiting.is_refused()

    gate.close()

    with pytest.raises(ClosedError):
        waiting.done.result(PATIENCE)
    with pytest.raises(ClosedError), gate.together():
        pass
    inside.leave()
