"""The models a process has loaded: the one that serves each task, and a few others."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from schema.documents import Task
from schema.errors import ArtifactError, NotLoadedError
from worker.artifact_folders import ArtifactFolders
from worker.engine import Engine
from worker.pipeline import Pipeline

logger = logging.getLogger(__name__)

IDLE_MODELS = 2
"""How many unused models stay loaded besides those that serve, so that a pinned job's next chunk or
a rollback need not wait for its model."""

TRY_AGAIN = 60
"""Seconds after which a model that could not be loaded is tried again."""


@dataclass(slots=True)
class _Loaded:
    pipeline: Pipeline
    users: int = 0


class Models:
    """Hands out models to chunks, and swaps the ones that serve.

    A chunk keeps the model it was given until it is done, so that its documents are consistent with
    each other, and a model stays loaded for as long as any chunk uses it.

    Args:
        defaults: the default model of each task that the process serves; known to the engine.
        folders: where other models are found.
        engine: runs the models.
        device: where their weights are loaded.
    """

    def __init__(
        self,
        defaults: Mapping[Task, Pipeline],
        folders: ArtifactFolders,
        engine: Engine,
        device: str,
    ) -> None:
        self._defaults = defaults
        self._folders = folders
        self._engine = engine
        self._device = device
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._loaded = {
            pipeline.model_version: _Loaded(pipeline, users=1) for pipeline in defaults.values()
        }  # least recently used first; each default has one user for ever
        self._serving = {task: pipeline.model_version for task, pipeline in defaults.items()}
        self._faults: dict[Task, str] = {}
        self._due: dict[str, float] = {}

    @property
    def serving(self) -> dict[Task, str]:
        """The model version that serves each task."""
        return dict(self._serving)

    @property
    def error(self) -> str | None:
        """Why a task is not served by the model promoted for it, or None."""
        return "; ".join(self._faults.values()) or None

    @contextmanager
    def using(self, task: Task, version: str | None = None) -> Iterator[Pipeline]:
        """A model to run documents through; it stays loaded within this context.

        Args:
            task: the documents' task.
            version: the model version; None for the model that serves.

        Raises:
            ArtifactError: the model cannot be loaded.
        """
        loaded = self._acquire(task, version)
        try:
            yield loaded.pipeline
        finally:
            self._release(loaded)

    def follow(self, promoted: Mapping[Task, str | None]) -> None:
        """Serve what was promoted; if it cannot be loaded, keep serving the previous model.

        Args:
            promoted: the model version for each task; None for the default.
        """
        for task, default in self._defaults.items():
            version = promoted.get(task) or default.model_version
            if version == self._serving[task]:
                self._faults.pop(task, None)
            elif time.monotonic() >= self._due.get(version, 0):
                self._swap(task, version)

    def _swap(self, task: Task, version: str) -> None:
        try:
            with self.using(task, version), self._lock:
                self._serving[task] = version
        except ArtifactError as error:
            self._due[version] = time.monotonic() + TRY_AGAIN
            self._faults[task] = f"{task} keeps {self._serving[task]}: {error}"
            logger.error("%s", self._faults[task])  # noqa: TRY400  # made for people
        else:
            self._faults.pop(task, None)
            logger.info("%s is served by model %s", task, version)
            self._drop_idle()

    def _acquire(self, task: Task, version: str | None) -> _Loaded:
        with self._lock:
            wanted = version or self._serving[task]
            loaded = self._find(wanted)
        if loaded is not None:
            return loaded
        # One at a time: two chunks of a pinned job may ask for the same model.
        with self._loading:
            with self._lock:
                loaded = self._find(wanted)
            if loaded is None:
                pipeline = self._load(task, wanted)
                self._engine.adopt(pipeline, self._defaults[task])
                loaded = _Loaded(pipeline, users=1)
                with self._lock:
                    self._loaded[wanted] = loaded
            return loaded

    def _load(self, task: Task, version: str) -> Pipeline:
        """Load a model, if need be in the memory that unused ones take."""
        try:
            return self._folders.load(task, version, self._device)
        except NotLoadedError:
            if not self._drop_idle(keep=0):
                raise
        return self._folders.load(task, version, self._device)

    def _find(self, version: str) -> _Loaded | None:
        """A loaded model, marked as most recently used and with one more user; needs the lock."""
        loaded = self._loaded.pop(version, None)
        if loaded is not None:
            loaded.users += 1
            self._loaded[version] = loaded
        return loaded

    def _release(self, loaded: _Loaded) -> None:
        with self._lock:
            loaded.users -= 1
        self._drop_idle()

    def _drop_idle(self, keep: int = IDLE_MODELS) -> int:
        """Drop unused models but the last `keep`, and return how many were dropped."""
        with self._lock:
            idle = [
                version
                for version, loaded in self._loaded.items()
                if not loaded.users and version not in self._serving.values()
            ]
            dropped = idle[: max(0, len(idle) - keep)]
            for version in dropped:
                self._engine.dismiss(self._loaded.pop(version).pipeline)
            return len(dropped)
