"""The in-process limit: the same model and documents in a bare loop, everything in memory."""

import time
from itertools import pairwise
from multiprocessing import get_context
from typing import TYPE_CHECKING

from schema.documents import Task

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

ROWS_AT_ONCE = 2048
WARM_UP = 512


def in_process(task: Task, texts: list[str], processes: int) -> float:
    """Documents per second of bare loops, one per process, with models loaded and warm."""
    from worker.devices import Device  # noqa: PLC0415

    context = get_context("spawn")
    barrier = context.Barrier(processes + 1)
    loops = [
        context.Process(
            target=_loop,
            args=(task, share, barrier, Device("cpu").environment()),
        )
        for share in _shares(texts, processes)
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


def _loop(task: Task, texts: list[str], barrier: "Barrier", environment: dict[str, str]) -> None:
    import gc  # noqa: PLC0415
    import os  # noqa: PLC0415

    os.environ.update(environment)
    import torch  # noqa: PLC0415

    from worker.pipeline import Pipeline  # noqa: PLC0415
    from worker.pipeline.analysis import analyse  # noqa: PLC0415
    from worker.pipeline.artifact import SHIPPED  # noqa: PLC0415

    torch.set_num_threads(1)
    pipeline = Pipeline.load(SHIPPED / task, "cpu")
    analyse(pipeline, texts[:WARM_UP])
    gc.freeze()  # as workers do
    barrier.wait()
    for first in range(0, len(texts), ROWS_AT_ONCE):
        analyse(pipeline, texts[first : first + ROWS_AT_ONCE])
    barrier.wait()
