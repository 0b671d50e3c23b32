"""What a training starts from: a vocabulary, and weights that were trained before."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from schema.errors import ArtifactError, InputError
from worker.pipeline.artifact import (
    CARD,
    CHARACTER_NGRAMS,
    CONFIG,
    RANKER,
    TOKENIZER,
    WEIGHTS,
    model_version,
    read_config,
)
from worker.pipeline.character_ngrams import CharacterNgrams
from worker.pipeline.model import Model
from worker.pipeline.ranker import Ranker
from worker.pipeline.tokenize import Tokenizer
from worker.training.card import SourceEntry, TeacherCard
from worker.training.corpus import LicenceClass
from worker.training.hashing import content_hash

TEMPERATURE: Final = "decoder.temperature"
"""The name in an artifact of what calibration sets."""


@dataclass(frozen=True, slots=True)
class Start:
    """A language model's encoder, or a whole artifact.

    Attributes:
        folder: where it was read from.
        tokenizer: its vocabulary.
        weights: by name, as `Model` names them.
        thresholds: those of an artifact; empty for a language model.
        character_ngrams: those of an artifact, if it has any.
        ranker: the one of an artifact, if it has one.
        version: the model version of an artifact, or the content hash of a language model.
        sources: what it was trained on, as its card says.
        teachers: the teachers whose soft labels it learned.
    """

    folder: Path
    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    thresholds: Mapping[str, float]
    character_ngrams: CharacterNgrams | None
    ranker: Ranker | None
    version: str
    sources: tuple[SourceEntry, ...]
    teachers: tuple[TeacherCard, ...]

    @classmethod
    def load(cls, folder: Path) -> "Start":
        """Read a folder that `textmill-worker pretrain` or `train` made.

        Raises:
            ArtifactError: a file is missing or broken.
        """
        try:
            tokenizer = Tokenizer.load(folder / TOKENIZER)
            weights = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            msg = f"cannot read {folder} ({error}); name another folder with --start"
            raise ArtifactError(msg) from error
        ngrams, ranker = None, None
        thresholds: Mapping[str, float] = {}
        if (folder / CONFIG).is_file():
            config = read_config(folder)
            version = model_version(folder, config)
            thresholds = config.thresholds
            if config.character_ngrams:
                ngrams = CharacterNgrams.load(folder / CHARACTER_NGRAMS)
            if config.ranker:
                ranker = Ranker.load(folder / RANKER)
        else:
            version = content_hash((folder / name).read_bytes() for name in (TOKENIZER, WEIGHTS))
        card = _read_card(folder)
        return cls(
            folder,
            tokenizer,
            weights,
            thresholds,
            ngrams,
            ranker,
            version,
            card.sources,
            card.teachers,
        )

    def check(self, licence_class: LicenceClass) -> None:
        """Check that nothing it learned from, or its teachers, is beyond a licence class.

        Raises:
            InputError: a source is; the message names it.
        """
        learned = [*self.sources, *(entry for card in self.teachers for entry in card.sources)]
        beyond = sorted({entry.name for entry in learned if entry.licence_class > licence_class})
        if beyond:
            msg = f"{self.folder} learned from sources beyond class {licence_class}"
            msg += f" ({', '.join(beyond)}); start from another, or widen --licence-class"
            raise InputError(msg)

    def has_decoder_of(self, model: Model) -> bool:
        """Whether it has learned the labels of the model's task."""
        return all(
            name in self.weights and self.weights[name].shape == value.shape
            for name, value in model.state_dict().items()
            if name.startswith("decoder.")
        )

    def give_weights(self, model: Model) -> None:
        """Set the encoder's weights, and the decoder's if it is of the same task.

        Temperatures are not set: they fit the old weights, which training will change.

        Raises:
            ArtifactError: the encoder has another cell or size.
        """
        known = model.state_dict()
        same_decoder = self.has_decoder_of(model)
        given = {
            name: value.float()
            for name, value in self.weights.items()
            if name.startswith("encoder.") or (same_decoder and name != TEMPERATURE)
        }
        try:
            model.load_state_dict({**known, **given})
        except RuntimeError as error:
            msg = f"{self.folder} has an encoder of another cell or size; repeat its --cell"
            raise ArtifactError(msg) from error


class _AnyCard(BaseModel):
    """The fields that are read from the card of a language model or an artifact."""

    sources: tuple[SourceEntry, ...]
    teachers: tuple[TeacherCard, ...] = ()


def _read_card(folder: Path) -> _AnyCard:
    try:
        return _AnyCard.model_validate_json((folder / CARD).read_bytes())
    except (OSError, ValidationError) as error:
        msg = f"{folder / CARD} does not say what {folder} was trained on; restore it"
        raise ArtifactError(msg) from error
