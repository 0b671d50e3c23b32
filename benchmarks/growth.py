"""Whether speed, memory, disk space and status queries stay the same as jobs grow."""

import os
import time
from pathlib import Path

import sqlalchemy as sa

from benchmarks.documents import make
from benchmarks.report import Report
from benchmarks.system import cores, system, through
from producer import Textmill

SIZES = (10_000, 100_000, 1_000_000)


def measure(documents: int | None) -> Report:
    """Jobs of growing size on one stack; `documents` is the largest size."""
    largest = documents or SIZES[-1]
    sizes = [*(size for size in SIZES if size < largest), largest]
    runs: dict[str, list[float]] = {}
    with system(cores()) as (_, textmill):
        for size in sizes:
            before = _bytes(textmill)
            runs[f"{size} documents/s"] = [through(textmill, make(size))]
            runs[f"{size} worker MB"] = [_worker_memory(textmill)]
            runs[f"{size} bytes/document"] = [(_bytes(textmill) - before) / size]
            runs[f"{size} status ms"] = [_status(textmill)]
            print({name: round(values[0], 1) for name, values in runs.items()}, flush=True)

    def ratio(what: str) -> float:
        return round(runs[f"{sizes[-1]} {what}"][0] / runs[f"{sizes[0]} {what}"][0], 3)

    ratios = {what: ratio(what) for what in ("documents/s", "worker MB", "status ms")}
    target = {"documents/s": ">= 0.95", "worker MB": "<= 1.1", "status ms": "<= 2"}
    return Report("growth", ratios, target, runs, "as named")


def _bytes(textmill: Textmill) -> float:
    with textmill.engine.connect() as connection:
        return float(connection.scalar(sa.text("select pg_database_size(current_database())")) or 0)


def _worker_memory(textmill: Textmill) -> float:
    """Resident memory of the largest worker process."""
    with textmill.engine.connect() as connection:
        pids = connection.scalars(sa.text("select pid from textmill.worker")).all()
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return max(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _status(textmill: Textmill) -> float:
    """Milliseconds that a query of the status view takes, the best of 20."""
    times = []
    with textmill.engine.connect() as connection:
        for _ in range(20):
            began = time.perf_counter()
            connection.execute(sa.text("select * from textmill.job_status")).all()
            times.append((time.perf_counter() - began) * 1000)
    return min(times)
