"""The thread that owns the device.

Chunk threads hand over windows and wait; this thread takes what waits of one task, whichever
chunks it came from, sorts it by length into micro-batches under the token budget and runs them.
Interactive windows go first. Memory is bounded by the callers: each waits for its own windows.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Self

import torch

from schema.documents import Lane, Task
from schema.errors import DocumentError, LeaseLostError
from schema.outcomes import ErrorCode, Stage
from worker.pipeline import Pipeline
from worker.pipeline.batch import micro_batches
from worker.pipeline.records import IntArray, Prediction

logger = logging.getLogger(__name__)

Answer = Prediction | DocumentError


@dataclass(slots=True)
class _Window:
    """A window on its way over the device; `request` and `place` say whose answer it gets."""

    ids: IntArray
    request: "_Request"
    place: int


class _Request:
    """The windows of one call, and its answers as they come in."""

    def __init__(
        self,
        task: Task,
        lane: Lane,
        windows: Sequence[IntArray],
        unwanted: Callable[[], bool],
    ) -> None:
        self.task = task
        self.lane = lane
        self.unwanted = unwanted
        self.windows = [_Window(ids, self, place) for place, ids in enumerate(windows)]
        self.future: Future[list[Answer]] = Future()
        self._answers: list[Answer | None] = [None] * len(windows)
        self._missing = len(windows)

    def answer(self, place: int, answer: Answer) -> None:
        self._answers[place] = answer
        self._missing -= 1
        if not self._missing:
            self.future.set_result([given for given in self._answers if given is not None])


class Engine:
    """Runs windows of any chunk on one device, in micro-batches."""

    def __init__(
        self, pipelines: Mapping[Task, Pipeline], *, token_budget: int, linger: float
    ) -> None:
        """Keep the models; `start` begins the thread.

        Args:
            pipelines: the loaded pipeline of each task.
            token_budget: most padded tokens (longest × rows) of a micro-batch.
            linger: seconds to wait for more windows when those at hand do not fill one.
        """
        self._pipelines = pipelines
        self._budget = token_budget
        self._linger = linger
        self._incoming: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._waiting: list[_Request] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Run what waits, then end the thread."""
        self._incoming.put(None)
        self._thread.join()

    def predict(
        self,
        task: Task,
        lane: Lane,
        windows: Sequence[IntArray],
        unwanted: Callable[[], bool] = lambda: False,
    ) -> list[Answer]:
        """Predict each window, waiting for the device.

        Args:
            task: whose model to run.
            lane: interactive windows go first.
            windows: token ids.
            unwanted: asked before each micro-batch; once true, nothing more is run.

        Raises:
            LeaseLostError: the answers became unwanted.

        Returns:
            For each window, in order, the prediction, or the error of a window that fails even
            alone.
        """
        if not windows:
            return []
        request = _Request(task, lane, windows, unwanted)
        self._incoming.put(request)
        return request.future.result()

    def _run(self) -> None:
        while self._collect():
            task = min(self._waiting, key=_urgency).task
            mine = [request for request in self._waiting if request.task == task]
            self._waiting = [request for request in self._waiting if request.task != task]
            try:
                self._predict_all(task, mine)
            except Exception as error:
                # A fault of this thread's own: callers must hear of it, or they wait for ever.
                logger.exception("the engine failed")
                for request in mine:
                    if not request.future.done():
                        request.future.set_exception(error)

    def _predict_all(self, task: Task, requests: Sequence[_Request]) -> None:
        windows = [window for request in requests for window in request.windows]
        lengths = [len(window.ids) for window in windows]
        for batch in micro_batches(lengths, self._budget):
            wanted = [windows[index] for index in batch if not _drop(windows[index].request)]
            if wanted:
                self._predict(task, wanted)

    def _collect(self) -> bool:
        """Take in requests; wait for one when there is none. False: closed, all done."""
        if not self._waiting:
            if self._closing:
                return False
            self._take(block=None)
            deadline = time.monotonic() + self._linger
            while not self._closing and self._tokens() < self._budget:
                left = deadline - time.monotonic()
                if left <= 0 or not self._take(block=left):
                    break
        while self._take(block=0):
            pass
        return bool(self._waiting) or not self._closing

    def _take(self, block: float | None) -> bool:
        try:
            request = self._incoming.get(block=block != 0, timeout=block or None)
        except queue.Empty:
            return False
        if request is None:
            self._closing = True
        else:
            self._waiting.append(request)
        return True

    def _tokens(self) -> int:
        return sum(len(window.ids) for request in self._waiting for window in request.windows)

    def _predict(self, task: Task, batch: Sequence[_Window]) -> None:
        """Run a micro-batch; one that fails is halved, down to the window at fault."""
        try:
            predictions = self._pipelines[task].predict([window.ids for window in batch])
        except Exception as error:  # noqa: BLE001  # whatever a model raises, neighbours go on
            if len(batch) == 1:
                batch[0].request.answer(batch[0].place, _document_error(error))
                return
            logger.warning("halving a micro-batch of %d: %s", len(batch), type(error).__name__)
            middle = len(batch) // 2
            self._predict(task, batch[:middle])
            self._predict(task, batch[middle:])
            return
        for window, prediction in zip(batch, predictions, strict=True):
            window.request.answer(window.place, prediction)


def _drop(request: _Request) -> bool:
    """Whether nobody wants the answers any more; the caller is told."""
    if request.unwanted() and not request.future.done():
        request.future.set_exception(LeaseLostError("its job was ended, or another took it up"))
    return request.future.done()


def _urgency(request: _Request) -> bool:
    """Sorts interactive requests first; `min` keeps the order of arrival among equals."""
    return request.lane is not Lane.INTERACTIVE


def _document_error(error: Exception) -> DocumentError:
    if isinstance(error, DocumentError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        message = "the document does not fit the device's memory, even alone"
        return DocumentError(ErrorCode.TOO_LARGE_FOR_DEVICE, Stage.PREDICT, message)
    message = f"the model failed on this document alone: {type(error).__name__}"
    return DocumentError(ErrorCode.STAGE_ERROR, Stage.PREDICT, message)
