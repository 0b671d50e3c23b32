"""What a process measured, logged once a minute and offered to Prometheus."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from worker.meter import Counts, Meter
from worker.periodic import every

logger = logging.getLogger(__name__)

INTERVAL = 60
"""Seconds between two log lines."""


@contextmanager
def reporting(
    meter: Meter, waiting: Callable[[], int], port: int | None, interval: float = INTERVAL
) -> Iterator[None]:
    """Within this context, log each interval in which something happened; and serve Prometheus.

    Args:
        meter: what to read.
        waiting: returns how many windows wait for the device.
        port: where to serve Prometheus, on every interface, since it may be in another container;
            None for nowhere.
        interval: seconds between two log lines.
    """
    if port is not None:
        _serve(meter, waiting, port)
    before, since = meter.read(), time.monotonic()

    def log() -> None:
        nonlocal before, since
        after, now = meter.read(), time.monotonic()
        if after != before:
            logger.info("%s", summary(before, after, now - since, waiting()))
        before, since = after, now

    with every(interval, log, "reporter"):
        yield


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


def _serve(meter: Meter, waiting: Callable[[], int], port: int) -> None:
    registry = CollectorRegistry()
    registry.register(meter)
    gauge = Gauge(
        "textmill_waiting_windows", "Windows that wait for the device.", registry=registry
    )
    gauge.set_function(waiting)
    try:
        start_http_server(port, registry=registry)
        logger.info("metrics on port %d of every interface", port)
    except OSError as error:
        # Documents matter more: raising here would end the process at every start.
        message = "no metrics on port %d (%s); set another TEXTMILL_METRICS_PORT"
        logger.error(message, port, error.strerror)  # noqa: TRY400
