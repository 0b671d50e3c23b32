"""Adds a generator to a keywords artifact; its tagger and its ranker stay as they are."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import ValidationError

from schema.documents import Task
from schema.errors import ArtifactError, InputError
from worker.pipeline import Pipeline
from worker.pipeline.artifact import (
    CARD,
    TOKENIZER,
    ArtifactConfig,
    model_version,
    read_config,
    read_model,
)
from worker.pipeline.generator import Generator
from worker.pipeline.model import Encoder
from worker.pipeline.tokenize import Tokenizer
from worker.training.artifact import replaced, round_weights, write_card, write_generator
from worker.training.calibrate import generator_calibration
from worker.training.card import Card, GeneratorCard, entry_of, limits_of
from worker.training.checkpoint import CHECKPOINT, alone, load_checkpoint, train_with_checkpoints
from worker.training.corpus import Source, Split, check_unchanged, data_hash, identity_of
from worker.training.data_sets import FINDS_ONLY, GENERATES
from worker.training.examples import Example
from worker.training.finish import figures
from worker.training.generator import DROPOUT, Generation, outputs, phrase_examples
from worker.training.loop import TrainingState
from worker.training.measures import absent_keywords
from worker.training.recipe import Recipe
from worker.training.rows import KeywordsRow, of_type
from worker.training.run import Finished, Report


@dataclass(frozen=True, slots=True)
class Extension:
    """What a generator is made from; the same inputs give the same generator on CPU.

    Attributes:
        artifact: folder of the keywords artifact; a generator that it has is ignored.
        recipe: names the rows and the command; its training is the generator's.
    """

    artifact: Path
    recipe: Recipe

    def sets(self, split: Split) -> list[tuple[Source, list[KeywordsRow]]]:
        """The rows of each source, see `Recipe.sets`."""
        return [(source, of_type(KeywordsRow, rows)) for source, rows in self.recipe.sets(split)]

    def config(self) -> ArtifactConfig:
        """The artifact's configuration without a generator.

        Raises:
            ArtifactError: the artifact is missing, broken, or of another task.
        """
        config = read_config(self.artifact)
        if config.model.task is not Task.KEYWORDS:
            msg = f"{self.artifact} is a model for {config.model.task}; name one for keywords"
            raise ArtifactError(msg)
        thresholds = {"keyword": config.thresholds["keyword"]}
        return replace(config, generator=False, thresholds=thresholds)

    def card(self) -> Card:
        """The artifact's card.

        Raises:
            ArtifactError: it is missing or broken.
        """
        try:
            return Card.model_validate_json((self.artifact / CARD).read_bytes())
        except (OSError, ValidationError) as error:
            msg = f"{self.artifact / CARD} is missing or broken; restore it"
            raise ArtifactError(msg) from error

    def identity(self) -> str:
        """Hash over everything that decides the result, for checkpoints."""
        version = model_version(self.artifact, self.config())
        options = [version, self.recipe.licence_class, self.recipe.training]
        return identity_of(options, self.recipe.sources())


def extend(extension: Extension, out: Path, *, resume: bool) -> Iterator[Report]:
    """Train a generator; write and measure the artifact with it.

    Every epoch ends with a checkpoint; a training that was interrupted and resumed gives the same
    artifact as an uninterrupted one.

    Args:
        extension: what to make.
        out: folder of the new artifact; may be the folder of the extended one.
        resume: continue from the checkpoint in `out` instead of starting over.

    Raises:
        InputError: the data is missing or broken, it changes meanwhile, no keyword in it is absent
            from its text, there is nothing to resume, or another training writes to `out`.
        ArtifactError: the artifact or its card is missing or broken, or it is of another task.
    """
    identity = extension.identity()
    extension.card()  # a broken one is refused before hours of training
    with alone(out):
        yield from _extend(extension, identity, out, resume=resume)


def _extend(extension: Extension, identity: str, out: Path, *, resume: bool) -> Iterator[Report]:
    recipe, checkpoint = extension.recipe, out / CHECKPOINT
    tokenizer = Tokenizer.load(extension.artifact / TOKENIZER)
    encoder = read_model(extension.artifact, extension.config().model, "cpu").encoder
    yield "encoding the training texts"
    learned = _examples(extension, "train", tokenizer)
    if not learned:
        msg = f"no keyword of {recipe.data} is absent from its text: there is nothing to learn"
        raise InputError(msg)
    validation = _examples(extension, "valid", tokenizer) or learned
    state = _fresh_state(extension, encoder, learned)
    if resume:
        load_checkpoint(checkpoint, state, identity)

    def validate(model: Generation) -> float:
        return model.mean_token_probability(validation)

    yield from train_with_checkpoints(
        state, learned, validate, recipe.training, folder=checkpoint, identity=identity
    )
    yield "calibrating on validation, measuring on test"
    with replaced(out) as whole:
        card = _finish(extension, state, whole)
        check_unchanged(recipe.data, identity, extension.identity())
    yield Finished(card)


def _examples(extension: Extension, split: Split, tokenizer: Tokenizer) -> list[Example]:
    return [
        example for _, rows in extension.sets(split) for example in phrase_examples(rows, tokenizer)
    ]


def _fresh_state(
    extension: Extension, encoder: Encoder, learned: list[Example]
) -> TrainingState[Generation]:
    states, makeable = 2 * extension.config().model.hidden, outputs(learned)

    def make() -> Generation:
        return Generation(encoder, Generator(encoder.embedding, states, makeable, DROPOUT))

    return TrainingState.fresh(make, extension.recipe.training)


def _finish(extension: Extension, state: TrainingState[Generation], out: Path) -> Card:
    state.load_best()
    generator = state.model.generator.eval()
    round_weights(generator)
    for name in extension.config().files():
        shutil.copyfile(extension.artifact / name, out / name)
    write_generator(out, _calibrated(extension, generator, out), generator)
    card = _card(extension, state, out)
    write_card(out, card)
    return card


def _calibrated(extension: Extension, generator: Generator, out: Path) -> ArtifactConfig:
    """Set the generator's calibration in place; returns the config with its threshold."""
    config = extension.config()
    everything = replace(config, generator=True, thresholds=config.thresholds | {"generated": 0.0})
    write_generator(out, everything, generator)
    split: Split = "valid" if any(rows for _, rows in _lacking(extension, "valid")) else "train"
    sets = [rows for _, rows in extension.sets(split)]
    line, threshold = generator_calibration(Pipeline.load(out, "cpu"), sets)
    generator.get_buffer("calibration").copy_(torch.tensor(line))
    return replace(everything, thresholds=config.thresholds | {"generated": threshold})


def _lacking(extension: Extension, split: Split) -> list[tuple[Source, list[KeywordsRow]]]:
    """The rows of each source that lack a keyword in their text."""
    return [
        (source, [row for row in rows if absent_keywords(row)])
        for source, rows in extension.sets(split)
    ]


def _card(extension: Extension, state: TrainingState[Generation], out: Path) -> Card:
    recipe, pipeline = extension.recipe, Pipeline.load(out, "cpu")
    learned = tuple(
        entry_of(source, "labels", rows) for source, rows in _lacking(extension, "train") if rows
    )
    outdated = {limit.text for limit in (FINDS_ONLY, *GENERATES)}
    card = extension.card()
    return card.model_copy(
        update={
            "model_version": pipeline.model_version,
            "tests": tuple(
                figures(pipeline, source, rows) for source, rows in extension.sets("test") if rows
            ),
            "limits": (
                *limits_of(GENERATES, learned),
                *(limit for limit in card.limits if limit not in outdated),
            ),
            "generator": GeneratorCard(
                command=recipe.command,
                seed=recipe.training.seed,
                parameters=sum(value.numel() for value in state.model.parameters()),
                data_hash=data_hash(recipe.sources()),
                sources=learned,
                epochs=state.best_epoch,
                likelihood=state.best_score,
            ),
        }
    )
