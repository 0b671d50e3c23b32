"""Which thread may use the core that is also the device."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from schema.documents import Lane
from tests.fixtures.waiting import PATIENCE
from worker.core import Core


def is_free(core: Core, on_free: Callable[[], object] = lambda: None) -> bool:
    with core.if_free(on_free) as free:
        return free


def test_bulk_threads_compute_one_at_a_time() -> None:
    """Without it, threads push each other's data out of the caches, and all are slower."""
    core, at_once = Core(is_device=True), threading.Semaphore(1)

    def work(_: int) -> bool:
        alone = True
        with core.held(Lane.BULK):
            for _ in range(5):
                alone &= at_once.acquire(blocking=False)
                time.sleep(0)  # others may run, if they can
                at_once.release()
                with core.elsewhere(Lane.BULK):
                    time.sleep(0)
        return alone

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(50)))
    assert is_free(core)


def test_interactive_threads_do_not_wait() -> None:
    """Without it, an interactive document waits until a bulk chunk is prepared."""
    core = Core(is_device=True)

    def urgent() -> None:
        with core.held(Lane.INTERACTIVE), core.elsewhere(Lane.INTERACTIVE):
            pass

    with ThreadPoolExecutor(1) as pool, core.held(Lane.BULK):
        pool.submit(urgent).result(PATIENCE)


def test_the_engine_finds_the_core_free_between_turns() -> None:
    """Without it, the engine computes at the same time as chunk threads, or never again."""
    core = Core(is_device=True)
    found: list[bool] = []

    def look() -> None:
        found.append(is_free(core, look))

    with core.held(Lane.BULK):
        look()
        with core.elsewhere(Lane.BULK):
            look()
        look()

    assert found == [False, True, True, False, True]


def test_core_is_let_go_with_an_error() -> None:
    """Without it, one chunk that fails stops the bulk lane of its process."""
    core = Core(is_device=True)

    with pytest.raises(ZeroDivisionError), core.held(Lane.BULK), core.elsewhere(Lane.BULK):
        raise ZeroDivisionError

    assert is_free(core)


def test_beside_a_gpu_nobody_waits() -> None:
    """Without it, documents are prepared one chunk at a time while a GPU idles."""
    core = Core(is_device=False)

    with core.held(Lane.BULK), core.held(Lane.BULK), core.elsewhere(Lane.BULK):
        assert is_free(core)
