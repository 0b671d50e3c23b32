"""What an artifact folder holds, and how it is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import Embedding

from schema.documents import Task
from schema.errors import ArtifactError, NotLoadedError
from worker.pipeline.character_ngrams import CharacterNgrams
from worker.pipeline.generator import Generator
from worker.pipeline.model import Model, ModelConfig
from worker.pipeline.out_of_memory import is_out_of_memory
from worker.pipeline.ranker import Ranker
from worker.pipeline.tokenize import Tokenizer

CARD: Final = "card.json"
READABLE_CARD: Final = "CARD.md"
CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
WEIGHTS: Final = "weights.safetensors"
CHARACTER_NGRAMS: Final = "character_ngrams.safetensors"
RANKER: Final = "ranker.safetensors"
GENERATOR: Final = "generator.safetensors"
FILES: Final = (CONFIG, TOKENIZER, WEIGHTS)
"""The files of every artifact."""

SHIPPED: Final = Path(__file__).parents[1] / "artifacts"
"""The artifacts that ship, one folder per task."""


@dataclass(frozen=True, slots=True)
class ArtifactConfig:
    """Everything besides vocabulary and weights that decides outputs.

    Attributes:
        model: shape of the network.
        thresholds: for moderation, the score from which each label holds; for keywords, the score
            from which a phrase is one, as `keyword`, and if there is a generator, from which a
            generated one is returned, as `generated`; empty for sentiment. From 0 to 1, as scores.
        window: most tokens of a window.
        overlap: tokens that neighbouring windows share, fewer than `window`.
        keywords: most keywords of a document.
        character_ngrams: for sentiment, whether a linear model over character n-grams, in a
            separate file, is pooled with the network.
        ranker: whether a ranker, in a separate file, scores phrases.
        generator: whether keywords can be generated, by a generator in a separate file.
    """

    model: ModelConfig
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]]
    window: PositiveInt
    overlap: NonNegativeInt
    keywords: PositiveInt = 10
    character_ngrams: bool = False
    ranker: bool = False
    generator: bool = False

    def files(self) -> tuple[str, ...]:
        """The files that decide outputs; the model version is a hash over them."""
        extras = {
            CHARACTER_NGRAMS: self.character_ngrams,
            RANKER: self.ranker,
            GENERATOR: self.generator,
        }
        return (*FILES, *(name for name, is_there in extras.items() if is_there))

    def fault(self) -> str | None:
        """Which of its parts contradict each other, or None if all agree."""
        if self.overlap >= self.window:
            return f"overlap: {self.overlap} tokens do not fit into a window of {self.window}"
        needed = {
            Task.SENTIMENT: (),
            Task.MODERATION: self.model.labels,
            Task.KEYWORDS: ("keyword", "generated") if self.generator else ("keyword",),
        }[self.model.task]
        absent = [name for name in needed if name not in self.thresholds]
        return f"thresholds: {', '.join(absent)} is missing" if absent else None


class Additions(NamedTuple):
    """What an artifact may have besides its network.

    Attributes:
        character_ngrams: for sentiment, the linear model beside the network.
        ranker: for keywords, scores the tagger's phrases.
        generator: for keywords, generates keywords that do not occur in the text.
    """

    character_ngrams: CharacterNgrams | None = None
    ranker: Ranker | None = None
    generator: Generator | None = None


class Artifact(NamedTuple):
    """What an artifact folder holds.

    Attributes:
        config: its configuration.
        version: content hash over the files that decide outputs.
        tokenizer: cuts texts into the token ids that the network knows.
        model: the network, on a device.
        additions: what it has besides.
    """

    config: ArtifactConfig
    version: str
    tokenizer: Tokenizer
    model: Model
    additions: Additions


CONFIG_ADAPTER: Final = TypeAdapter(ArtifactConfig)


def read_artifact(folder: Path, device: str, task: Task | None = None) -> Artifact:
    """Read an artifact folder and put its weights on a device.

    Args:
        folder: the artifact's folder.
        device: `cpu` or `cuda:N`.
        task: the task that the artifact must serve; None for any.

    Raises:
        ArtifactError: the folder is missing or broken, or belongs to another task; the message
            says what to do.
        NotLoadedError: the folder was changed while it was read.
    """
    config = read_config(folder)
    version = model_version(folder, config)
    if task is not None and config.model.task is not task:
        msg = f"{folder} is a model for {config.model.task}, not for {task}; name another folder"
        raise ArtifactError(msg)
    model = read_model(folder, config.model, device)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    if tokenizer.size != config.model.vocabulary:
        msg = f"{folder / TOKENIZER} belongs to another artifact; copy the folder whole"
        raise ArtifactError(msg)
    additions = read_additions(folder, config, model.encoder.embedding)
    # If files were written meanwhile, results could name a model that never existed as a whole.
    if (read_config(folder), model_version(folder, config)) != (config, version):
        msg = f"{folder} was changed while it was read; try again"
        raise NotLoadedError(msg)
    return Artifact(config, version, tokenizer, model, additions)


def read_config(folder: Path) -> ArtifactConfig:
    """Read an artifact's configuration.

    Raises:
        ArtifactError: a file is missing, including those that the configuration requires, or the
            configuration is broken.
    """
    _check_there(folder, FILES)
    try:
        config = CONFIG_ADAPTER.validate_json((folder / CONFIG).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = f"{folder / CONFIG} is broken ({where}: {first['msg']}); {_REMEDY}"
        raise ArtifactError(msg) from error
    if fault := config.fault():
        msg = f"{folder / CONFIG} is broken ({fault}); {_REMEDY}"
        raise ArtifactError(msg)
    _check_there(folder, config.files())
    return config


def read_model(folder: Path, config: ModelConfig, device: str) -> Model:
    """Build the network of an artifact on `device`, in evaluation mode, float32.

    Raises:
        ArtifactError: the weights are broken or belong to another configuration.
    """
    model = Model(config)
    try:
        weights = load_file(folder / WEIGHTS)
        model.load_state_dict({name: value.float() for name, value in weights.items()})
    except (SafetensorError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        msg = f"{folder / WEIGHTS} does not fit its {CONFIG}; {_REMEDY}"
        raise ArtifactError(msg) from error
    return model.to(torch.device(device)).eval()


def read_additions(folder: Path, config: ArtifactConfig, embedding: Embedding) -> Additions:
    """What an artifact has besides its network.

    Args:
        folder: the artifact's folder.
        config: says which additions there are.
        embedding: see `read_generator`.

    Raises:
        ArtifactError: a file is missing or broken.
    """
    return Additions(
        character_ngrams=(
            CharacterNgrams.load(folder / CHARACTER_NGRAMS) if config.character_ngrams else None
        ),
        ranker=Ranker.load(folder / RANKER) if config.ranker else None,
        generator=read_generator(folder, embedding) if config.generator else None,
    )


def read_generator(folder: Path, embedding: Embedding) -> Generator:
    """The generator of an artifact that has one, on the device of `embedding`, float32.

    Args:
        folder: the artifact's folder.
        embedding: the token vectors of its encoder.

    Raises:
        ArtifactError: its file is missing or broken.
    """
    try:
        weights = load_file(folder / GENERATOR)
        states = len(weights["start.bias"])
        generator = Generator(embedding, states, weights["outputs"])
        generator.load_state_dict(weights)  # copies into float32
    except (KeyError, SafetensorError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        msg = f"cannot read the generator {folder / GENERATOR}: {error!r}; {_REMEDY}"
        raise ArtifactError(msg) from error
    return generator.to(embedding.weight.device).eval()


def model_version(folder: Path, config: ArtifactConfig) -> str:
    """Content hash over the files that decide outputs, 16 hex digits."""
    digest = sha256()
    for name in config.files():
        digest.update(sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _check_there(folder: Path, names: Sequence[str]) -> None:
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        msg = f"{folder} is not a complete artifact: it lacks {', '.join(absent)}; {_REMEDY}"
        raise ArtifactError(msg)


_REMEDY: Final = "name another folder, or make one with: textmill-worker train TASK --data DIR"
