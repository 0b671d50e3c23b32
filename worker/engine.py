"""The thread that owns the device.

Chunk threads hand over windows and wait; this thread runs micro-batches of whatever windows wait,
from any chunk and job. Before each micro-batch it takes in what has arrived: interactive windows go
next, but not so often that bulk windows never do. If the device is also the core that chunk threads
compute on, bulk windows run only while no chunk thread holds it. Memory is bounded by the callers,
since each waits for its own windows.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Self

from schema.documents import Lane
from schema.errors import DeviceFullError
from worker.core import Core
from worker.device_errors import document_error, is_lost
from worker.meter import Meter
from worker.pipeline import Pipeline
from worker.pipeline.faults import log_once
from worker.pipeline.out_of_memory import is_out_of_memory
from worker.pipeline.records import Answer, IntArray
from worker.schedule import Schedule
from worker.token_budgets import SMALLEST
from worker.waiting import Request, Stream, Window

logger = logging.getLogger(__name__)

FULL_PAUSE = 1.0
"""Seconds to rest when the device has no memory left: else a long job's chunks would fail by the
hundreds, each to be tried again."""


class _Signal(Enum):
    """What arrives besides windows."""

    CLOSE = auto()
    WAKE = auto()


class DeviceLostError(Exception):
    """The device no longer works in this process; only another process can use it."""


class Engine:
    """Runs windows of any chunk on one device, in micro-batches.

    Entering its context starts the thread that runs them.

    Args:
        budgets: for each pipeline, the most padded tokens (longest times rows) of a
            micro-batch.
        linger: seconds to wait for more windows when the device is idle and the waiting ones do
            not fill a micro-batch.
        core: where chunk threads compute.
        meter: counts micro-batches.
        on_lost: called when the device is lost, before the callers learn of it.
        on_ceiling: called with a pipeline and its budget when lack of device memory lowered it.
    """

    def __init__(
        self,
        budgets: Mapping[Pipeline, int],
        *,
        linger: float,
        core: Core,
        meter: Meter,
        on_lost: Callable[[Exception], object],
        on_ceiling: Callable[[Pipeline, int], object],
    ) -> None:
        self._schedule = Schedule(budgets)
        self._linger = linger
        self._core = core
        self._meter = meter
        self._on_lost = on_lost
        self._on_ceiling = on_ceiling
        self._incoming: queue.SimpleQueue[Request | _Signal] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._incoming_windows = 0
        self._fitted: dict[Pipeline, int] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Run the waiting windows, then end the thread."""
        self._incoming.put(_Signal.CLOSE)
        self._thread.join()

    def predict(
        self,
        pipeline: Pipeline,
        lane: Lane,
        windows: Sequence[IntArray],
        abandoned: threading.Event,
        *,
        generates: bool,
    ) -> list[Answer]:
        """Predict each window, blocking until all answers are there.

        Args:
            pipeline: whose model to run; windows of different models never share a micro-batch.
            lane: interactive windows go first.
            windows: token ids.
            abandoned: the caller sets it, from any thread, when it no longer wants the answers.
            generates: whether keywords are to be generated from the windows, not found in them.

        Returns:
            One answer per window, in order.

        Raises:
            AbandonedError: `abandoned` was set before all windows were run; it is checked before
                every micro-batch.
            DeviceFullError: the device has no memory left.
            DeviceLostError: the device failed for good.
        """
        if not windows:
            return []
        request = Request(Stream(pipeline, lane, generates), windows, abandoned)
        with self._lock:
            self._incoming_windows += len(windows)
        self._incoming.put(request)
        return request.future.result()

    def adopt(self, pipeline: Pipeline, like: Pipeline) -> None:
        """Serve another model from now on, with the token budget of `like`."""
        self._schedule.adopt(pipeline, like)

    def dismiss(self, pipeline: Pipeline) -> None:
        """Forget a model; callers must neither wait for its predictions nor ask for more."""
        self._schedule.dismiss(pipeline)

    def waiting(self) -> int:
        """Windows that were handed over and are not on the device yet."""
        return self._incoming_windows + self._schedule.waiting

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            # A fault of this thread's own. Callers would wait for ever, so the process ends.
            logger.exception("the engine thread failed")
            self._fail(DeviceLostError(repr(error)))

    def _serve(self) -> None:
        while self._collect():
            if self._schedule.drop_abandoned():
                # What is left of a micro-batch that did not fit says too little about the memory.
                self._fitted.clear()
            with self._core.if_free(self._wake) as free:
                chosen = self._schedule.next(bulk=free)
                if chosen is not None:
                    self._predict_or_fail(*chosen)
            if chosen is None and not free:
                self._receive(timeout=None)
            self._schedule.drop_answered()

    def _predict_or_fail(self, chosen: Stream, batch: list[Window]) -> None:
        try:
            self._predict(chosen, batch)
        except Exception as error:
            # The device failed, or this thread has a fault: callers must learn of it, or they
            # wait for ever.
            logger.exception("the engine failed")
            self._fail(error)
        if not self._schedule.has_halves:
            self._lower_budgets()

    def _collect(self) -> bool:
        """Take in requests, waiting for one if there is none; False once closed and all done."""
        if self._schedule.is_idle:
            if self._closing:
                return False
            self._receive(timeout=None)
            self._await_more()
        while self._receive(timeout=0):
            pass
        return not (self._schedule.is_idle and self._closing)

    def _await_more(self) -> None:
        """An idle device waits a little for bulk windows to fill a micro-batch."""
        deadline = time.monotonic() + self._linger
        while not (self._schedule.is_idle or self._closing or self._schedule.is_urgent_or_full):
            left = deadline - time.monotonic()
            if left <= 0 or not self._receive(timeout=left):
                break

    def _receive(self, timeout: float | None) -> bool:
        try:
            request = self._incoming.get(block=timeout != 0, timeout=timeout or None)
        except queue.Empty:
            return False
        match request:
            case _Signal.CLOSE:
                self._closing = True
            case Request():
                with self._lock:
                    self._incoming_windows -= len(request.windows)
                self._schedule.add(request)
        return True

    def _wake(self) -> None:
        self._incoming.put(_Signal.WAKE)

    def _predict(self, chosen: Stream, batch: list[Window]) -> None:
        """Run a micro-batch; one that fails is halved, down to the window at fault."""
        began = time.monotonic()
        try:
            predictions = chosen.run([window.ids for window in batch])
        except DeviceLostError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a model raises, other windows go on
            self._part(chosen, batch, error)
            return
        if chosen.pipeline in self._fitted:
            self._note_fit(chosen, _padded(batch))
        tokens = sum(window.length for window in batch)
        self._meter.count_batch(
            tokens=tokens,
            padded=_padded(batch) if chosen.pads else tokens,
            seconds=time.monotonic() - began,
        )
        for window, prediction in zip(batch, predictions, strict=True):
            window.answer(prediction)

    def _part(self, chosen: Stream, batch: list[Window], error: Exception) -> None:
        if is_lost(error):
            raise DeviceLostError(str(error)) from error
        if is_out_of_memory(error):
            # A window that does not fit even alone says nothing about the right budget.
            self._note_fit(chosen, self._schedule.budget(chosen.pipeline) if len(batch) == 1 else 0)
        if len(batch) == 1:
            self._blame(chosen, batch[0], error)
            return
        logger.warning("halving a micro-batch of %d: %s", len(batch), type(error).__name__)
        self._schedule.add_halves(chosen, batch)

    def _blame(self, chosen: Stream, window: Window, error: Exception) -> None:
        """Fail the document of a window that failed alone, unless the device has no memory left.

        It has none if not even half of the window fits.
        """
        half = window.ids[: max(1, window.length // 2)]
        if is_out_of_memory(error) and not self._fits(chosen, half):
            time.sleep(FULL_PAUSE)
            msg = "the device has no memory left, even for half of a window; free some"
            self._schedule.end(window.request, DeviceFullError(msg))
            return
        log_once(f"the model failed on one window: {type(error).__name__}", error)
        window.answer(document_error(error))

    def _fits(self, chosen: Stream, ids: IntArray) -> bool:
        try:
            chosen.run([ids])
        except Exception as error:
            if is_lost(error):
                raise DeviceLostError(str(error)) from error
            return not is_out_of_memory(error)
        return True

    def _note_fit(self, chosen: Stream, tokens: int) -> None:
        """Remember the most that has fitted since a micro-batch of the model did not fit."""
        if not chosen.generates:
            known = self._fitted.get(chosen.pipeline, 0)
            self._fitted[chosen.pipeline] = max(known, tokens)

    def _lower_budgets(self) -> None:
        """Once all parts of a micro-batch that did not fit have run, make the largest the ceiling.

        It is at least `SMALLEST`, since the lack of memory may pass and no budget is ever raised.
        """
        for pipeline, fitted in self._fitted.items():
            tokens = max(fitted, SMALLEST)
            if fitted and tokens < self._schedule.budget(pipeline):
                self._schedule.lower_budget(pipeline, tokens)
                logger.warning("micro-batches of %s hold %d tokens at most", pipeline.task, tokens)
                self._on_ceiling(pipeline, tokens)
        self._fitted.clear()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, DeviceLostError):
            self._on_lost(error)
        self._schedule.fail(error)
        self._fitted.clear()


def _padded(batch: Sequence[Window]) -> int:
    return max(window.length for window in batch) * len(batch)
