"""Ray Data: `python -m benchmarks.peer_ray JOB DOCUMENTS PROCESSES` prints documents a second."""

import logging
import sys
import time
from typing import Any

import ray

from benchmarks.documents import make
from benchmarks.peer import process


class Analyse:
    """An actor that keeps the model."""

    def __init__(self, job: str) -> None:
        self.job = job
        process(job, [], [])

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Analyse a batch and commit its rows."""
        process(self.job, batch["seq"].tolist(), batch["text"].tolist())
        return {"seq": batch["seq"]}


def main() -> None:
    """Run once to warm up, then time."""
    job, count, processes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rows = [{"seq": seq, "text": text} for seq, text in enumerate(make(count))]
    ray.init(num_cpus=processes, logging_level=logging.ERROR, include_dashboard=False)
    data = ray.data.from_items(rows, override_num_blocks=processes * 8)
    began = time.monotonic()
    data.map_batches(
        Analyse,
        fn_constructor_args=(job,),
        batch_size=512,
        compute=ray.data.ActorPoolStrategy(size=processes),
    ).materialize()
    print(count / (time.monotonic() - began))


if __name__ == "__main__":
    main()
