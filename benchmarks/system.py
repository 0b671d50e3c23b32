"""The whole system on a stack of its own."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import TASK
from producer import Document, Textmill
from producer.local import Stack, remove, running
from producer.workers import started_since
from schema.settings import ServiceSettings
from worker.devices import Device, default_processes


def cores() -> int:
    """How many CPU cores this process may use."""
    return default_processes(Device("cpu"))


@contextmanager
def system(processes: int) -> Iterator[tuple[Stack, Textmill]]:
    """A fresh, warm stack with `processes` worker processes; removed afterwards."""
    with (
        own_servers() as services,
        running(services, processes) as stack,
        Textmill(stack.urls.producer) as textmill,
    ):
        since = textmill.status(textmill.submit(TASK, []).job_id).created_at
        while len(started_since(textmill.engine, since)) < processes:
            time.sleep(0.1)
        through(textmill, ["warm up"] * 2000)
        yield stack, textmill


@contextmanager
def own_servers(folder: Path | None = None) -> Iterator[ServiceSettings]:
    """Settings of embedded servers whose data lie in a folder that is removed afterwards.

    Args:
        folder: where that folder is made; None: where temporary files are.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="textmill-benchmark-", dir=folder))
    try:
        yield ServiceSettings(database_url=None, broker_url=None, data_dir=data_dir)
    finally:
        remove(data_dir)


def through(textmill: Textmill, texts: list[str]) -> float:
    """Documents per second from the end of submitting to the last outcome committed."""
    job = textmill.submit(TASK, [Document(text=text) for text in texts])
    began = datetime.now(UTC)
    done = textmill.wait(job.job_id)
    if done.finished_at is None or done.failed:
        message = f"the job did not run well: {done}"
        raise RuntimeError(message)
    return len(texts) / (done.finished_at - began).total_seconds()
