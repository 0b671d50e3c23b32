"""What a worker process measures about itself, logged once a minute and offered to Prometheus."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

INTERVAL = 60
"""Seconds between two log lines."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums since the process started.

    Attributes:
        succeeded: documents with a result.
        failed: documents with a failure.
        batches: micro-batches.
        tokens: tokens of all micro-batches.
        padded: padded tokens of all micro-batches.
        busy: seconds that the device was busy.
    """

    succeeded: int = 0
    failed: int = 0
    batches: int = 0
    tokens: int = 0
    padded: int = 0
    busy: float = 0.0


class Meter(Collector):
    """Counts documents and micro-batches; any thread may call it.

    Attributes:
        waiting: returns how many windows wait for the device.
    """

    def __init__(self) -> None:
        self.waiting: Callable[[], int] = lambda: 0
        self._lock = threading.Lock()
        self._counts = Counts()

    def count_documents(self, succeeded: int, failed: int) -> None:
        """Count the outcomes of a stored chunk."""
        with self._lock:
            counts = self._counts
            self._counts = replace(
                counts, succeeded=counts.succeeded + succeeded, failed=counts.failed + failed
            )

    def count_batch(self, *, tokens: int, padded: int, seconds: float) -> None:
        """Count a micro-batch and the time that it took on the device."""
        with self._lock:
            counts = self._counts
            self._counts = replace(
                counts,
                batches=counts.batches + 1,
                tokens=counts.tokens + tokens,
                padded=counts.padded + padded,
                busy=counts.busy + seconds,
            )

    def read(self) -> Counts:
        """The sums so far."""
        with self._lock:
            return self._counts

    def collect(self) -> Iterable[Metric]:
        """The sums in the form that Prometheus expects."""
        counts = self.read()
        documents = CounterMetricFamily(
            "textmill_documents", "Documents whose outcome was stored.", labels=["status"]
        )
        documents.add_metric(["succeeded"], counts.succeeded)
        documents.add_metric(["failed"], counts.failed)
        yield documents
        yield CounterMetricFamily("textmill_micro_batches", "Forward passes.", counts.batches)
        yield CounterMetricFamily("textmill_tokens", "Tokens on the device.", counts.tokens)
        yield CounterMetricFamily("textmill_padded_tokens", "The same with padding.", counts.padded)
        yield CounterMetricFamily(
            "textmill_device_busy_seconds", "Time that the device was busy.", counts.busy
        )
        yield GaugeMetricFamily(
            "textmill_waiting_windows", "Windows that wait for the device.", self.waiting()
        )


def summary(before: Counts, after: Counts, seconds: float, waiting: int) -> str:
    """A log line about one period.

    Args:
        before: the sums at its start.
        after: the sums at its end.
        seconds: its length.
        waiting: windows waiting at its end.
    """
    documents = after.succeeded + after.failed - before.succeeded - before.failed
    batches = after.batches - before.batches
    tokens = after.tokens - before.tokens
    padded = after.padded - before.padded
    busy = (after.busy - before.busy) / seconds
    return (
        f"{documents / seconds:.1f} documents/s, device busy {busy:.0%},"
        f" {tokens / max(batches, 1):.0f} tokens a micro-batch,"
        f" padding {1 - tokens / padded if padded else 0:.1%}, {waiting} windows waiting"
    )


class Reporter:
    """The thread that logs once a minute, and the port that Prometheus scrapes.

    Args:
        meter: what to read.
        port: where to serve Prometheus, on every interface, since it may be in another container;
            None for nowhere.
        interval: seconds between two log lines.
    """

    def __init__(self, meter: Meter, port: int | None, interval: float = INTERVAL) -> None:
        self._meter = meter
        self._port = port
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def __enter__(self) -> Self:
        if self._port is not None:
            registry = CollectorRegistry()
            registry.register(self._meter)
            try:
                start_http_server(self._port, registry=registry)
                logger.info("metrics on port %d of every interface", self._port)
            except OSError as error:
                # Documents matter more: raising here would end the process at every start.
                message = "no metrics on port %d (%s); set another TEXTMILL_METRICS_PORT"
                logger.error(message, self._port, error.strerror)  # noqa: TRY400
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for line in self._lines():
            logger.info("%s", line)

    def _lines(self) -> Iterator[str]:
        """Yield a log line for each interval in which something happened."""
        before, since = self._meter.read(), time.monotonic()
        while not self._stop.wait(self._interval):
            after, now = self._meter.read(), time.monotonic()
            if after != before:
                yield summary(before, after, now - since, self._meter.waiting())
            before, since = after, now
