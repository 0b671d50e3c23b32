"""`textmill-worker`, wrapped so that planted documents break it.

    python -m tests.faults.planted run --devices cpu

The supervisor is the real one, but starts this module in place of `worker.process`, which this
module wraps: a document is a plant if the first word of its text is a value of `Plant`. None of
this is in the product. Environment variables control the rest:

PLANTED_GATE      while this file exists, the device waits, so chunks stay in state running.
PLANTED_DELAY     seconds added to the time of every micro-batch.
PLANTED_SILENT    seconds without a beat after which the supervisor takes a process for hung.
PLANTED_MEMORY    largest padded size that fits the device; more raises CUDA's out-of-memory error.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from worker.pipeline.records import IntArray

MODULE = "tests.faults.planted"
HELD = 0.02
"""Seconds between checks of the gate."""


class Plant(StrEnum):
    """What a document does to the worker."""

    PREPROCESS = "plant-preprocess"
    TOKENIZE = "plant-tokenize"
    PREDICT = "plant-predict"
    POSTPROCESS = "plant-postprocess"
    MEMORY_ERROR = "plant-memoryerror"
    SEGFAULT = "plant-segfault"
    KILLED = "plant-killed"
    DEVICE_MEMORY = "plant-devicememory"
    DEVICE_FATAL = "plant-devicefatal"
    DIE_AFTER_COMMIT = "plant-aftercommit"


class PlantedError(RuntimeError):
    """The error of a careless library, with the whole text in its message."""


def main() -> None:
    """Run as the supervisor, or as one of its processes."""
    if "faketime" in os.environ.get("LD_PRELOAD", ""):
        # Python sleeps until a time of the monotonic clock, which libfaketime mistakes for a time
        # of the clock that it fakes, so that the call fails.
        _replace(time, "sleep", lambda seconds: select.select([], [], [], seconds))
    if "--name" in sys.argv:
        _process()
    else:
        _supervisor()


def _supervisor() -> None:
    from worker.cli import main as textmill_worker  # noqa: PLC0415

    spawn = subprocess.Popen

    def planted(arguments: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":  # noqa: ANN401
        # Without -P, since the tests are found by way of the working directory.
        changed = [
            MODULE if part == "worker.process" else part for part in arguments if part != "-P"
        ]
        return spawn(changed, **options)

    silent = float(os.environ.get("PLANTED_SILENT", "120"))
    with (
        mock.patch("worker.supervisor.subprocess.Popen", planted),
        mock.patch("worker.pulse.SILENT", silent),
    ):
        textmill_worker(prog_name="textmill-worker")


def _process() -> None:
    import worker.process  # noqa: PLC0415  # here, because the supervisor never imports torch

    _plant_stages()
    _Device().plant()
    _plant_store()
    worker.process.main()


def _plant_stages() -> None:
    from worker import pipeline  # noqa: PLC0415
    from worker.pipeline.tokenize import Tokenizer  # noqa: PLC0415

    _before(pipeline, "preprocess", lambda text, *_: _spring(Plant.PREPROCESS, text))
    _before(Tokenizer, "tokenize", lambda _, clean, *__: _spring(Plant.TOKENIZE, clean.text))
    _before(pipeline.Pipeline, "_result", lambda _, text, *__: _spring(Plant.POSTPROCESS, text))


def _spring(stage: Plant, text: str) -> None:
    """Do what the plant in `text` does in `stage`; those that kill do so in preprocessing."""
    plant = _plant(text)
    if plant is stage:
        raise PlantedError(text)
    if stage is not Plant.PREPROCESS:
        return
    if plant is Plant.MEMORY_ERROR:
        raise MemoryError(text)
    if plant is Plant.SEGFAULT:
        ctypes.string_at(0)
    if plant is Plant.KILLED:  # what the kernel does when memory runs out
        os.kill(os.getpid(), signal.SIGKILL)


class _Device:
    """A device in front of the model that is slow, small or broken on demand."""

    def __init__(self) -> None:
        self._gate = Path(os.environ.get("PLANTED_GATE", "/nonexistent"))
        self._delay = float(os.environ.get("PLANTED_DELAY", "0"))
        self._memory = int(os.environ.get("PLANTED_MEMORY", "1000000000"))
        self._planted: dict[bytes, tuple[Plant, str]] = {}
        self._broken = False

    def plant(self) -> None:
        from worker.pipeline import Pipeline  # noqa: PLC0415

        prepare = Pipeline.prepare

        def planted_prepare(pipeline: Pipeline, text: str, **more: Any) -> Any:  # noqa: ANN401
            document = prepare(pipeline, text, **more)
            if plant := _plant(text):
                windows = document.window_ids()
                self._planted.update((ids.tobytes(), (plant, text)) for ids in windows)
            return document

        _replace(Pipeline, "prepare", planted_prepare)
        _before(Pipeline, "predict", lambda _, windows: self._take(windows))

    def _take(self, windows: "Sequence[IntArray]") -> None:
        """Hold, delay or fail a micro-batch before the model sees it."""
        while self._gate.exists():
            time.sleep(HELD)
        time.sleep(self._delay)
        plants = [self._planted[ids.tobytes()] for ids in windows if ids.tobytes() in self._planted]
        kinds = {plant for plant, _ in plants}
        padded = max(map(len, windows)) * len(windows)
        # As with CUDA, every later call in this process fails, too.
        self._broken = self._broken or Plant.DEVICE_FATAL in kinds
        if self._broken:
            message = "CUDA error: device-side assert triggered"
            raise _torch().AcceleratorError(message)
        if Plant.PREDICT in kinds:
            raise PlantedError(plants)
        if padded > self._memory or Plant.DEVICE_MEMORY in kinds:
            message = f"CUDA out of memory. Tried to allocate {padded} B"
            raise _torch().OutOfMemoryError(message)


def _plant_store() -> None:
    from worker.chunks import ChunkStore  # noqa: PLC0415

    load, store = ChunkStore.load, ChunkStore.store
    deadly: set[tuple[object, int]] = set()

    def planted_load(self: ChunkStore, claim: Any) -> Any:  # noqa: ANN401
        documents = load(self, claim)
        if any(_plant(str(document.text)) is Plant.DIE_AFTER_COMMIT for document in documents):
            deadly.add((claim.job_id, claim.chunk_no))
        return documents

    def planted_store(self: ChunkStore, claim: Any, *arguments: Any, **more: Any) -> None:  # noqa: ANN401
        store(self, claim, *arguments, **more)
        if (claim.job_id, claim.chunk_no) in deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    _replace(ChunkStore, "load", planted_load)
    _replace(ChunkStore, "store", planted_store)


def _plant(text: str) -> Plant | None:
    word, *_ = text.split(maxsplit=1) or [""]
    return Plant(word) if word in set(Plant) else None


def _torch() -> Any:  # noqa: ANN401
    return import_module("torch")


def _before(owner: object, name: str, act: Callable[..., None]) -> None:
    """Make a function call `act` with its positional arguments first."""
    function = getattr(owner, name)

    def both(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401
        act(*arguments)
        return function(*arguments, **more)

    _replace(owner, name, both)


def _replace(owner: object, name: str, function: Callable[..., object]) -> None:
    setattr(owner, name, function)


if __name__ == "__main__":
    main()
