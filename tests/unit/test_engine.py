"""The thread that owns the device, with a model that misbehaves on cue."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch

from schema.documents import Lane, Task
from schema.errors import DeviceFullError, DocumentError
from schema.outcomes import ErrorCode
from tests.fixtures.engines import engine_of
from tests.fixtures.waiting import PATIENCE, until
from worker.core import Core
from worker.engine import DeviceLostError, Engine
from worker.meter import Meter
from worker.pipeline import faults
from worker.pipeline.generator import MOST_AT_ONCE
from worker.pipeline.records import Answer, FloatArray, IntArray, Prediction
from worker.schedule import AbandonedError, Schedule
from worker.token_budgets import SMALLEST

if TYPE_CHECKING:
    from worker.pipeline import Pipeline

POISON = 666
FATAL = 667
BUDGET = 64
TINY = 4


class FakeModel:
    """Answers each window with its own first token; fails on cue; notes its micro-batches."""

    task = Task.SENTIMENT
    pads = True

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.fits = 10_000
        self.too_large: set[int] = set()
        self.calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.gate = threading.Semaphore(1_000_000)

    def predict(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """A prediction a window, unless one is poison or they do not fit."""
        self.batches.append([int(window[0]) for window in windows])
        self.calls.put(None)
        self.gate.acquire()
        if max(map(len, windows)) * len(windows) > self.fits:
            raise torch.OutOfMemoryError
        if self.too_large.intersection(int(window[0]) for window in windows if len(window) > TINY):
            raise torch.OutOfMemoryError
        if any(window[0] == POISON for window in windows):
            message = "poison"
            raise RuntimeError(message)
        if any(window[0] == FATAL for window in windows):
            message = "CUDA error: device-side assert triggered"
            raise torch.AcceleratorError(message)
        return [np.array([window[0]], dtype=np.float32) for window in windows]

    def generate(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """Like `predict`, negated."""
        return [-cast("FloatArray", prediction) for prediction in self.predict(windows)]


@pytest.fixture
def model() -> FakeModel:
    """A model that behaves until it is told otherwise."""
    return FakeModel()


def engine(
    *models: FakeModel, linger: float = 0, budget: int = BUDGET, **options: object
) -> Engine:
    budgets = {as_pipeline(model): budget for model in models}
    return engine_of(budgets, linger=linger, **options)  # type: ignore[arg-type]


def as_pipeline(model: FakeModel) -> "Pipeline":
    return cast("Pipeline", model)


def predict(
    running: Engine,
    model: FakeModel,
    windows: Sequence[IntArray],
    lane: Lane = Lane.BULK,
    *,
    abandoned: threading.Event | None = None,
    generates: bool = False,
) -> list[Answer]:
    abandoned = abandoned or threading.Event()
    return running.predict(as_pipeline(model), lane, windows, abandoned, generates=generates)


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
        answers = predict(running, model, windows)

    assert numbers(answers) == list(range(50))


def test_no_windows_give_no_answers(model: FakeModel) -> None:
    """Without it a chunk without analysable documents would fail as a whole, or wait for ever."""
    with engine(model) as running:
        assert predict(running, model, []) == []

    assert not model.batches


def test_micro_batches_keep_the_token_budget(model: FakeModel) -> None:
    """Without it, a batch of long documents runs out of memory."""
    windows = [window(n, length=1 + n * 7 % 30) for n in range(50)]

    with engine(model) as running:
        predict(running, model, windows)

    lengths = [[1 + n * 7 % 30 for n in batch] for batch in model.batches]
    assert all(max(batch) * len(batch) <= BUDGET for batch in lengths)


def test_chunks_share_micro_batches(model: FakeModel) -> None:
    """Without it, a thousand small jobs run one document at a time."""
    chunks = BUDGET // 4

    with engine(model, linger=60) as running, ThreadPoolExecutor(chunks) as pool:
        answers = pool.map(lambda n: predict(running, model, [window(n)]), range(chunks))

        assert [numbers(answer) for answer in answers] == [[n] for n in range(chunks)]
    assert [sorted(batch) for batch in model.batches] == [list(range(chunks))]


def test_poison_fails_alone(model: FakeModel) -> None:
    """Without it, one bad document sinks its micro-batch."""
    windows = [window(n) for n in (1, 2, POISON, 4, 5)]

    with engine(model) as running:
        answers = predict(running, model, windows)

    assert numbers(answers) == [1, 2, ErrorCode.STAGE_ERROR, 4, 5]


def test_batch_that_does_not_fit_is_halved(model: FakeModel) -> None:
    """Without it, a small device fails documents that would fit one by one."""
    model.fits = 10
    windows = [window(n, length=8) for n in range(6)] + [window(7, length=12)]

    with engine(model) as running:
        answers = predict(running, model, windows)

    assert numbers(answers) == [0, 1, 2, 3, 4, 5, ErrorCode.TOO_LARGE_FOR_DEVICE]


@pytest.mark.parametrize(
    ("fits", "ceiling", "rows"),
    [(2 * SMALLEST + 1, 2 * SMALLEST, 8), (SMALLEST // 4, SMALLEST, 4)],
    ids=["above", "below"],
)
def test_memory_ceiling_is_remembered(model: FakeModel, fits: int, ceiling: int, rows: int) -> None:
    """Without it every micro-batch runs out of memory again, or all stay tiny once it is there."""
    model.fits = fits
    ceilings: list[int] = []
    windows = [window(n, length=SMALLEST // 4) for n in range(16)]

    with engine(
        model, budget=4 * SMALLEST, on_ceiling=lambda _, budget: ceilings.append(budget)
    ) as running:
        predict(running, model, windows)
        model.fits = max(fits, ceiling)
        model.batches.clear()
        predict(running, model, windows)

    assert ceilings == [ceiling]
    assert {len(batch) for batch in model.batches} == {rows}


def test_one_window_that_does_not_fit_lowers_no_budget(model: FakeModel) -> None:
    """Without it one document would leave micro-batches of single windows for ever."""
    model.too_large.add(5)
    ceilings: list[int] = []
    windows = [window(n, length=8) for n in range(8)]

    with engine(model, on_ceiling=lambda _, budget: ceilings.append(budget)) as running:
        answers = predict(running, model, windows)
        model.batches.clear()
        predict(running, model, windows[:5])

    assert numbers(answers) == [0, 1, 2, 3, 4, ErrorCode.TOO_LARGE_FOR_DEVICE, 6, 7]
    assert ceilings == []
    assert [len(batch) for batch in model.batches] == [5]


def test_device_without_memory_blames_no_document(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a job fails as a whole while another program fills the device."""
    monkeypatch.setattr("worker.engine.FULL_PAUSE", 0)
    model.fits = 0
    ceilings: list[int] = []
    windows = [window(n, length=8) for n in range(8)]

    with engine(model, on_ceiling=lambda _, budget: ceilings.append(budget)) as running:
        with pytest.raises(DeviceFullError, match="no memory left"):
            predict(running, model, windows)
        with pytest.raises(DeviceFullError):
            predict(running, model, [window(1, length=1)])
        model.fits = 10_000
        answers = predict(running, model, windows)

    assert numbers(answers) == list(range(8))
    assert ceilings == []


def test_device_lost_while_it_is_asked_for_memory_ends_the_process(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a broken device is taken for one that merely finds a document too large."""
    lost: list[Exception] = []
    whole = np.array([FATAL, *[1] * 7], dtype=np.int32)

    def predict_whole(windows: Sequence[IntArray]) -> list[Prediction]:
        if len(windows[0]) > TINY:
            raise torch.OutOfMemoryError
        return FakeModel.predict(model, windows)

    monkeypatch.setattr(model, "predict", predict_whole)
    with engine(model, on_lost=lost.append) as running, pytest.raises(DeviceLostError):
        predict(running, model, [whole])

    assert len(lost) == 1


def test_abandoned_rest_of_a_batch_that_does_not_fit_lowers_no_budget(model: FakeModel) -> None:
    """Without it a cancelled job leaves micro-batches as small as the one that came next, for ever.

    The budget is kept in a file, so a restart does not help.
    """
    model.fits = 4 * SMALLEST
    model.gate = threading.Semaphore(0)
    abandoned = threading.Event()
    ceilings: list[int] = []
    windows = [window(n, length=SMALLEST) for n in range(8)]

    with (
        engine(
            model, budget=8 * SMALLEST, on_ceiling=lambda _, budget: ceilings.append(budget)
        ) as running,
        ThreadPoolExecutor(1) as pool,
    ):
        cancelled = pool.submit(predict, running, model, windows, abandoned=abandoned)
        model.calls.get(timeout=PATIENCE)
        abandoned.set()
        model.gate.release(1_000)
        with pytest.raises(AbandonedError):
            cancelled.result(PATIENCE)
        predict(running, model, [window(1)])
        assert ceilings == []
        predict(running, model, windows)

    assert ceilings == [4 * SMALLEST]


def test_lost_device_is_told_to_everyone(model: FakeModel) -> None:
    """Without it a process with a dead GPU fails every document that it is given."""
    lost: list[Exception] = []
    windows = [window(n) for n in (1, FATAL, 3)]

    with engine(model, on_lost=lost.append) as running, pytest.raises(DeviceLostError):
        predict(running, model, windows)

    assert "device-side assert" in str(lost[0])
    assert len(model.batches) == 1


def test_a_fault_of_the_engine_itself_ends_the_wait(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it chunks wait in vain until they count as stuck, and as the cause of a crash."""
    lost: list[Exception] = []

    def broken(_: Schedule, *, bulk: bool) -> None:
        message = f"a model that is gone, bulk {bulk}"
        raise KeyError(message)

    with engine(model, on_lost=lost.append) as running:
        monkeypatch.setattr(Schedule, "next", broken)
        with pytest.raises(DeviceLostError, match="a model that is gone"):
            predict(running, model, [window(1)])

    assert lost


def test_a_window_that_fails_is_logged_with_the_place_of_the_fault(
    model: FakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it nobody who gets the report finds the line that failed."""
    faults._log_once.cache_clear()  # noqa: SLF001  # other tests let the same line fail
    with engine(model) as running:
        predict(running, model, [window(POISON)])

    assert "in predict\n    raise RuntimeError(message)" in caplog.text


def test_interactive_windows_go_next(model: FakeModel) -> None:
    """Without it a person waits for everything that was handed over before."""
    model.gate = threading.Semaphore(0)
    backlog = [window(n, length=16) for n in range(40)]

    with engine(model) as running, ThreadPoolExecutor(2) as pool:
        bulk = pool.submit(predict, running, model, backlog)
        model.calls.get()  # the first micro-batch of the backlog is being run
        urgent = pool.submit(predict, running, model, [window(99)], Lane.INTERACTIVE)
        until(lambda: running.waiting() == 37)
        model.gate.release(1_000)
        assert numbers(urgent.result()) == [99]
        assert len(numbers(bulk.result())) == 40

    assert model.batches[1] == [99]


def test_bulk_windows_wait_while_a_chunk_thread_computes(model: FakeModel) -> None:
    """Without it, both share the core and its caches; or a bulk window waits for ever."""
    core = Core(is_device=True)

    with engine(model, core=core) as running, ThreadPoolExecutor(1) as pool:
        with core.held(Lane.BULK):
            bulk = pool.submit(predict, running, model, [window(1)])
            until(lambda: running.waiting() == 1)
            urgent = predict(running, model, [window(99)], Lane.INTERACTIVE)
            assert numbers(urgent) == [99]
        assert numbers(bulk.result(PATIENCE)) == [1]

    assert model.batches == [[99], [1]]


def test_abandoned_request_ends_at_the_next_micro_batch(model: FakeModel) -> None:
    """Without it a cancelled job keeps the device until its chunks are through."""
    model.gate = threading.Semaphore(0)
    abandoned = threading.Event()
    windows = [window(n, length=BUDGET) for n in range(10)]

    with engine(model) as running, ThreadPoolExecutor(1) as pool:
        future = pool.submit(predict, running, model, windows, abandoned=abandoned)
        model.calls.get()
        abandoned.set()
        model.gate.release(1_000)
        with pytest.raises(AbandonedError):
            future.result()

    assert len(model.batches) == 1


def test_micro_batches_never_mix_models(model: FakeModel) -> None:
    """Without it a result names a model version that did not make it."""
    model.gate = threading.Semaphore(0)
    other = FakeModel()

    with engine(model, other) as running, ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(predict, running, model, [window(1)])]
        model.calls.get()
        futures += [
            pool.submit(predict, running, which, [window(number)])
            for which, number in ((model, 2), (other, 3))
        ]
        until(lambda: running.waiting() == 2)
        model.gate.release(1_000)
        for future in futures:
            future.result()

    assert model.batches == [[1], [2]]
    assert other.batches == [[3]]


def test_generating_has_micro_batches_of_its_own(model: FakeModel) -> None:
    """Without it a document's tokens would be taken for phrases, or a long beam hold the device."""
    windows = [window(number, MOST_AT_ONCE // 4) for number in range(1, 7)]
    model.gate = threading.Semaphore(0)

    with engine(model, budget=10 * MOST_AT_ONCE) as device, ThreadPoolExecutor() as pool:
        first = pool.submit(predict, device, model, [window(9)])
        model.calls.get(timeout=PATIENCE)
        found = pool.submit(predict, device, model, windows)
        made = pool.submit(predict, device, model, windows, generates=True)
        until(lambda: device.waiting() == 12)
        model.gate.release(1_000)

        assert numbers(first.result(PATIENCE)) == [9]
        assert numbers(found.result(PATIENCE)) == [1, 2, 3, 4, 5, 6]
        assert numbers(made.result(PATIENCE)) == [-1, -2, -3, -4, -5, -6]
    assert sorted(map(len, model.batches)) == [1, 2, 4, 6]


def test_abandoned_generation_ends_at_the_next_micro_batch(model: FakeModel) -> None:
    """Without it a cancelled job keeps the device for all that it wanted generated."""
    abandoned = threading.Event()
    windows = [window(number, MOST_AT_ONCE) for number in range(1, 7)]
    model.gate = threading.Semaphore(0)

    with engine(model, budget=MOST_AT_ONCE) as device, ThreadPoolExecutor() as pool:
        asked = pool.submit(predict, device, model, windows, abandoned=abandoned, generates=True)
        model.calls.get(timeout=PATIENCE)
        abandoned.set()
        model.gate.release(1_000)

        with pytest.raises(AbandonedError):
            asked.result(PATIENCE)
    assert len(model.batches) == 1


def test_padding_stays_small_on_mixed_lengths(model: FakeModel) -> None:
    """Without it the device computes what nobody reads."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3, 0.8, 768).astype(int), 1, 256)
    meter = Meter()

    with engine(model, budget=4096, meter=meter) as running:
        predict(running, model, [window(n % 600, int(size)) for n, size in enumerate(lengths)])

    counts = meter.read()
    assert counts.tokens == lengths.sum()
    assert 1 - counts.tokens / counts.padded <= 0.05
    assert counts.tokens / counts.batches > 4096 / 8
