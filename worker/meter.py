"""What a worker process measures about itself."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


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
    """Counts documents and micro-batches; any thread may call it."""

    def __init__(self) -> None:
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
