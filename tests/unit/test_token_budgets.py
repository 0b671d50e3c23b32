"""How large micro-batches are, and what is remembered of it."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch

from schema.documents import Task
from worker.pipeline.records import IntArray, Prediction
from worker.token_budgets import FILE, SMALLEST, TokenBudgets, best, measure

if TYPE_CHECKING:
    from worker.pipeline import Pipeline


class FakePipeline:
    """Has room for so many tokens; counts its forward passes."""

    task = Task.SENTIMENT
    model_version = "v1"
    vocabulary = 10

    def __init__(self, room: int, fault: Exception | None = None) -> None:
        self.room = room
        self.fault = fault or torch.OutOfMemoryError()
        self.passes = 0

    def predict(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """Count, and fail where there is no room."""
        self.passes += 1
        if sum(map(len, windows)) > self.room:
            raise self.fault
        return []


def test_smallest_of_the_fast_ones_is_taken() -> None:
    """Without it interactive documents wait behind needlessly large micro-batches."""
    assert best({512: 100.0, 1024: 190.0, 2048: 200.0, 4096: 199.0}) == 1024


@pytest.mark.parametrize(
    "fault",
    [torch.OutOfMemoryError(), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")],
)
def test_budget_fits_the_device(fault: Exception) -> None:
    """Without it the first micro-batches of a small device run out of memory, or no start ends."""
    pipeline = cast("Pipeline", FakePipeline(SMALLEST * 2, fault))

    assert measure(pipeline, time.thread_time) <= SMALLEST * 2


def test_a_model_that_fails_otherwise_has_no_budget() -> None:
    """Without it a broken model starts, and then fails every document."""
    pipeline = cast("Pipeline", FakePipeline(0, RuntimeError("shapes do not match")))

    with pytest.raises(RuntimeError, match="shapes do not match"):
        measure(pipeline, time.thread_time)


def test_budget_is_measured_once_for_a_device_and_an_artifact(tmp_path: Path) -> None:
    """Without it every start takes longer, and processes of one host differ."""
    one, other = FakePipeline(SMALLEST), FakePipeline(SMALLEST)
    found = TokenBudgets(tmp_path, "cpu").budget(cast("Pipeline", one))

    assert TokenBudgets(tmp_path, "cpu").budget(cast("Pipeline", other)) == found
    assert other.passes == 0


def test_lowered_budget_is_remembered(tmp_path: Path) -> None:
    """Without it the device runs out of memory again after every start."""
    pipeline = cast("Pipeline", FakePipeline(1 << 30))
    TokenBudgets(tmp_path, "cpu").budget(pipeline)

    TokenBudgets(tmp_path, "cpu").remember(pipeline, SMALLEST + 1)

    assert TokenBudgets(tmp_path, "cpu").budget(pipeline) == SMALLEST + 1


def test_passing_lack_of_memory_does_not_slow_down_later_starts(tmp_path: Path) -> None:
    """Without it one bad moment leaves micro-batches of a few tokens for ever."""
    pipeline = cast("Pipeline", FakePipeline(1 << 30))

    TokenBudgets(tmp_path, "cpu").remember(pipeline, 9)

    assert TokenBudgets(tmp_path, "cpu").budget(pipeline) >= SMALLEST


def test_budget_of_nine_tokens_in_the_file_is_measured_anew(tmp_path: Path) -> None:
    """Without it a file from such a moment is believed."""
    pipeline = FakePipeline(1 << 30)
    TokenBudgets(tmp_path, "cpu").budget(cast("Pipeline", pipeline))
    file = tmp_path / FILE
    file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), 9)))

    assert TokenBudgets(tmp_path, "cpu").budget(cast("Pipeline", pipeline)) >= SMALLEST


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_broken_file_is_measured_anew(tmp_path: Path, content: str) -> None:
    """Without it a full disk stops every later start."""
    (tmp_path / FILE).write_text(content)

    assert TokenBudgets(tmp_path, "cpu").budget(cast("Pipeline", FakePipeline(SMALLEST)))


def test_folder_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    """Without it a worker on a read-only file system does not start."""
    blocked = tmp_path / "file"
    blocked.write_text("")

    assert TokenBudgets(blocked / os.curdir / "below", "cpu").budget(
        cast("Pipeline", FakePipeline(SMALLEST))
    )
