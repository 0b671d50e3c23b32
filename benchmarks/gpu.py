"""How much of a GPU's in-process limit the whole system reaches."""

import tempfile
import time
from pathlib import Path

import torch

from benchmarks import TASK
from benchmarks.documents import make
from benchmarks.report import Report, alternately, median_ratio
from benchmarks.system import system, through
from schema.errors import UsageError
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from worker.pipeline.artifact import SHIPPED
from worker.token_budgets import TokenBudgets

DOCUMENTS = 400_000
ROWS_AT_ONCE = 8192


def measure(documents: int | None) -> Report:
    """The same model and documents in a bare loop on one GPU, and through a stack that uses it."""
    if not torch.cuda.is_available():
        message = "torch sees no GPU here; run it where nvidia-smi lists one"
        raise UsageError(message)
    texts = make(documents or DOCUMENTS)
    pipeline = Pipeline.load(SHIPPED / TASK, "cuda:0")
    with tempfile.TemporaryDirectory() as cache:
        budget = TokenBudgets(Path(cache), "cuda:0").budget(pipeline)

    def bare() -> float:
        began = time.monotonic()
        for first in range(0, len(texts), ROWS_AT_ONCE):
            analyse(pipeline, texts[first : first + ROWS_AT_ONCE], budget)
        return len(texts) / (time.monotonic() - began)

    with system(1) as (_, textmill):
        runs = alternately(
            {"in process": bare, "through Textmill": lambda: through(textmill, texts)}
        )
    ratio = median_ratio(runs["through Textmill"], runs["in process"])
    return Report("gpu", {"gpu": ratio}, {"gpu": ">= 0.85"}, runs, "documents/s")
