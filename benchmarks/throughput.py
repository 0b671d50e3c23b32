"""How much of the in-process limit the whole system reaches, on all cores."""

from benchmarks.documents import make
from benchmarks.loop import in_process
from benchmarks.report import Report, alternately, median_ratio
from benchmarks.system import cores, system, through

DOCUMENTS = 500_000
REPEATS = 6


def measure(documents: int | None) -> Report:
    """Both sides process the same documents with one process per core, in turn.

    A run before them does not count: a machine that was idle is faster for its first minute.
    """
    texts = make(documents or DOCUMENTS)
    processes = cores()
    print(f"before the turns: {in_process(texts, processes):,.4g}", flush=True)
    with system(processes) as (_, textmill):
        runs = alternately(
            {
                "in process": lambda: in_process(texts, processes),
                "through Textmill": lambda: through(textmill, texts),
            },
            REPEATS,
        )
    ratio = median_ratio(runs["through Textmill"], runs["in process"])
    return Report(
        "throughput", {"throughput": ratio}, {"throughput": ">= 0.9"}, runs, "documents/s"
    )
