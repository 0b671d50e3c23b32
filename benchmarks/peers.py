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
from pathlib import Path
from uuid import uuid4

import psycopg
import sqlalchemy as sa

from benchmarks.documents import make
from benchmarks.peer import create_table
from benchmarks.report import Report, alternately, median_ratio
from benchmarks.system import system, through
from producer.local import Stack
from worker.devices import Device

DOCUMENTS = 60_000
ONE_BY_ONE = 3_000


def measure(documents: int | None) -> Report:
    """Textmill and its peers in turn."""
    texts = make(documents or DOCUMENTS)
    few = texts[:ONE_BY_ONE]
    processes = len(os.sched_getaffinity(0))
    with system(processes) as (stack, textmill):
        create_table(stack.urls.owner)
        sides: dict[str, Callable[[], float]] = {
            "Textmill": lambda: through(textmill, texts),
            "Celery": lambda: _one_by_one(stack, "celery", few, processes),
            "Dramatiq": lambda: _one_by_one(stack, "dramatiq", few, processes),
            "Ray Data": lambda: _ray(stack, texts, processes),
        }
        runs = alternately(sides)
    ratios = {
        f"by {peer}": median_ratio(runs["Textmill"], runs[peer])
        for peer in ("Celery", "Ray Data", "Dramatiq")
    }
    target = {"by Celery": ">= 15", "by Ray Data": ">= 2.5"}
    return Report("peers", ratios, target, runs, "documents/s")


def _one_by_one(stack: Stack, peer: str, texts: Sequence[str], processes: int) -> float:
    """One task per document; timed from the first message to the last row."""
    with _workers(stack, peer, processes) as send:
        send(["warm up"] * 20 * processes)
        began = time.monotonic()
        send(texts)
        return len(texts) / (time.monotonic() - began)


@contextmanager
def _workers(stack: Stack, peer: str, processes: int) -> Iterator[Callable[[Sequence[str]], None]]:
    prefix = f"{peer}-{uuid4().hex}"
    environment = _environment(stack) | {"BENCHMARK_PREFIX": prefix}
    os.environ.update({name: environment[name] for name in environment if name.startswith("BENCH")})
    if peer == "celery":
        from benchmarks import peer_celery as module  # noqa: PLC0415

        command = ["celery", "-A", "benchmarks.peer_celery:app", "worker", "-c", str(processes)]
    else:
        from benchmarks import peer_dramatiq as module  # type: ignore[no-redef]  # noqa: PLC0415

        command = ["dramatiq", "benchmarks.peer_dramatiq", "-p", str(processes), "-t", "1"]
    send_one = module.sender(stack.urls.broker, prefix)

    def send(texts: Sequence[str]) -> None:
        job = str(uuid4())
        for seq, text in enumerate(texts):
            send_one(job, seq, text)
        while _rows(stack, job) < len(texts):
            time.sleep(0.02)

    worker = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
    )
    try:
        yield send
    finally:
        worker.terminate()
        worker.wait(60)


def _ray(stack: Stack, texts: Sequence[str], processes: int) -> float:
    """Ray Data's `map_batches` over actors, in a separate process that prints the speed."""
    job = str(uuid4())
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peer_ray", job, str(len(texts)), str(processes)],
        env=_environment(stack),
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    if _rows(stack, job) != len(texts):
        message = "Ray did not write every row"
        raise RuntimeError(message)
    return float(done.stdout.splitlines()[-1])


def _rows(stack: Stack, job: str) -> int:
    with psycopg.connect(stack.urls.owner) as connection:
        query = "select count(*) from peer_result where job_id = %s"
        (count,) = connection.execute(query, (job,)).fetchone() or (0,)
    return int(count)


def _environment(stack: Stack) -> dict[str, str]:
    url = sa.make_url(stack.urls.owner).set(drivername="postgresql")
    return (
        os.environ
        | Device("cpu").environment()
        | {
            "BENCHMARK_DATABASE": url.render_as_string(hide_password=False),
            "BENCHMARK_BROKER": stack.urls.broker,
        }
    )
