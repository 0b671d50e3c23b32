"""How much faster several worker processes are than one, and how much several bare loops are."""

from functools import partial

from benchmarks.documents import make
from benchmarks.loop import in_process
from benchmarks.report import Report, alternately, median_ratio
from benchmarks.system import cores, system, through

DOCUMENTS = 40_000


def measure(documents: int | None) -> Report:
    """The same job on 1, 2, 4 … processes, up to the number of cores, each on its own stack.

    The bare loops show what the machine allows: cores share memory, and often more.
    """
    texts = make(documents or DOCUMENTS)
    counts = [count for count in (1, 2, 4, 8, 16, 32) if count <= cores()]

    def run(processes: int) -> float:
        with system(processes) as (_, textmill):
            return through(textmill, texts)

    through_textmill = {f"{count} processes": partial(run, count) for count in counts}
    bare = {f"{count} bare loops": partial(in_process, texts, count) for count in counts}
    runs = alternately(through_textmill | bare)
    ratios = {
        f"{count} by 1": median_ratio(runs[f"{count} processes"], runs["1 processes"])
        for count in counts[1:]
    } | {
        f"bare loop, {count} by 1": median_ratio(runs[f"{count} bare loops"], runs["1 bare loops"])
        for count in counts[1:]
    }
    target = {"2 by 1": ">= 1.9"} if ratios else {}
    return Report("scale", ratios, target, runs, "documents/s")
