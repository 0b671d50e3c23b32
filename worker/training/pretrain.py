"""A language model over the texts of all tasks, from which every task's encoder starts.

The two directions of the encoder learn to predict the next and the previous token (as in ULMFiT,
Howard & Ruder 2018), so that a task with few labelled rows starts with words and grammar known.
"""

import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.torch import save

from schema.documents import Task
from schema.errors import DocumentError, InputError
from worker.pipeline.artifact import CARD, TOKENIZER, WEIGHTS
from worker.pipeline.model import Cell, ModelConfig
from worker.pipeline.records import CleanText, IntArray
from worker.pipeline.tokenize import Tokenizer
from worker.training.artifact import replaced
from worker.training.card import LanguageModelCard, entry_of
from worker.training.checkpoint import (
    CHECKPOINT,
    alone,
    is_checkpoint,
    load_checkpoint,
    train_with_checkpoints,
)
from worker.training.cleaning import clean_text
from worker.training.corpus import (
    LicenceClass,
    Source,
    Split,
    check_rows,
    check_unchanged,
    data_hash,
    identity_of,
    sources,
)
from worker.training.examples import Example
from worker.training.language_model import LanguageModel
from worker.training.loop import EpochReport, StepReport, TrainingConfig, TrainingState

VOCABULARY: Final = 24_000
"""Number of token ids of the shipped models."""
WINDOW: Final = 96
"""Most tokens of a training window; longer texts give several."""
VALIDATION_WINDOWS: Final = 2000
"""Windows of the validation splits that measure the model after each epoch."""

PRETRAINING: Final = TrainingConfig(
    epochs=3, budget=8192, learning_rate=3e-3, warm_up=0.03, weight_decay=0.0
)
"""How the language model of the shipped models is trained."""

_NO_GOLD: Final = np.zeros(1, dtype=np.int8)


@dataclass(frozen=True, slots=True)
class Pretraining:
    """What a language model is made from; the same inputs give the same weights on CPU.

    Attributes:
        data: the data folder; texts of all its tasks are read, their labels are not.
        licence_class: sources beyond this class are left out.
        cell: kind of recurrent cell.
        command: written to the card.
        training: how it is trained.
        vocabulary: number of token ids.
    """

    data: Path
    licence_class: LicenceClass
    cell: Cell
    command: str
    training: TrainingConfig = PRETRAINING
    vocabulary: int = VOCABULARY

    def sources(self) -> list[Source]:
        """The sources whose texts it reads."""
        return [source for task in Task for source in sources(self.data, task, self.licence_class)]

    def identity(self) -> str:
        """Hash over everything that decides the result, for checkpoints."""
        options = [self.licence_class, self.training, self._shape(self.vocabulary)]
        return identity_of(options, self.sources())

    def clean_texts(self, split: Split) -> Iterator[CleanText]:
        """The texts of a split as the model sees them."""
        for source in self.sources():
            for row in source.rows(split):
                if (clean := clean_text(row.text)) is not None:
                    yield clean

    def make_tokenizer(self) -> Tokenizer:
        """Learn the vocabulary, from all tasks' training texts."""
        return Tokenizer.train(self.clean_texts("train"), self.vocabulary)

    def make_windows(self, tokenizer: Tokenizer, split: Split) -> list[IntArray]:
        """Token ids of the windows of a split, except windows of one token, which teach nothing."""
        windows: list[IntArray] = []
        for clean in self.clean_texts(split):
            try:
                document = tokenizer.tokenize(clean, spans=False, window=WINDOW, overlap=0)
            except DocumentError:  # a text of signs, without a word
                continue
            windows += [ids for ids in document.window_ids() if len(ids) > 1]
        return windows

    def fresh_state(
        self, tokenizer: Tokenizer, windows: list[IntArray]
    ) -> TrainingState[LanguageModel]:
        """A language model before its first step.

        Args:
            tokenizer: its vocabulary.
            windows: the training windows; their token frequencies decide how noise is drawn.
        """
        counts = np.bincount(np.concatenate(windows), minlength=tokenizer.size)
        shape = self._shape(tokenizer.size)
        return TrainingState.fresh(lambda: LanguageModel(shape, counts), self.training)

    def _shape(self, vocabulary: int) -> ModelConfig:
        return ModelConfig(
            Task.SENTIMENT,  # decides the decoder, and there is none here
            vocabulary,
            (),
            self.cell,
            input_dropout=0.1,
            output_dropout=0.1,
        )


def pretrain(
    pretraining: Pretraining, out: Path, *, resume: bool
) -> Generator[str | StepReport | EpochReport]:
    """Train a language model and write its vocabulary and its encoder.

    Args:
        pretraining: what to make.
        out: its folder; when resuming, a complete language model there is left as it is.
        resume: continue from the checkpoint in `out` instead of starting over.

    Raises:
        InputError: the data is missing or broken, it changes meanwhile, no source has rows to train
            on, there is nothing to resume, or another training writes to `out`.
    """
    if resume and (out / WEIGHTS).is_file() and not (out / CHECKPOINT).exists():
        return
    check_rows(pretraining.sources(), "train")
    identity = pretraining.identity()
    with alone(out):
        yield from _pretrain(pretraining, identity, out, resume=resume)


def _pretrain(
    pretraining: Pretraining, identity: str, out: Path, *, resume: bool
) -> Iterator[str | StepReport | EpochReport]:
    checkpoint = out / CHECKPOINT
    if not resume:
        shutil.rmtree(checkpoint, ignore_errors=True)  # left by another training
        checkpoint.mkdir(parents=True)
    yield "learning the vocabulary" if not resume else "reading the checkpoint"
    tokenizer = _tokenizer(pretraining, checkpoint, resume=resume)
    yield "encoding the texts of all tasks"
    windows = pretraining.make_windows(tokenizer, "train")
    validation = pretraining.make_windows(tokenizer, "valid")
    validation = validation[:: max(1, len(validation) // VALIDATION_WINDOWS)]
    validation = validation or windows[:VALIDATION_WINDOWS]
    state = pretraining.fresh_state(tokenizer, windows)
    if resume and is_checkpoint(checkpoint):
        load_checkpoint(checkpoint, state, identity)

    def validate(model: LanguageModel) -> float:
        return model.mean_token_probability(validation)

    yield from train_with_checkpoints(
        state,
        as_examples(windows),
        validate,
        pretraining.training,
        folder=checkpoint,
        identity=identity,
    )
    card = LanguageModelCard(
        command=pretraining.command,
        data_hash=data_hash(pretraining.sources()),
        sources=tuple(
            entry_of(source, "language", source.rows("train")) for source in pretraining.sources()
        ),
        epochs=state.best_epoch,
        likelihood=state.best_score,
    )
    encoder = {
        name: value.half().contiguous()
        for name, value in state.best_weights.items()
        if name.startswith("encoder.")
    }
    check_unchanged(pretraining.data, identity, pretraining.identity())
    with replaced(out) as whole:
        tokenizer.save(whole / TOKENIZER)
        (whole / WEIGHTS).write_bytes(save(encoder))  # `save_file` lets nobody else read it
        (whole / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def as_examples(windows: list[IntArray]) -> list[Example]:
    """Windows as a training step takes them."""
    return [Example(window, _NO_GOLD) for window in windows]


def _tokenizer(pretraining: Pretraining, checkpoint: Path, *, resume: bool) -> Tokenizer:
    path = checkpoint / TOKENIZER
    if resume:
        if not path.is_file():
            msg = f"{checkpoint} holds no training to resume; start one without --resume"
            raise InputError(msg)
        return Tokenizer.load(path)
    tokenizer = pretraining.make_tokenizer()
    tokenizer.save(path)
    return tokenizer
