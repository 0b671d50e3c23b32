"""A linear model over the character n-grams of a text, beside the network.

It sees what words and subwords hide: endings, misspellings, characters that several words share.
Its errors are others than the network's, so both together make fewer. See
docs/decisions/0017-character-ngrams.md for what was measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from schema.errors import ArtifactError
from worker.pipeline.records import FloatArray

BITS: Final = 18
"""N-grams fall into 2 ** BITS buckets; those of one bucket share their weights."""

LEAST_PROBABILITY: Final = 1e-9
"""No probability counts as less, so that it has a logarithm."""

_BASE: Final = np.uint32(0x9E3779B1)
"""A prime near 2³² divided by the golden ratio: base of a polynomial hash, modulo 2³²."""
_SPREAD: Final = np.uint32(0x85EBCA6B)
"""Multiplier of MurmurHash3: brings differences into the high bits, which are kept."""
_DOWN: Final = np.uint32(32 - BITS)


def buckets(text: str) -> NDArray[np.uint32]:
    """The buckets of all character n-grams of a text, n from 1 to 4 (Bojanowski et al. 2017).

    Args:
        text: cleaned; a blank is put before and after it, so that n-grams at its ends differ from
            those inside.

    Returns:
        Numbers below 2 ** BITS, ascending, each once; at least one.
    """
    codes = np.frombuffer(f" {text} ".encode("utf-32-le"), np.uint32)
    pairs = codes[:-1] * _BASE + codes[1:]
    triples = pairs[:-1] * _BASE + codes[2:]
    quadruples = triples[:-1] * _BASE + codes[3:]
    hashes = np.concatenate((codes, pairs, triples, quadruples)) * _SPREAD >> _DOWN
    hashes.sort()
    first = np.empty(len(hashes), bool)
    first[0] = True
    np.not_equal(hashes[1:], hashes[:-1], out=first[1:])
    return np.asarray(hashes[first])


@dataclass(frozen=True, slots=True)
class CharacterNgrams:
    """Scores labels by a text's character n-grams, and pools them with a network's probabilities.

    Attributes:
        weights: of each label by bucket, (2 ** BITS, labels).
        bias: one a label.
        pool_weights: how much the network counts, and how much the n-grams do.
    """

    weights: FloatArray
    bias: Sequence[float]
    pool_weights: tuple[float, float]

    @classmethod
    def load(cls, path: Path) -> "CharacterNgrams":
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is missing or broken.
        """
        try:
            stored = load_file(path)
            weights, bias = stored["weights"].astype(np.float32), stored["bias"]
            network, own = stored["pool_weights"].tolist()
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise _unreadable(path, repr(error)) from error
        if weights.shape != (2**BITS, len(bias)):
            raise _unreadable(path, f"its weights are of shape {weights.shape}")
        if not all(np.isfinite(part).all() for part in stored.values()):
            raise _unreadable(path, "not all of its numbers are finite")
        return cls(weights, bias.tolist(), (network, own))

    def save(self, path: Path) -> None:
        """Write the weights, as float16, and the rest."""
        weights = self.weights.astype(np.float16)
        rest = {"bias": np.array(self.bias), "pool_weights": np.array(self.pool_weights)}
        path.write_bytes(save({"weights": weights, **rest}))

    def scores(self, text: str) -> list[float]:
        """One score a label, before the link function.

        The sum of the weights of a text's buckets over the square root of their number, so that a
        long text is not surer for its length alone, and the bias.
        """
        found = buckets(text)
        sums: list[float] = np.add.reduce(self.weights.take(found, axis=0), axis=0).tolist()
        length = math.sqrt(len(found))
        return [total / length + bias for total, bias in zip(sums, self.bias, strict=True)]

    def pooled(self, probabilities: FloatArray, text: str) -> FloatArray:
        """The network's probabilities pooled with those of the n-grams.

        A logarithmic opinion pool (Heskes 1998): the logarithms of the one and the scores of the
        other are added up, each times its weight, and normalised. The weights need not sum to 1, so
        they act as a temperature, too.

        Args:
            probabilities: the network's, of a task in which one label holds, (labels,).
            text: the cleaned text of the same window.

        Returns:
            Probabilities that sum to 1, (labels,).
        """
        # Plain numbers: for a handful of them, numpy takes ten times as long.
        network, own = self.pool_weights
        logits = [
            network * math.log(max(probability, LEAST_PROBABILITY)) + own * score
            for probability, score in zip(probabilities.tolist(), self.scores(text), strict=True)
        ]
        top = max(logits)
        powers = [math.exp(logit - top) for logit in logits]
        total = sum(powers)
        return np.array([power / total for power in powers], np.float32)


def _unreadable(path: Path, reason: str) -> ArtifactError:
    msg = f"cannot read the character n-grams {path}: {reason}; install the artifact again"
    return ArtifactError(msg)
