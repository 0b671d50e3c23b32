"""What a process reports about itself."""

import logging
import socket
import urllib.request

import pytest

from tests.fixtures.waiting import until
from worker.meter import Counts, Meter
from worker.reporting import reporting, summary


def test_summary_tells_of_its_stretch_alone() -> None:
    """Without it a slow hour hides behind a fast day."""
    before = Counts(succeeded=100, failed=10, batches=5, tokens=900, padded=1000, busy=50)
    after = Counts(succeeded=160, failed=10, batches=7, tokens=1800, padded=2000, busy=65)

    line = summary(before, after, seconds=30, waiting=3)

    assert line == (
        "2.0 documents/s, device busy 50%, 450 tokens a micro-batch, padding 10.0%,"
        " 3 windows waiting"
    )


def test_prometheus_reads_what_was_counted() -> None:
    """Without it a dashboard shows nothing, or outdated numbers."""
    meter = Meter()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    with reporting(meter, lambda: 3, port):
        meter.count_documents(succeeded=7, failed=2)
        meter.count_batch(tokens=90, padded=100, seconds=0.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()

    assert 'textmill_documents_total{status="succeeded"} 7.0' in text
    assert 'textmill_documents_total{status="failed"} 2.0' in text
    assert "textmill_padded_tokens_total 100.0" in text
    assert "textmill_device_busy_seconds_total 0.5" in text
    assert "textmill_waiting_windows 3.0" in text


def test_log_speaks_when_something_happened(caplog: pytest.LogCaptureFixture) -> None:
    """Without it a slow worker goes unnoticed, or an idle one fills the disk with zeros."""
    meter = Meter()
    caplog.set_level(logging.INFO, "worker.reporting")

    with reporting(meter, lambda: 0, None, interval=0.01):
        meter.count_documents(succeeded=1, failed=0)
        until(lambda: bool(caplog.messages))

    assert len(caplog.messages) == 1
    assert "documents/s" in caplog.messages[0]


def test_a_taken_port_leaves_a_process_without_metrics_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without it a second worker on a host would crash over its metrics, again and again."""
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with reporting(Meter(), lambda: 0, port):
            pass

    assert f"no metrics on port {port}" in caplog.text
