"""Which of the waiting windows run next on the device."""

import threading
from collections.abc import Mapping

from schema.documents import Lane
from worker.pipeline import Pipeline
from worker.pipeline.generator import MOST_AT_ONCE
from worker.waiting import WASTE, Request, Stream, WaitingWindows, Window, streams

IN_A_ROW = 4
"""Interactive micro-batches after which waiting bulk windows get one."""


class AbandonedError(Exception):
    """The caller set its event: the remaining windows of its request were not run."""


class Schedule:
    """The requests under way, and the order in which their windows run.

    Interactive windows go next, but not so often that bulk ones never do. Within a lane, a round
    under way is finished first, then the stream whose request has waited longest goes.

    One thread uses it, except for `adopt`, `dismiss` and `waiting`, which any thread may call.

    Args:
        budgets: for each pipeline, the most padded tokens (longest times rows) of a
            micro-batch.
    """

    def __init__(self, budgets: Mapping[Pipeline, int]) -> None:
        self._lock = threading.Lock()
        self._budgets = dict(budgets)
        self._waiting = {
            stream: WaitingWindows() for pipeline in budgets for stream in streams(pipeline)
        }
        self._requests: list[Request] = []
        self._halves: dict[Lane, list[tuple[Stream, list[Window]]]] = {lane: [] for lane in Lane}
        self._rounds: dict[Lane, Stream] = {}
        self._in_a_row = 0

    def adopt(self, pipeline: Pipeline, like: Pipeline) -> None:
        """Accept windows of another model from now on, with the token budget of `like`."""
        with self._lock:
            # Both dicts are replaced as a whole: the thread may be iterating over the old ones.
            self._budgets = self._budgets | {pipeline: self._budgets[like]}
            self._waiting = self._waiting | {
                stream: WaitingWindows() for stream in streams(pipeline)
            }

    def dismiss(self, pipeline: Pipeline) -> None:
        """Forget a model; none of its windows may be waiting or arrive later."""
        with self._lock:
            self._waiting = {
                stream: waiting
                for stream, waiting in self._waiting.items()
                if stream.pipeline is not pipeline
            }
            self._budgets = {
                known: budget for known, budget in self._budgets.items() if known is not pipeline
            }

    def budget(self, pipeline: Pipeline) -> int:
        """Most padded tokens of a micro-batch; 0 for a model that was dismissed."""
        return self._budgets.get(pipeline, 0)

    def lower_budget(self, pipeline: Pipeline, tokens: int) -> None:
        """Form smaller micro-batches of a model from now on."""
        with self._lock:
            self._budgets[pipeline] = tokens

    @property
    def waiting(self) -> int:
        """Windows that no micro-batch has taken yet."""
        return sum(map(len, self._waiting.values()))

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return not self._requests

    @property
    def has_halves(self) -> bool:
        """Whether parts of a micro-batch that failed have yet to run."""
        return any(self._halves.values())

    @property
    def is_urgent_or_full(self) -> bool:
        """Whether there is an interactive request, or windows that fill a micro-batch."""
        if any(request.stream.lane is Lane.INTERACTIVE for request in self._requests):
            return True
        # Only streams with waiting windows: the others may belong to a model just being dismissed.
        return any(
            waiting.tokens and waiting.tokens >= self._most(stream)
            for stream, waiting in self._waiting.items()
        )

    def add(self, request: Request) -> None:
        """Add the windows of a request to those that wait."""
        self._requests.append(request)
        self._waiting[request.stream].add(request.windows)

    def add_halves(self, stream: Stream, batch: list[Window]) -> None:
        """Queue a micro-batch that failed to run again in two parts, before others of its lane."""
        middle = len(batch) // 2
        self._halves[stream.lane] += [(stream, batch[middle:]), (stream, batch[:middle])]

    def next(self, *, bulk: bool) -> tuple[Stream, list[Window]] | None:
        """Take the next micro-batch; `bulk` allows one of the bulk lane."""
        for lane in self._lanes(bulk=bulk):
            chosen = self._half(lane) or self._oldest(lane)
            if chosen is not None:
                self._in_a_row = self._in_a_row + 1 if lane is Lane.INTERACTIVE else 0
                return chosen
        return None

    def drop_abandoned(self) -> bool:
        """Forget the windows of abandoned requests, and end these with `AbandonedError`.

        Returns:
            Whether parts of a micro-batch that failed were among these windows.
        """
        abandoned = [request for request in self._requests if request.abandoned.is_set()]
        for request in abandoned:
            self.end(request, AbandonedError())
        self.drop_answered()
        return any(
            window.request in abandoned
            for halves in self._halves.values()
            for _, windows in halves
            for window in windows
        )

    def drop_answered(self) -> None:
        """Forget requests that have all their answers."""
        self._requests = [request for request in self._requests if not request.future.done()]

    def end(self, request: Request, error: Exception) -> None:
        """End a request with an error; its windows are not run any more."""
        self._waiting[request.stream].drop(request)
        if not request.future.done():
            request.future.set_exception(error)

    def fail(self, error: Exception) -> None:
        """End all requests with an error."""
        for request in self._requests:
            self.end(request, error)
        for halves in self._halves.values():
            halves.clear()

    def _lanes(self, *, bulk: bool) -> list[Lane]:
        """The lanes to look into, in order."""
        if not bulk:
            return [Lane.INTERACTIVE]
        lanes = [Lane.INTERACTIVE, Lane.BULK]
        return lanes if self._in_a_row < IN_A_ROW else lanes[::-1]

    def _half(self, lane: Lane) -> tuple[Stream, list[Window]] | None:
        """A part of a micro-batch that failed, without windows whose request is already done."""
        halves = self._halves[lane]
        while halves:
            stream, windows = halves.pop()
            wanted = [window for window in windows if not window.request.future.done()]
            if wanted:
                return stream, wanted
        return None

    def _oldest(self, lane: Lane) -> tuple[Stream, list[Window]] | None:
        """Windows of the round under way, or else of the request that has waited longest."""
        stream = self._rounds.get(lane)
        if stream is None or not self._in_round(stream):
            waiting = (
                request.stream
                for request in self._requests
                if request.stream.lane is lane and len(self._waiting[request.stream])
            )
            stream = next(waiting, None)
        if stream is None:
            return None
        self._rounds[lane] = stream
        waste = WASTE if stream.pads else 1
        return stream, self._waiting[stream].take(self._most(stream), waste)

    def _in_round(self, stream: Stream) -> bool:
        waiting = self._waiting.get(stream)  # None: its model was dismissed
        return waiting is not None and waiting.in_round

    def _most(self, stream: Stream) -> int:
        budget = self._budgets[stream.pipeline]
        return min(budget, MOST_AT_ONCE) if stream.generates else budget
