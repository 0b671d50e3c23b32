"""Writing artifacts: what serving reads, and the card that people read."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save
from torch.nn import Module

from worker.folders import replacing
from worker.pipeline.artifact import (
    CARD,
    CHARACTER_NGRAMS,
    CONFIG,
    CONFIG_ADAPTER,
    GENERATOR,
    RANKER,
    READABLE_CARD,
    TOKENIZER,
    WEIGHTS,
    Additions,
    ArtifactConfig,
)
from worker.pipeline.generator import Generator
from worker.pipeline.model import Model
from worker.pipeline.tokenize import Tokenizer
from worker.training.card import Card
from worker.training.card_page import readable
from worker.training.checkpoint import CHECKPOINT

OWN: Final = frozenset(
    {
        CONFIG,
        TOKENIZER,
        WEIGHTS,
        CHARACTER_NGRAMS,
        RANKER,
        GENERATOR,
        CARD,
        READABLE_CARD,
        CHECKPOINT,
    }
)
"""Names of the files that a training writes to its folder; other files there are the user's."""


def replaced(folder: Path) -> AbstractContextManager[Path]:
    """A folder to write into; at the end it replaces the artifact in `folder`.

    The old artifact's checkpoint is removed with it; see `replacing`.
    """
    return replacing(folder, OWN)


def write_artifact(
    folder: Path, config: ArtifactConfig, tokenizer: Tokenizer, model: Model, additions: Additions
) -> None:
    """Write the files that decide outputs; weights are stored as float16.

    Args:
        folder: holds no artifact; see `replaced`.
        config: written to `config.json`.
        tokenizer: written to `tokenizer.json`.
        model: its state is written to `weights.safetensors`.
        additions: those that `config` names, except the generator; see `write_generator`.
    """
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    (folder / WEIGHTS).write_bytes(save(weights))
    tokenizer.save(folder / TOKENIZER)
    if additions.character_ngrams is not None:
        additions.character_ngrams.save(folder / CHARACTER_NGRAMS)
    if additions.ranker is not None:
        additions.ranker.save(folder / RANKER)
    _write_config(folder, config)


def write_generator(folder: Path, config: ArtifactConfig, generator: Generator) -> None:
    """Add a generator to an artifact in `folder`; its weights are stored as float16.

    Args:
        folder: holds the rest of the artifact.
        config: the artifact's configuration with the generator.
        generator: written to `generator.safetensors`.
    """
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in generator.state_dict().items()
    }
    (folder / GENERATOR).write_bytes(save(weights))
    _write_config(folder, config)


def _write_config(folder: Path, config: ArtifactConfig) -> None:
    (folder / CONFIG).write_bytes(CONFIG_ADAPTER.dump_json(config, indent=2) + b"\n")


def write_card(folder: Path, card: Card) -> None:
    """Write an artifact's card into its folder, for programs and for people."""
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / READABLE_CARD).write_text(readable(card), encoding="utf-8")


def round_weights(model: Module) -> None:
    """Round weights to their stored precision, so that what is measured is what ships."""
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
