"""Where a worker finds artifacts: the defaults, and the models folder.

::

    TEXTMILL_ARTIFACTS/<task>              a task's default; if unset, the one that ships
    TEXTMILL_MODELS_DIR/<model version>    one folder per model version, the same on every host
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schema.documents import Task
from schema.errors import ArtifactError, NotLoadedError, TextmillError
from schema.settings import WorkerSettings
from worker.folders import take_place
from worker.pipeline import Pipeline
from worker.pipeline.artifact import CARD, READABLE_CARD, SHIPPED, model_version, read_config


@dataclass(frozen=True, slots=True)
class ArtifactFolders:
    """The artifacts that a host has.

    Attributes:
        defaults: folder with one artifact per task, which serves until another model is promoted.
        models: the models folder; it need not exist.
    """

    defaults: Path
    models: Path

    @classmethod
    def of(cls, settings: WorkerSettings) -> "ArtifactFolders":
        """The folders that the settings name."""
        return cls(settings.artifacts or SHIPPED, settings.models_dir)

    def load(self, task: Task, version: str | None, device: str) -> Pipeline:
        """Load a model version, or the default if it is None.

        Raises:
            ArtifactError: it is missing or broken, or does not match the version in its name.
            NotLoadedError: lack of memory, the device or the file system prevented loading it.
        """
        folder = self.find(task, version)
        pipeline = load_artifact(folder, device, task)
        if version not in (None, pipeline.model_version):
            msg = f"{folder} holds model {pipeline.model_version}, not {version}; copy it anew"
            raise ArtifactError(msg)
        return pipeline

    def find(self, task: Task, version: str | None) -> Path:
        """The folder of a model version, or of the default if it is None.

        Raises:
            ArtifactError: the version is neither in the models folder nor the default.
            NotLoadedError: this login may not look into the models folder, or it is away.
        """
        default = self.defaults / task
        if version is None:
            return default
        if re.fullmatch("[0-9a-f]{16}", version) and self._has_folder(version):
            return self.models / version
        if self.default_version(task) == version:
            return default
        msg = (
            f"{self.models} does not hold model {version};"
            " copy its folder there, or share the models folder between hosts"
        )
        raise ArtifactError(msg)

    def default_version(self, task: Task) -> str | None:
        """The model version of the default, or None if this task has none that can be read."""
        folder = self.defaults / task
        try:
            return model_version(folder, read_config(folder))
        except (ArtifactError, OSError):  # this worker serves other tasks only, or may not read it
            return None

    def add(self, folder: Path) -> str:
        """Copy an artifact into the models folder, whole or not at all, and return its version.

        A copy that has been damaged since is replaced.

        Raises:
            ArtifactError: the artifact is broken.
            NotLoadedError: see `load_artifact`; or the models folder cannot be written to.
        """
        version = load_artifact(folder, "cpu").model_version
        if not self._holds(version):
            with written(self.models):
                self._copy(folder, version)
        return version

    def _has_folder(self, version: str) -> bool:
        try:
            return (self.models / version).is_dir()
        except OSError as error:
            msg = (
                f"cannot look into the models folder {self.models} ({error.strerror or error});"
                " give this login the right, or name another with TEXTMILL_MODELS_DIR"
            )
            raise NotLoadedError(msg) from error

    def _copy(self, folder: Path, version: str) -> None:
        self.models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.models, prefix=".") as aside:
            whole = Path(aside) / version
            whole.mkdir()
            # Nothing else that the folder holds or links to: others can read the models folder.
            for file in (folder / name for name in read_config(folder).files()):
                shutil.copy(file, whole)
            for card in (folder / CARD, folder / READABLE_CARD):
                if card.is_file() and not card.is_symlink():
                    shutil.copy(card, whole)
            try:
                take_place(whole, self.models / version)
            except OSError:
                if not self._holds(version):  # another process may have put it there first
                    raise

    def _holds(self, version: str) -> bool:
        """Whether the models folder has a whole copy of a model version."""
        folder = self.models / version
        try:
            return model_version(folder, read_config(folder)) == version
        except (ArtifactError, OSError):
            return False


@contextmanager
def written(models: Path) -> Iterator[None]:
    """Turn an error while writing to the models folder into one that says what to do.

    An error of another file, such as one of the data that is read meanwhile, stays as it is.

    Raises:
        NotLoadedError: it is full or read-only, or not a folder.
    """
    try:
        yield
    except OSError as error:
        # Of a copy that fails, the second file is the one that was written.
        files = [Path(name) for name in (error.filename, error.filename2) if name is not None]
        if files and not any(_concerns(models, file) for file in files):
            raise
        msg = (
            f"cannot write to the models folder {models} ({error.strerror or error});"
            " make room, give this login the right, or name another with TEXTMILL_MODELS_DIR"
        )
        raise NotLoadedError(msg) from error


def _concerns(models: Path, path: Path) -> bool:
    """Whether a path is in the models folder, or above it, where that cannot be created."""
    models, path = models.absolute(), path.absolute()
    return path.is_relative_to(models) or models.is_relative_to(path)


def load_artifact(folder: Path, device: str, task: Task | None = None) -> Pipeline:
    """Load an artifact, which must belong to `task` if one is given.

    Raises:
        ArtifactError: it is missing or broken, or belongs to another task.
        NotLoadedError: lack of memory, the device or the file system prevented loading it.
    """
    try:
        return Pipeline.load(folder, device, task)
    except (OSError, MemoryError, RuntimeError) as error:
        msg = f"cannot load {folder}: {type(error).__name__}: {error}"
        raise NotLoadedError(msg) from error
    except TextmillError:
        raise
    except Exception as error:  # damaged files may raise anything
        msg = f"{folder} is damaged ({type(error).__name__}: {error}); copy it anew"
        raise ArtifactError(msg) from error
