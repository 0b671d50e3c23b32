"""The thread that owns the device.

Chunk threads hand over windows and wait; this thread runs micro-batches of whatever waits,
whichever chunks and jobs it came from. Before each it looks at what came in: interactive windows go
next, though not so often that bulk ones never do. Where the device is the core that chunk threads
compute on, too, bulk ones go while none of these does. Memory is bounded by the callers, since each
waits for its own windows.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Self

from schema.documents import Lane
from worker.core import Core
from worker.device_errors import document_error, is_lost, is_out_of_memory
from worker.meter import Meter
from worker.pipeline import Pipeline
from worker.pipeline.generator import MOST_AT_ONCE
from worker.pipeline.records import Answer, IntArray
from worker.waiting import WASTE, Request, Stream, WaitingWindows, Window, streams

logger = logging.getLogger(__name__)

IN_A_ROW = 4
"""Interactive micro-batches after which waiting bulk windows get one."""


class _Signal(Enum):
    """What comes in besides windows."""

    CLOSE = auto()
    WAKE = auto()


class AbandonedError(Exception):
    """The caller set its event: what was left of the request was not run."""


class DeviceLostError(Exception):
    """The device answers nothing any more in this process; only another process can use it."""


class Engine:
    """Runs windows of any chunk on one device, in micro-batches.

    Attributes:
        core: where chunk threads compute; those of the bulk lane take turns there.
    """

    def __init__(
        self,
        budgets: Mapping[Pipeline, int],
        *,
        linger: float,
        core: Core | None = None,
        meter: Meter | None = None,
        on_lost: Callable[[Exception], object] = lambda _: None,
        on_ceiling: Callable[[Pipeline, int], object] = lambda *_: None,
    ) -> None:
        """Keep the models; entering the context begins the thread.

        Args:
            budgets: of each pipeline, the most padded tokens (longest times rows) of a
                micro-batch.
            linger: seconds to wait for more windows when the device is idle and those at hand do
                not fill a micro-batch.
            core: None: chunk threads compute elsewhere than on the device.
            meter: counts micro-batches.
            on_lost: called when the device is lost, before the callers hear of it.
            on_ceiling: called with a pipeline's budget when the device's memory lowered it.
        """
        self._budgets = dict(budgets)
        self._linger = linger
        self.core = core or Core(is_device=False)
        self.core.on_free = self._wake
        self._meter = meter or Meter()
        self._meter.waiting = self.waiting
        self._on_lost = on_lost
        self._on_ceiling = on_ceiling
        self._incoming: queue.SimpleQueue[Request | _Signal] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._incoming_windows = 0
        self._requests: list[Request] = []
        self._waiting: dict[Stream, WaitingWindows] = {
            stream: WaitingWindows() for pipeline in budgets for stream in streams(pipeline)
        }
        self._halves: list[tuple[Stream, list[Window]]] = []
        self._fitted: dict[Pipeline, int] = {}
        self._current: Stream | None = None
        self._in_a_row = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Run what waits, then end the thread."""
        self._incoming.put(_Signal.CLOSE)
        self._thread.join()

    def predict(
        self,
        pipeline: Pipeline,
        lane: Lane,
        windows: Sequence[IntArray],
        abandoned: threading.Event | None = None,
        *,
        generates: bool = False,
    ) -> list[Answer]:
        """Predict each window, waiting for the device.

        Args:
            pipeline: whose model to run; windows of different ones never share a micro-batch.
            lane: interactive windows go first.
            windows: token ids.
            abandoned: set it, from any thread, when the answers are no longer wanted.
            generates: whether keywords are to be made from the windows, not found in them.

        Returns:
            One answer per window, in order.

        Raises:
            AbandonedError: `abandoned` was set before all windows were run; it is looked at before
                every micro-batch.
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
        with self._lock:
            self._budgets = self._budgets | {pipeline: self._budgets[like]}
            # Replaced as a whole: the thread may be going through the old ones.
            self._waiting = self._waiting | {
                stream: WaitingWindows() for stream in streams(pipeline)
            }

    def dismiss(self, pipeline: Pipeline) -> None:
        """Forget a model; nobody may ask for its predictions, or wait for one, any more."""
        with self._lock:
            self._waiting = {
                stream: waiting
                for stream, waiting in self._waiting.items()
                if stream.pipeline is not pipeline
            }
            self._budgets = {
                known: budget for known, budget in self._budgets.items() if known is not pipeline
            }

    def waiting(self) -> int:
        """Windows that were handed over and are not on the device yet."""
        return self._incoming_windows + sum(map(len, self._waiting.values()))

    def _run(self) -> None:
        while self._collect():
            self._drop_abandoned()
            with self.core.if_free() as free:
                chosen = self._choose(bulk=free)
                if chosen is not None:
                    self._predict_or_fail(*chosen)
            if chosen is None and not free:
                self._take(block=None)
            self._requests = [request for request in self._requests if not request.future.done()]

    def _predict_or_fail(self, chosen: Stream, batch: list[Window]) -> None:
        try:
            self._predict(chosen, batch)
        except Exception as error:
            # The device, or a fault of this thread's own: callers must hear of it, or they
            # wait for ever.
            logger.exception("the engine failed")
            self._fail(error)
        if not self._halves:
            self._lower_budgets()

    def _collect(self) -> bool:
        """Take in requests; wait for one when there is none. False: closed, all done."""
        if not self._requests:
            if self._closing:
                return False
            self._take(block=None)
            self._await_more()
        while self._take(block=0):
            pass
        return bool(self._requests) or not self._closing

    def _await_more(self) -> None:
        """An idle device waits a little for bulk windows to fill a micro-batch."""
        deadline = time.monotonic() + self._linger
        while self._requests and not self._closing and not self._is_urgent_or_full():
            left = deadline - time.monotonic()
            if left <= 0 or not self._take(block=left):
                break

    def _is_urgent_or_full(self) -> bool:
        if any(request.stream.lane is Lane.INTERACTIVE for request in self._requests):
            return True
        # Only where windows wait: a stream without may be of a model that is just being dismissed.
        return any(
            waiting.tokens and waiting.tokens >= self._budget(stream)
            for stream, waiting in self._waiting.items()
        )

    def _take(self, block: float | None) -> bool:
        try:
            request = self._incoming.get(block=block != 0, timeout=block or None)
        except queue.Empty:
            return False
        match request:
            case _Signal.CLOSE:
                self._closing = True
            case Request():
                with self._lock:
                    self._incoming_windows -= len(request.windows)
                self._requests.append(request)
                self._waiting[request.stream].add(request.windows)
        return True

    def _wake(self) -> None:
        self._incoming.put(_Signal.WAKE)

    def _drop_abandoned(self) -> None:
        for request in self._requests:
            if request.is_abandoned:
                self._waiting[request.stream].drop(request)
                request.future.set_exception(AbandonedError())
        self._requests = [request for request in self._requests if not request.future.done()]

    def _choose(self, *, bulk: bool) -> tuple[Stream, list[Window]] | None:
        """The next micro-batch, and where it came from; `bulk`: whether it may be a bulk one."""
        urgent, oldest = self._oldest(Lane.INTERACTIVE), self._oldest(Lane.BULK)
        others = bulk and (oldest or self._halves)
        if urgent is not None and (self._in_a_row < IN_A_ROW or not others):
            self._in_a_row += 1
            return urgent, self._next(urgent)
        if not others:
            return None
        self._in_a_row = 0
        while self._halves:
            chosen, windows = self._halves.pop()
            wanted = [window for window in windows if not window.request.future.done()]
            if wanted:
                return chosen, wanted
        if oldest is None:
            return None
        if self._current is None or not self._in_round(self._current):
            self._current = oldest
        chosen = self._current
        return chosen, self._next(chosen)

    def _in_round(self, stream: Stream) -> bool:
        waiting = self._waiting.get(stream)  # None: its model was dismissed
        return waiting is not None and waiting.in_round

    def _next(self, chosen: Stream) -> list[Window]:
        waste = WASTE if chosen.pads else 1
        return self._waiting[chosen].take(self._budget(chosen), waste)

    def _budget(self, stream: Stream) -> int:
        budget = self._budgets[stream.pipeline]
        return min(budget, MOST_AT_ONCE) if stream.generates else budget

    def _oldest(self, lane: Lane) -> Stream | None:
        """The stream of a lane whose windows wait longest."""
        for request in self._requests:
            if request.stream.lane is lane and len(self._waiting[request.stream]):
                return request.stream
        return None

    def _predict(self, chosen: Stream, batch: list[Window]) -> None:
        """Run a micro-batch; one that fails is halved, down to the window at fault."""
        began = time.monotonic()
        try:
            predictions = chosen.run([window.ids for window in batch])
        except DeviceLostError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a model raises, neighbours go on
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
            # What does not fit even alone says nothing of how much fits beside it.
            self._note_fit(chosen, self._budgets[chosen.pipeline] if len(batch) == 1 else 0)
        if len(batch) == 1:
            batch[0].answer(document_error(error))
            return
        logger.warning("halving a micro-batch of %d: %s", len(batch), type(error).__name__)
        middle = len(batch) // 2
        self._halves += [(chosen, batch[middle:]), (chosen, batch[:middle])]

    def _note_fit(self, chosen: Stream, tokens: int) -> None:
        """Remember how much fitted since a micro-batch of the model did not."""
        if not chosen.generates:
            known = self._fitted.get(chosen.pipeline, 0)
            self._fitted[chosen.pipeline] = max(known, tokens)

    def _lower_budgets(self) -> None:
        """When all parts of a micro-batch that did not fit have run: the largest is the ceiling."""
        for pipeline, tokens in self._fitted.items():
            if 0 < tokens < self._budgets.get(pipeline, 0):  # 0: it was dismissed
                with self._lock:
                    self._budgets[pipeline] = tokens
                logger.warning("micro-batches of %s hold %d tokens at most", pipeline.task, tokens)
                self._on_ceiling(pipeline, tokens)
        self._fitted.clear()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, DeviceLostError):
            self._on_lost(error)
        for request in self._requests:
            self._waiting[request.stream].drop(request)
            if not request.future.done():
                request.future.set_exception(error)
        self._halves.clear()
        self._fitted.clear()


def _padded(batch: Sequence[Window]) -> int:
    return max(window.length for window in batch) * len(batch)
