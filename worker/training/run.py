"""One training run from start to artifact, with its checkpoints."""

import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from schema.documents import LABELS
from schema.errors import InputError
from worker.pipeline.model import Model
from worker.training.artifact import replaced
from worker.training.card import Card
from worker.training.checkpoint import (
    CHECKPOINT,
    alone,
    is_checkpoint,
    load_checkpoint,
    train_with_checkpoints,
)
from worker.training.corpus import check_rows, check_unchanged
from worker.training.evaluate import in_memory
from worker.training.examples import Example
from worker.training.finish import finish
from worker.training.loop import EpochReport, StepReport, TrainingState
from worker.training.noisy_examples import make_examples
from worker.training.pretrain import pretrain
from worker.training.ranker import Tagger
from worker.training.recipe import Recipe
from worker.training.self_distillation import own_soft_labels
from worker.training.soft_labels import SoftLabel
from worker.training.start import Start
from worker.training.training_rows import TrainingRows, training_rows
from worker.training.validation import Validation

LANGUAGE_MODEL: Final = "language-model"
"""Subfolder of the checkpoint for the language model, which is made if no start is given."""

FOLD: Final = "training without fold {} of the texts, for the ranker"
"""Report before a tagger that the ranker learns from is trained."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The artifact is written and measured.

    Attributes:
        card: the artifact's card.
    """

    card: Card


Report = str | StepReport | EpochReport | Finished
"""What a training reports while it runs; a string says what is being prepared."""


def train_artifact(recipe: Recipe, out: Path, *, resume: bool) -> Generator[Report]:
    """Train, calibrate, write and measure an artifact.

    Every epoch ends with a checkpoint; a training that was interrupted and resumed gives the same
    artifact as an uninterrupted one.

    Args:
        recipe: what to make.
        out: folder of the artifact.
        resume: continue from the checkpoint in `out` instead of starting over.

    Raises:
        InputError: the data is missing, broken or not what the teacher learned from, it changes
            meanwhile, no source has rows to train or to validate on, there is nothing to resume, or
            another training writes to `out`.
        ArtifactError: what the recipe starts from is missing or broken.
    """
    check_rows(recipe.sources(), "train", "valid")
    for taught in recipe.soft_labels:
        taught.check(
            [
                *recipe.original_sources(),
                *recipe.ordinary_sources(),
                *recipe.unlabelled_sources(),
            ]
        )
    given = None if recipe.start is None else Start.load(recipe.start)
    with alone(out):
        yield from _train_artifact(recipe, given, out, resume=resume)


def _train_artifact(
    recipe: Recipe, given: Start | None, out: Path, *, resume: bool
) -> Iterator[Report]:
    checkpoint, start = out / CHECKPOINT, given
    # A start that does not fit is refused before anything is removed.
    state = None if start is None else fresh_state(recipe, start)
    if not resume:
        shutil.rmtree(checkpoint, ignore_errors=True)  # left by another training
    if start is None or state is None:
        folder = checkpoint / LANGUAGE_MODEL
        yield from pretrain(recipe.language_model(), folder, resume=resume)
        start = Start.load(folder)
        state = fresh_state(recipe, start)
    identity = recipe.identity(start)
    if resume and (given is not None or is_checkpoint(checkpoint)):
        load_checkpoint(checkpoint, state, identity)
    own: dict[str, SoftLabel] = {}
    if recipe.task in LABELS and start.has_decoder_of(state.model):
        yield "asking the model that it starts from"
        own = own_soft_labels(recipe, start)
    yield "encoding the training texts"
    rows, examples = _rows_and_examples(recipe, start, own)
    yield from _train(recipe, start, state, examples, checkpoint, identity)
    del examples
    fold_taggers = yield from _fold_taggers(recipe, start, checkpoint, resume=resume)
    yield "calibrating on validation, measuring on test"
    with replaced(out) as whole:
        card = finish(recipe, start, state, rows, fold_taggers, whole)
        check_unchanged(recipe.data, identity, recipe.identity(start))
    yield Finished(card)


def fresh_state(recipe: Recipe, start: Start) -> TrainingState[Model]:
    """A network before its first step.

    Raises:
        ArtifactError: `start` has another cell or size.
    """
    config = recipe.config(start.tokenizer).model

    def make() -> Model:
        model = Model(config)
        start.give_weights(model)
        return model

    return TrainingState.fresh(make, recipe.training)


def _rows_and_examples(
    recipe: Recipe, start: Start, own: Mapping[str, SoftLabel]
) -> tuple[TrainingRows, list[Example]]:
    rng = np.random.default_rng(recipe.training.seed)
    rows = training_rows(recipe, own, rng)
    return rows, make_examples(recipe.task, rows, start.tokenizer, rng)


def _train(
    recipe: Recipe,
    start: Start,
    state: TrainingState[Model],
    examples: Sequence[Example],
    checkpoint: Path,
    identity: str,
) -> Iterator[StepReport | EpochReport]:
    """Train a network to its last epoch, with a checkpoint after each epoch.

    Raises:
        InputError: there are no examples.
    """
    if not examples:
        msg = (
            f"the training rows in {recipe.data / recipe.task} teach nothing: cleaning leaves no"
            " text, or no keyword occurs in its text"
        )
        raise InputError(msg)
    validation = Validation(recipe, start.tokenizer)
    return train_with_checkpoints(
        state, examples, validation, recipe.training, folder=checkpoint, identity=identity
    )


def _fold_taggers(
    recipe: Recipe, start: Start, checkpoint: Path, *, resume: bool
) -> Generator[Report, None, list[Tagger]]:
    """Train a tagger without each fold; none if `start` has learned the labels already."""
    taggers: list[Tagger] = []
    for part in recipe.folds():
        state = fresh_state(part, start)
        if start.has_decoder_of(state.model):
            return taggers
        yield FOLD.format(part.left_out)
        folder, identity = checkpoint / f"fold-{part.left_out}", part.identity(start)
        if resume and is_checkpoint(folder):
            load_checkpoint(folder, state, identity)
        rows, examples = _rows_and_examples(part, start, {})
        if not examples or rows.ranker is None:  # few texts may leave no keyword to learn
            continue
        yield from _train(part, start, state, examples, folder, identity)
        state.load_best()
        pipeline = in_memory(part.config(start.tokenizer), start.tokenizer, state.model)
        taggers.append(Tagger(pipeline, rows.ranker))
    return taggers
