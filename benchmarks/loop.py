"""The in-process limit: the same model and documents in a bare loop, everything in memory."""

import gc
import os
import time
from itertools import pairwise
from multiprocessing import get_context
from typing import TYPE_CHECKING

from benchmarks import TASK
from worker.devices import Device

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

ROWS_AT_ONCE = 2048
WARM_UP = 512


def in_process(texts: list[str], processes: int) -> float:
    """Documents per second of bare loops, one per process, with models loaded and warm."""
    context = get_context("spawn")
    barrier = context.Barrier(processes + 1)
    loops = [
        context.Process(target=_loop, args=(share, barrier)) for share in _shares(texts, processes)
    ]
    for loop in loops:
        loop.start()
    barrier.wait()
    began = time.monotonic()
    barrier.wait()
    seconds = time.monotonic() - began
    for loop in loops:
        loop.join()
    return len(texts) / seconds


def _shares(texts: list[str], processes: int) -> list[list[str]]:
    """Contiguous shares, as every other text is Chinese and takes longer than an English one."""
    bounds = [len(texts) * number // processes for number in range(processes + 1)]
    return [texts[first:last] for first, last in pairwise(bounds)]


def _loop(texts: list[str], barrier: "Barrier") -> None:
    os.environ.update(Device("cpu").environment())
    import torch  # noqa: PLC0415  # it reads the environment

    from worker.pipeline import Pipeline  # noqa: PLC0415
    from worker.pipeline.analysis import analyse  # noqa: PLC0415
    from worker.pipeline.artifact import SHIPPED  # noqa: PLC0415

    torch.set_num_threads(1)
    pipeline = Pipeline.load(SHIPPED / TASK, "cpu")
    analyse(pipeline, texts[:WARM_UP])
    gc.freeze()  # as workers do
    barrier.wait()
    for first in range(0, len(texts), ROWS_AT_ONCE):
        analyse(pipeline, texts[first : first + ROWS_AT_ONCE])
    barrier.wait()
