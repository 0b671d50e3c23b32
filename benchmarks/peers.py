"""The same documents and model through Textmill and its alternatives.

Each peer runs one process per core, with one torch thread, on the Redis and Postgres of the same
stack, and writes the same rows. Peers that send one message per document get fewer documents, since
their speed does not depend on the number. Start-up is left out everywhere: Textmill is timed from
the end of submitting, a peer from its first message, and Ray Data from when all actors are ready.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from uuid import uuid4

from benchmarks.documents import make
from benchmarks.peer import create_table, rows_of
from benchmarks.report import Report, alternately, median_ratio
from benchmarks.system import cores, system, through
from worker.devices import Device

DOCUMENTS = 60_000
ONE_BY_ONE = 3_000

COMMANDS = {
    "celery": "celery -A benchmarks.peer_celery:app worker -c {}",
    "dramatiq": "dramatiq benchmarks.peer_dramatiq -p {} -t 1",
}
"""How each peer's workers start, with a place for the number of processes."""


def measure(documents: int | None) -> Report:
    """Textmill and its peers in turn."""
    texts = make(documents or DOCUMENTS)
    few = texts[:ONE_BY_ONE]
    processes = cores()
    with system(processes) as (stack, textmill):
        os.environ["BENCHMARK_DATABASE"] = stack.urls.owner
        os.environ["BENCHMARK_BROKER"] = stack.urls.broker
        create_table()
        sides: dict[str, Callable[[], float]] = {
            "Textmill": lambda: through(textmill, texts),
            "Celery": lambda: _one_by_one("celery", few, processes),
            "Dramatiq": lambda: _one_by_one("dramatiq", few, processes),
            "Ray Data": lambda: _ray(texts, processes),
        }
        runs = alternately(sides)
    ratios = {
        f"by {peer}": median_ratio(runs["Textmill"], runs[peer])
        for peer in ("Celery", "Ray Data", "Dramatiq")
    }
    target = {"by Celery": ">= 15", "by Ray Data": ">= 2.5"}
    return Report("peers", ratios, target, runs, "documents/s")


def _one_by_one(peer: str, texts: Sequence[str], processes: int) -> float:
    """One task per document; timed from the first message to the last row."""
    with _workers(peer, processes) as send:
        send(["warm up"] * 20 * processes)
        began = time.monotonic()
        send(texts)
        return len(texts) / (time.monotonic() - began)


@contextmanager
def _workers(peer: str, processes: int) -> Iterator[Callable[[Sequence[str]], None]]:
    prefix = f"{peer}-{uuid4().hex}"
    os.environ["BENCHMARK_PREFIX"] = prefix
    send_one = import_module(f"benchmarks.peer_{peer}").sender(prefix)

    def send(texts: Sequence[str]) -> None:
        job = str(uuid4())
        for seq, text in enumerate(texts):
            send_one(job, seq, text)
        while rows_of(job) < len(texts):
            time.sleep(0.02)

    worker = subprocess.Popen(
        [sys.executable, "-m", *COMMANDS[peer].format(processes).split()],
        env=_pinned(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
    )
    try:
        yield send
    finally:
        worker.terminate()
        worker.wait(60)


def _ray(texts: Sequence[str], processes: int) -> float:
    """Ray Data's `map_batches` over actors, in a separate process that prints the speed."""
    job = str(uuid4())
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peer_ray", job, str(len(texts)), str(processes)],
        env=_pinned(),
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    if rows_of(job) != len(texts):
        message = "Ray did not write every row"
        raise RuntimeError(message)
    return float(done.stdout.splitlines()[-1])


def _pinned() -> dict[str, str]:
    return os.environ | Device("cpu").environment()
