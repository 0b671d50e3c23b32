"""A training state on disk: tensors as safetensors, the rest as JSON."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from schema.errors import InputError
from worker.folders import locked
from worker.training.examples import Example
from worker.training.loop import (
    EpochReport,
    NetworkT,
    StepReport,
    TrainingConfig,
    TrainingState,
    train,
)

CHECKPOINT: Final = "checkpoint"
"""Subfolder of the output folder, removed when training is done."""

_LOCK: Final = ".lock"
"""A file in the output folder that its training keeps locked, and removes at the end."""
_STATE: Final = "state.json"
_PARTS: Final = ("model", "best", "optimizer")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other trainings out of an output folder, whose checkpoint they would remove.

    Args:
        out: created if missing.

    Raises:
        InputError: another training writes to it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(out / _LOCK))
        except BlockingIOError as error:
            msg = (
                f"another training writes to {out}; wait for it, or name another folder with --out"
            )
            raise InputError(msg) from error
        stack.callback((out / _LOCK).unlink, missing_ok=True)
        yield


def train_with_checkpoints(
    state: TrainingState[NetworkT],
    examples: Sequence[Example],
    validate: Callable[[NetworkT], float],
    config: TrainingConfig,
    *,
    folder: Path,
    identity: str,
) -> Iterator[StepReport | EpochReport]:
    """Train as `loop.train` does, with a checkpoint after each epoch; see `save_checkpoint`."""
    for report in train(state, examples, validate, config):
        if isinstance(report, EpochReport):
            save_checkpoint(folder, state, identity)
        yield report


def is_checkpoint(folder: Path) -> bool:
    """Whether a training state was stored in `folder`."""
    return (folder / _STATE).is_file()


def save_checkpoint(folder: Path, state: TrainingState[NetworkT], identity: str) -> None:
    """Store a training state; the previous one stays valid until this one is complete.

    Args:
        folder: created if missing.
        state: right after an `EpochReport`.
        identity: identifies the training that it belongs to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "model": state.model.state_dict(),
        "best": state.best_weights,
        "optimizer": _optimizer_tensors(state),
    }
    for part in _PARTS:
        save_file(tensors[part], _file(folder, part, state.epoch))
    written = folder / f"{_STATE}.part"
    written.write_text(
        json.dumps(
            {
                "identity": identity,
                "epoch": state.epoch,
                "best_score": state.best_score,
                "stale": state.stale,
            }
        ),
        encoding="utf-8",
    )
    # The names of the tensor files contain the epoch, so this rename switches to them.
    written.replace(folder / _STATE)
    for part in _PARTS:
        _file(folder, part, state.epoch - 1).unlink(missing_ok=True)


def load_checkpoint(folder: Path, state: TrainingState[NetworkT], identity: str) -> None:
    """Restore a stored state into a fresh one.

    Raises:
        InputError: there is no checkpoint, it is broken, or it belongs to another training.
    """
    try:
        stored = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        if stored["identity"] != identity:
            msg = (
                f"{folder} holds a training with other data or options; "
                "repeat the options it was started with, or start anew without --resume"
            )
            raise InputError(msg)
        epoch = int(stored["epoch"])
        state.model.load_state_dict(load_file(_file(folder, "model", epoch)))
        state.best_weights = load_file(_file(folder, "best", epoch))
        _restore_optimizer(state, load_file(_file(folder, "optimizer", epoch)))
        state.best_score, state.stale = float(stored["best_score"]), int(stored["stale"])
        state.epoch = epoch
    except FileNotFoundError as error:
        msg = f"{folder} holds no training to resume; start one without --resume"
        raise InputError(msg) from error
    except (ValueError, KeyError, RuntimeError, SafetensorError) as error:
        msg = f"the checkpoint in {folder} is broken; start anew without --resume"
        raise InputError(msg) from error


def _file(folder: Path, part: str, epoch: int) -> Path:
    return folder / f"{part}-{epoch}.safetensors"


def _optimizer_tensors(state: TrainingState[NetworkT]) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value
        for name, parameter in state.model.named_parameters()
        for key, value in state.optimizer.state[parameter].items()
    }


def _restore_optimizer(state: TrainingState[NetworkT], tensors: dict[str, Tensor]) -> None:
    parameters = dict(state.model.named_parameters())
    for entry, value in tensors.items():
        name, _, key = entry.rpartition("/")
        state.optimizer.state[parameters[name]][key] = torch.clone(value)
