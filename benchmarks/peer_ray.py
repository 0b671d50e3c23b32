"""Ray Data: `python -m benchmarks.peer_ray JOB DOCUMENTS PROCESSES` prints documents per second.

Only documents that are done after every actor has loaded its model are counted.
"""

import logging
import sys
import time
from typing import Any

import ray

from benchmarks.documents import make
from benchmarks.peer import process


class Analyse:
    """An actor that keeps the model loaded."""

    def __init__(self, job: str) -> None:
        self.job = job
        process(job, [], [])
        self.ready = time.time()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Analyse a batch and commit its rows."""
        process(self.job, batch["seq"].tolist(), batch["text"].tolist())
        rows = len(batch["seq"])
        return {"ready": [self.ready] * rows, "done": [time.time()] * rows}


def main() -> None:
    """Run and print the speed."""
    job, count, processes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rows = [{"seq": seq, "text": text} for seq, text in enumerate(make(count))]
    ray.init(num_cpus=processes, logging_level=logging.ERROR, include_dashboard=False)
    data = ray.data.from_items(rows, override_num_blocks=processes * 8)
    timed = data.map_batches(
        Analyse,
        fn_constructor_args=(job,),
        batch_size=512,
        compute=ray.data.ActorPoolStrategy(size=processes),
    ).take_all()
    ready, end = max(row["ready"] for row in timed), max(row["done"] for row in timed)
    done = sum(row["done"] > ready for row in timed)
    if not done:
        sys.exit("everything was done before the last actor was ready; take more documents")
    print(done / (end - ready))


if __name__ == "__main__":
    main()
