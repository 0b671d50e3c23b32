"""Windows that wait for the device, and which of them share the next micro-batch."""

import threading
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from operator import attrgetter

from schema.documents import Lane
from worker.pipeline import Pipeline
from worker.pipeline.records import Answer, IntArray, Prediction

WASTE = 0.04
"""Share of padding above which a micro-batch worth its start takes no shorter windows."""

WORTH_ITS_START = 16
"""The token budget divided by this is the smallest micro-batch that is worth its start."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What may share a micro-batch: the windows of one model, in one lane, for one purpose.

    Attributes:
        pipeline: the model's pipeline.
        lane: the job's lane.
        generates: whether keywords are generated from the windows, not found in them.
    """

    pipeline: Pipeline
    lane: Lane
    generates: bool = False

    @property
    def pads(self) -> bool:
        """Whether padding costs as much as tokens; a generator attends to padding on any device."""
        return self.generates or self.pipeline.pads

    def run(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """Run one micro-batch on the device."""
        run = self.pipeline.generate if self.generates else self.pipeline.predict
        return run(windows)


def streams(pipeline: Pipeline) -> list[Stream]:
    """All streams of a model."""
    return [Stream(pipeline, lane, generates) for lane in Lane for generates in (False, True)]


@dataclass(slots=True)
class Window:
    """A window on its way through the device; its answer goes to `place` in `request`."""

    ids: IntArray
    length: int
    request: "Request"
    place: int

    def answer(self, answer: Answer) -> None:
        """Hand the answer to the request; the last answer ends its wait."""
        self.request.answer(self.place, answer)


class Request:
    """The windows of one call, and their answers as they arrive.

    Args:
        stream: where its windows wait.
        windows: token ids of each window; at least one window.
        abandoned: set by whoever no longer wants the answers; None: they are always wanted.

    Attributes:
        stream: where its windows wait.
        windows: in the order of the call.
        abandoned: set by whoever no longer wants the answers.
        future: the answers, one per window.
    """

    def __init__(
        self, stream: Stream, windows: Sequence[IntArray], abandoned: threading.Event | None
    ) -> None:
        self.stream = stream
        self.windows = [Window(ids, len(ids), self, place) for place, ids in enumerate(windows)]
        self.abandoned = abandoned
        self.future: Future[list[Answer]] = Future()
        self._answers: list[Answer | None] = [None] * len(windows)
        self._missing = len(windows)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody wants the answers any more."""
        return self.abandoned is not None and self.abandoned.is_set()

    def answer(self, place: int, answer: Answer) -> None:
        """Record the answer for the window at `place`."""
        self._answers[place] = answer
        self._missing -= 1
        if not self._missing and not self.future.done():
            self.future.set_result([given for given in self._answers if given is not None])


class WaitingWindows:
    """The waiting windows of one stream, shortest first.

    They are taken in rounds from the longest to the shortest. A window that arrives during a round
    joins it if it is no longer than the last one taken, and otherwise waits for the next round: no
    window waits for more than two.
    """

    def __init__(self) -> None:
        self._windows: list[Window] = []
        self._reached: int | None = None
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def in_round(self) -> bool:
        """Whether the round under way has windows left."""
        return self._reached is not None and bool(self._place())

    def add(self, windows: Sequence[Window]) -> None:
        """Add windows to those that wait."""
        self._windows += windows
        self._windows.sort(key=attrgetter("length"))  # merges runs that are in order
        self.tokens += sum(window.length for window in windows)

    def drop(self, request: Request) -> None:
        """Forget the windows of a request."""
        self._windows = [window for window in self._windows if window.request is not request]
        self.tokens = sum(window.length for window in self._windows)

    def take(self, budget: int, waste: float = WASTE) -> list[Window]:
        """The next micro-batch, longest first; see `rows`."""
        place = self._place() or len(self._windows)
        count = rows(
            [window.length for window in self._windows[place - 1 :: -1]] if place else [],
            budget,
            waste,
        )
        taken = self._windows[place - count : place][::-1]
        del self._windows[place - count : place]
        self.tokens -= sum(window.length for window in taken)
        self._reached = taken[-1].length if taken else None
        return taken

    def _place(self) -> int:
        """How many windows the round has left."""
        if self._reached is None:
            return 0
        return bisect_right(self._windows, self._reached, key=attrgetter("length"))


def rows(lengths: Sequence[int], budget: int, waste: float = WASTE) -> int:
    """How many windows the next micro-batch takes.

    Args:
        lengths: tokens of each waiting window, longest first.
        budget: most padded tokens (longest times rows).
        waste: share of padding to stay below; 1 if the device computes no padding.

    Returns:
        At least 1 if there is a window. Fewer than fit, if shorter ones would raise the share of
        padding above `waste` and the longer ones are enough to be worth a forward pass.
    """
    if not lengths:
        return 0
    longest, tokens = lengths[0], 0
    for row, length in enumerate(lengths):
        padded = longest * (row + 1)
        tokens += length
        if row and padded > budget:
            return row
        if tokens < (1 - waste) * padded and longest * row >= budget / WORTH_ITS_START:
            return row
    return len(lengths)
