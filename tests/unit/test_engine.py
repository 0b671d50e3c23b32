"""The thread that owns the device, with a model that misbehaves on cue."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch

from schema.documents import Lane, Task
from schema.errors import DocumentError
from schema.outcomes import ErrorCode
from worker.engine import Answer, Engine
from worker.pipeline.records import FloatArray, IntArray, Prediction

if TYPE_CHECKING:
    from worker.pipeline import Pipeline

POISON = 666
BUDGET = 64


class FakeModel:
    """Answers each window with its own first token; fails on cue; notes its micro-batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.fits = 10_000

    def predict(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """A prediction a window, unless one is poison or they do not fit."""
        self.batches.append([len(window) for window in windows])
        if sum(map(len, windows)) > self.fits:
            raise torch.OutOfMemoryError
        if any(POISON in window for window in windows):
            message = "poison"
            raise RuntimeError(message)
        return [np.array([window[0]], dtype=np.float32) for window in windows]


@pytest.fixture
def model() -> FakeModel:
    """A model that behaves until it is told otherwise."""
    return FakeModel()


def engine(model: FakeModel, linger: float = 0) -> Engine:
    pipeline = cast("Pipeline", model)
    pipelines = dict.fromkeys(Task, pipeline)
    return Engine(pipelines, token_budget=BUDGET, linger=linger)


def window(first: int, length: int = 4) -> IntArray:
    return np.full(length, first, dtype=np.int32)


def numbers(answers: Sequence[Answer]) -> list[int | ErrorCode]:
    return [
        answer.code if isinstance(answer, DocumentError) else int(cast("FloatArray", answer)[0])
        for answer in answers
    ]


def test_answers_come_in_the_order_of_the_windows(model: FakeModel) -> None:
    """Without it, documents get each other's results."""
    windows = [window(n, length=1 + n * 7 % 30) for n in range(50)]

    with engine(model) as running:
        answers = running.predict(Task.SENTIMENT, Lane.BULK, windows)

    assert numbers(answers) == list(range(50))


def test_micro_batches_keep_the_token_budget(model: FakeModel) -> None:
    """Without it, a batch of long documents runs out of memory."""
    windows = [window(n, length=1 + n * 7 % 30) for n in range(50)]

    with engine(model) as running:
        running.predict(Task.SENTIMENT, Lane.BULK, windows)

    assert all(max(batch) * len(batch) <= BUDGET for batch in model.batches)


def test_chunks_share_micro_batches(model: FakeModel) -> None:
    """Without it, a thousand small jobs run one document at a time."""
    chunks = BUDGET // 4

    with engine(model, linger=60) as running, ThreadPoolExecutor(chunks) as pool:
        answers = pool.map(
            lambda n: running.predict(Task.SENTIMENT, Lane.BULK, [window(n)]), range(chunks)
        )

        assert [numbers(answer) for answer in answers] == [[n] for n in range(chunks)]
    assert model.batches == [[4] * chunks]


def test_poison_fails_alone(model: FakeModel) -> None:
    """Without it, one bad document sinks its micro-batch."""
    windows = [window(n) for n in (1, 2, POISON, 4, 5)]

    with engine(model) as running:
        answers = running.predict(Task.SENTIMENT, Lane.BULK, windows)

    assert numbers(answers) == [1, 2, ErrorCode.STAGE_ERROR, 4, 5]


def test_batch_that_does_not_fit_is_halved(model: FakeModel) -> None:
    """Without it, a small device fails documents that would fit one by one."""
    model.fits = 10
    windows = [window(n, length=8) for n in range(6)] + [window(7, length=12)]

    with engine(model) as running:
        answers = running.predict(Task.SENTIMENT, Lane.BULK, windows)

    assert numbers(answers) == [0, 1, 2, 3, 4, 5, ErrorCode.TOO_LARGE_FOR_DEVICE]
