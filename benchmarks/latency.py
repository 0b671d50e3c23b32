"""How long one interactive document takes, idle and beside a bulk job that fills every worker."""

import statistics
import time
from collections.abc import Callable

from benchmarks import TASK
from benchmarks.documents import make
from benchmarks.report import Report, alternately
from benchmarks.system import cores, system
from producer import Document, JobOptions, Lane, Textmill
from schema.errors import UsageError

SAMPLES = 60
FEWEST = 20
BULK = 60_000


def measure(documents: int | None) -> Report:
    """Milliseconds from submit to a finished job, as a program sees them."""
    texts = make(documents or BULK)
    with system(cores()) as (_, textmill):
        idle: list[float] = []
        loaded: list[float] = []

        def idle_p95() -> float:
            idle.extend(_samples(textmill))
            return _percentile(idle, 95)

        def loaded_p95() -> float:
            job = textmill.submit(TASK, [Document(text=text) for text in texts])
            while textmill.status(job.job_id).succeeded == 0:
                time.sleep(0.05)
            taken = _samples(textmill, lambda: not textmill.status(job.job_id).finished)
            textmill.cancel(job.job_id)
            textmill.wait(job.job_id)
            if len(taken) < FEWEST:
                message = f"the bulk job ended after {len(taken)} samples; take more documents"
                raise UsageError(message)
            loaded.extend(taken)
            return _percentile(loaded, 95)

        runs = alternately({"idle p95": idle_p95, "loaded p95": loaded_p95})
    ratio = _percentile(loaded, 95) / _percentile(idle, 95)
    return Report(
        "latency",
        {"loaded by idle": round(ratio, 2)},
        {"loaded by idle": "<= 5", "idle p50": "<= 50"},
        runs,
        "ms",
        figures={f"idle p{n}": round(_percentile(idle, n), 1) for n in (50, 99)},
    )


def _samples(textmill: Textmill, counts: Callable[[], bool] = lambda: True) -> list[float]:
    """Milliseconds of single documents, until `counts` returns False; that one is not included."""
    options = JobOptions(lane=Lane.INTERACTIVE)
    times: list[float] = []
    for number in range(SAMPLES):
        began = time.monotonic()
        job = textmill.submit(TASK, [Document(text=f"a lovely tea, number {number}")], options)
        while not textmill.status(job.job_id).finished:
            time.sleep(0.002)
        seconds = time.monotonic() - began
        if not counts():
            break
        times.append(seconds * 1000)
    return times


def _percentile(times: list[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]
