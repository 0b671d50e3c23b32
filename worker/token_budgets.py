"""How large micro-batches should be: measured once on a device, then remembered."""

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from worker.pipeline import Pipeline
from worker.pipeline.out_of_memory import is_out_of_memory
from worker.pipeline.records import IntArray

logger = logging.getLogger(__name__)

TRIED_TOKENS = 32
"""Tokens of each window in a trial, as many as ordinary documents have. Long windows, few of which
share a step, would call for budgets at which ordinary ones gain nothing and later ones wait."""

SMALLEST, LARGEST = 2048, 1 << 20
"""Lowest and highest budget to try, in tokens. No budget is lower: a measurement on a busy machine
or a passing lack of memory would slow down everything later."""

MOST_SECONDS = 0.045
"""Most seconds for a micro-batch of windows of `TRIED_TOKENS` tokens: how long an interactive
document waits for a bulk one."""

NEAR_ENOUGH = 0.9
"""A smaller budget is preferred if its speed is at least this share of the best."""

FILE = "token_budgets.json"


class TokenBudgets:
    """Token budgets by device and artifact, kept in a file of the cache directory.

    Losing the file costs a second at the next start; if it cannot be written, each start measures.

    Args:
        folder: the cache directory; it need not exist.
        device: the device as torch names it.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._file = folder / FILE
        self._device = device_name(device)
        # On a CPU, other programs use up wall-clock time, but not this thread's CPU time.
        self._clock = time.thread_time if device == "cpu" else time.perf_counter

    def budget(self, pipeline: Pipeline) -> int:
        """The token budget of a pipeline on this device, measured if it is not known."""
        known = self._read().get(self._key(pipeline))
        if known is not None and known >= SMALLEST:
            return known
        measured = measure(pipeline, self._clock)
        logger.info("micro-batches of %s hold %d tokens, as measured", pipeline.task, measured)
        self.remember(pipeline, measured)
        return measured

    def remember(self, pipeline: Pipeline, budget: int) -> None:
        """Keep a budget, but at least `SMALLEST`, for the next start."""
        budget = max(budget, SMALLEST)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # Processes of one host may write at the same time; each writes a whole file.
            aside = self._file.with_suffix(f".{os.getpid()}")
            aside.write_text(json.dumps(self._read() | {self._key(pipeline): budget}, indent=2))
            aside.replace(self._file)
        except OSError as error:
            logger.info("the next start measures again, %s cannot be written: %s", FILE, error)

    def _key(self, pipeline: Pipeline) -> str:
        measured = f"{pipeline.model_version}, windows of {TRIED_TOKENS}"
        return f"{self._device}, torch {torch.__version__}, {measured}"

    def _read(self) -> dict[str, int]:
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):  # missing, or cut short by a full disk: measure again
            return {}
        return known if isinstance(known, dict) else {}


def measure(pipeline: Pipeline, clock: Callable[[], float]) -> int:
    """The smallest budget nearly as fast as the best, within `MOST_SECONDS`."""
    speeds: dict[int, float] = {}
    budget = SMALLEST
    while budget <= LARGEST:
        try:
            seconds = _seconds(pipeline, budget, clock)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        if speeds and seconds > MOST_SECONDS:
            break
        speeds[budget] = budget / seconds
        if budget >= 4 * max(speeds, key=speeds.__getitem__):
            break
        budget *= 2
    return best(speeds) if speeds else SMALLEST


def best(speeds: dict[int, float]) -> int:
    """The smallest budget whose speed is near enough to the best."""
    enough = NEAR_ENOUGH * max(speeds.values())
    return min(budget for budget, speed in speeds.items() if speed >= enough)


def device_name(device: str) -> str:
    """The device's own name, since a host may get another device under the same number."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {platform.processor()} of {platform.node()}"


def _seconds(pipeline: Pipeline, budget: int, clock: Callable[[], float]) -> float:
    """Seconds for a micro-batch, the best of a few runs."""
    windows = _windows(pipeline, budget // TRIED_TOKENS)
    times = []
    for _ in range(4):
        began = clock()
        pipeline.predict(windows)
        times.append(clock() - began)
    return min(times)


def _windows(pipeline: Pipeline, rows: int) -> Sequence[IntArray]:
    rng = np.random.default_rng(rows)
    ids = rng.integers(1, pipeline.vocabulary, (rows, TRIED_TOKENS))
    return list(ids.astype(np.int32))
