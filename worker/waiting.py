"""Windows that wait for the device, and which of them share the next micro-batch."""

import threading
from collections.abc import Iterable, Sequence
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
    generates: bool

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
    """A window on its way through the device; its answer goes to `index` in `request`."""

    ids: IntArray
    length: int
    request: "Request"
    index: int

    def answer(self, answer: Answer) -> None:
        """Hand the answer to the request; the last answer ends its wait."""
        self.request.answer(self.index, answer)


class Request:
    """The windows of one call, and their answers as they arrive.

    Args:
        stream: where its windows wait.
        windows: token ids of each window; at least one window.
        abandoned: set by whoever no longer wants the answers.

    Attributes:
        stream: where its windows wait.
        windows: in the order of the call.
        abandoned: set by whoever no longer wants the answers.
        future: the answers, one per window.
    """

    def __init__(
        self, stream: Stream, windows: Sequence[IntArray], abandoned: threading.Event
    ) -> None:
        self.stream = stream
        self.windows = [Window(ids, len(ids), self, index) for index, ids in enumerate(windows)]
        self.abandoned = abandoned
        self.future: Future[list[Answer]] = Future()
        self._answers: list[Answer | None] = [None] * len(windows)
        self._missing = len(windows)

    def answer(self, index: int, answer: Answer) -> None:
        """Record the answer for the window at `index`."""
        self._answers[index] = answer
        self._missing -= 1
        if not self._missing and not self.future.done():
            self.future.set_result([given for given in self._answers if given is not None])


class WaitingWindows:
    """The waiting windows of one stream.

    They are taken in rounds, each from its longest window to its shortest. A window that arrives
    during a round joins it only if it is shorter than all that the round has taken so far, and
    otherwise waits for the next round. So a round always ends, and no window waits for more than
    two of them.
    """

    def __init__(self) -> None:
        self._round: list[Window] = []  # shortest first
        self._later: list[Window] = []
        self._reached = 0
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._round) + len(self._later)

    @property
    def in_round(self) -> bool:
        """Whether the round under way has windows left."""
        return bool(self._round)

    def add(self, windows: Sequence[Window]) -> None:
        """Add windows to those that wait."""
        if self._round:
            self._round += [window for window in windows if window.length < self._reached]
            self._round.sort(key=attrgetter("length"))
            self._later += [window for window in windows if window.length >= self._reached]
        else:
            self._later += windows
        self.tokens += sum(window.length for window in windows)

    def drop(self, request: Request) -> None:
        """Forget the windows of a request."""
        self._round = [window for window in self._round if window.request is not request]
        self._later = [window for window in self._later if window.request is not request]
        self.tokens = sum(window.length for window in (*self._round, *self._later))

    def take(self, budget: int, waste: float) -> list[Window]:
        """The next micro-batch, longest first; see `micro_batch_size`."""
        if not self._round:
            self._round, self._later = sorted(self._later, key=attrgetter("length")), []
        if not self._round:
            return []
        lengths = (window.length for window in reversed(self._round))
        count = micro_batch_size(lengths, budget, waste)
        taken = self._round[-count:][::-1]
        del self._round[-count:]
        self.tokens -= sum(window.length for window in taken)
        self._reached = taken[-1].length
        return taken


def micro_batch_size(lengths: Iterable[int], budget: int, waste: float) -> int:
    """How many windows the next micro-batch takes.

    Args:
        lengths: tokens of each waiting window, longest first; read only as far as needed.
        budget: most padded tokens (longest times rows).
        waste: share of padding to stay below; 1 if the device computes no padding.

    Returns:
        At least 1 if there is a window. Fewer than fit, if shorter ones would raise the share of
        padding above `waste` and the longer ones are enough to be worth a forward pass.
    """
    longest = tokens = count = 0
    for length in lengths:
        longest = longest or length
        padded = longest * (count + 1)
        tokens += length
        if count and padded > budget:
            break
        if tokens < (1 - waste) * padded and longest * count >= budget / WORTH_ITS_START:
            break
        count += 1
    return count
