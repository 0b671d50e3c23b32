"""The Celery peer: one task per document."""

import os
from collections.abc import Callable

from celery import Celery

from benchmarks.peer import process

app = Celery("peer", broker=os.environ["BENCHMARK_BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_default_queue=os.environ["BENCHMARK_PREFIX"],
    worker_prefetch_multiplier=16,
)


@app.task(name="peer.analyse")  # type: ignore[untyped-decorator]
def analyse(job: str, seq: int, text: str) -> None:
    """Analyse one document and write its row."""
    process(job, [seq], [text])


def sender(prefix: str) -> Callable[[str, int, str], object]:
    """A function that sends one document to the workers with this prefix."""
    return lambda job, seq, text: analyse.apply_async((job, seq, text), queue=prefix)
