"""Guarantees on a real GPU; skipped if torch sees none."""

import time

import numpy as np
import pytest
import torch

from schema.documents import Task
from worker.pipeline import Pipeline
from worker.pipeline.artifact import SHIPPED
from worker.pipeline.predict import SCORE_TOLERANCE, distance
from worker.pipeline.records import IntArray
from worker.token_budgets import SMALLEST, measure

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
]


def windows(pipeline: Pipeline) -> list[IntArray]:
    rng = np.random.default_rng(7)
    lengths = rng.integers(1, 257, 100)
    return [rng.integers(1, pipeline.vocabulary, length).astype(np.int32) for length in lengths]


@pytest.mark.parametrize("task", list(Task))
def test_gpu_says_what_the_cpu_says(task: Task) -> None:
    """Without it moving to a GPU changes what is flagged."""
    gpu, cpu = (Pipeline.load(SHIPPED / task, device) for device in ("cuda:0", "cpu"))

    assert distance(gpu.predict(windows(gpu)), cpu.predict(windows(cpu))) < 2 * SCORE_TOLERANCE


@pytest.mark.parametrize("task", list(Task))
def test_score_does_not_depend_on_batch_mates_on_a_gpu(task: Task) -> None:
    """Without it the same document gets another result in another job."""
    pipeline = Pipeline.load(SHIPPED / task, "cuda:0")
    together = pipeline.predict(windows(pipeline))

    alone = [pipeline.predict([window])[0] for window in windows(pipeline)]

    assert distance(together, alone) < SCORE_TOLERANCE


def test_budget_of_a_gpu_is_measured() -> None:
    """Without it a GPU would run micro-batches of a guessed size."""
    assert measure(Pipeline.load(SHIPPED / Task.SENTIMENT, "cuda:0"), time.perf_counter) >= SMALLEST
