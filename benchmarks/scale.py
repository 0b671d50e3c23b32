"""How much faster two worker processes are than one."""

import os
from functools import partial

from benchmarks.documents import make
from benchmarks.report import Report, alternately, median_ratio
from benchmarks.system import system, through

DOCUMENTS = 40_000


def measure(documents: int | None) -> Report:
    """The same job on 1, 2, 4 … processes, up to the number of cores, each on its own stack."""
    texts = make(documents or DOCUMENTS)
    cores = len(os.sched_getaffinity(0))
    counts = [count for count in (1, 2, 4, 8, 16, 32) if count <= cores]

    def run(processes: int) -> float:
        with system(processes) as (_, textmill):
            return through(textmill, texts)

    runs = alternately({f"{count} processes": partial(run, count) for count in counts})
    ratios = {
        f"{count} by 1": median_ratio(runs[f"{count} processes"], runs["1 processes"])
        for count in counts[1:]
    }
    target = {"2 by 1": ">= 1.9"} if ratios else {}
    return Report("scale", ratios, target, runs, "documents/s")
