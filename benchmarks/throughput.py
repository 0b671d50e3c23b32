"""How much of the in-process limit the whole system reaches.

    python -m benchmarks.throughput sentiment FILE [--processes 2]

The same documents go through the same model with the same number of processes twice: in a bare loop
with everything in memory, and submitted to a stack of its own, from the first claim to the last
outcome committed. The last line is one JSON object.
"""

import argparse
import json
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from producer import Document, Task, Textmill
from producer.local import remove, running
from producer.readers import read_documents
from producer.workers import registered
from schema.settings import IntakeSettings, ServiceSettings, read

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

ROWS_AT_ONCE = 1024
WARM_UP = 512


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    parser.add_argument("task", type=Task, choices=list(Task))
    parser.add_argument("file")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    records = read_documents(arguments.file, limits=read(IntakeSettings))
    documents = [record for record in records if isinstance(record, Document)]
    texts = [document.text for document in documents]
    limit = len(texts) / in_process(arguments.task, texts, arguments.processes)
    system = len(texts) / through_the_system(arguments.task, documents, arguments.processes)
    figures = {
        "name": "throughput",
        "task": arguments.task,
        "documents": len(texts),
        "processes": arguments.processes,
        "in_process_documents_per_second": round(limit),
        "system_documents_per_second": round(system),
        "ratio": round(system / limit, 3),
    }
    print(json.dumps(figures))


def in_process(task: Task, texts: list[str], processes: int) -> float:
    """Seconds that a bare loop takes, models loaded."""
    context = get_context("spawn")
    barrier = context.Barrier(processes + 1)
    loops = [
        context.Process(target=_loop, args=(task, texts[number::processes], barrier))
        for number in range(processes)
    ]
    for loop in loops:
        loop.start()
    barrier.wait()
    began = time.monotonic()
    barrier.wait()
    return time.monotonic() - began


def through_the_system(task: Task, documents: list[Document], processes: int) -> float:
    """Seconds from the first claim to the last outcome committed."""
    data_dir = Path(tempfile.mkdtemp(prefix="textmill-benchmark-"))
    services = ServiceSettings(database_url=None, broker_url=None, data_dir=data_dir)
    with running(services, processes) as stack, Textmill(stack.urls.producer) as textmill:
        since = textmill.status(textmill.submit(task, []).job_id).created_at
        while len(registered(textmill.engine, since)) < processes:
            time.sleep(0.1)
        job = textmill.submit(task, documents)
        done = textmill.wait(job.job_id)
    remove(data_dir)
    if done.started_at is None or done.finished_at is None:
        message = f"the job did not run: {done}"
        raise RuntimeError(message)
    return (done.finished_at - done.started_at).total_seconds()


def _loop(task: Task, texts: list[str], barrier: "Barrier") -> None:
    import torch  # noqa: PLC0415  # the measuring process itself stays light

    from worker.pipeline import Pipeline, analyse  # noqa: PLC0415
    from worker.pipeline.artifact import SHIPPED  # noqa: PLC0415

    torch.set_num_threads(1)
    pipeline = Pipeline.load(SHIPPED / task, "cpu")
    analyse(pipeline, texts[:WARM_UP])
    barrier.wait()
    for first in range(0, len(texts), ROWS_AT_ONCE):
        analyse(pipeline, texts[first : first + ROWS_AT_ONCE])
    barrier.wait()


if __name__ == "__main__":
    main()
