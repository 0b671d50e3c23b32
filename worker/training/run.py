"""One training from start to artifact, with its checkpoints."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schema.errors import InputError
from worker.pipeline.artifact import TOKENIZER
from worker.pipeline.tokenize import Tokenizer
from worker.training.card import Card
from worker.training.checkpoint import load_checkpoint, save_checkpoint
from worker.training.finish import finish
from worker.training.loop import EpochReport, StepReport, train
from worker.training.recipe import (
    Recipe,
    Validation,
    fresh_state,
    make_examples,
    make_tokenizer,
)

CHECKPOINT: Final = "checkpoint"
"""Folder inside the artifact's, until the training is done."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The artifact is written and measured.

    Attributes:
        card: what it says of itself.
    """

    card: Card


Report = str | StepReport | EpochReport | Finished
"""What a training tells while it runs; text names what is being prepared."""


def train_artifact(recipe: Recipe, out: Path, *, resume: bool) -> Iterator[Report]:
    """Train, calibrate, write and measure an artifact.

    Every epoch ends with a checkpoint; a training that was interrupted and resumed ends in the
    same artifact as one that was not.

    Args:
        recipe: what to make.
        out: folder of the artifact.
        resume: go on from the checkpoint in `out` instead of starting anew.

    Raises:
        InputError: the data is missing or broken, or there is nothing to resume.
    """
    checkpoint = out / CHECKPOINT
    yield "learning the vocabulary" if not resume else "reading the checkpoint"
    tokenizer = _tokenizer(recipe, checkpoint, resume=resume)
    state = fresh_state(recipe, tokenizer)
    if resume:
        load_checkpoint(checkpoint, state, recipe.identity())
    yield "encoding the training texts"
    training = make_examples(recipe, tokenizer)
    for report in train(state, training, Validation(recipe, tokenizer), recipe.training):
        if isinstance(report, EpochReport):
            save_checkpoint(checkpoint, state, recipe.identity())
        yield report
    yield "calibrating on validation, measuring on test"
    card = finish(recipe, tokenizer, state, out)
    shutil.rmtree(checkpoint)
    yield Finished(card)


def _tokenizer(recipe: Recipe, checkpoint: Path, *, resume: bool) -> Tokenizer:
    path = checkpoint / TOKENIZER
    if resume:
        if not path.is_file():
            msg = f"{checkpoint} holds no training to resume; start one without --resume"
            raise InputError(msg)
        return Tokenizer.load(path)
    tokenizer = make_tokenizer(recipe)
    checkpoint.mkdir(parents=True, exist_ok=True)
    tokenizer.save(path)
    return tokenizer
