"""The Dramatiq peer: one message per document."""

import os
from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peer import process

broker: Any = RedisBroker(
    url=os.environ["BENCHMARK_BROKER"], namespace=os.environ["BENCHMARK_PREFIX"]
)
dramatiq.set_broker(broker)


@dramatiq.actor
def analyse(job: str, seq: int, text: str) -> None:
    """Analyse one document and write its row."""
    process(job, [seq], [text])


def sender(prefix: str) -> Callable[[str, int, str], object]:
    """A function that sends one document to the workers with this prefix."""
    broker.namespace = prefix
    return analyse.send
