"""A linear model over the character n-grams of a text, beside the network.

It sees what words and subwords hide: endings, misspellings, characters that several words share.
Its errors differ from the network's, so the two together make fewer. See
docs/decisions/0017-character-ngrams.md for what was measured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from schema.errors import ArtifactError
from worker.pipeline.records import FloatArray

LONGEST: Final = 4
"""Characters of the longest n-gram."""

BITS: Final = 18
"""N-grams fall into 2 ** BITS buckets; those of one bucket share their weights."""

LEAST_PROBABILITY: Final = 1e-9
"""Lower probabilities count as this one, so that each has a logarithm."""

FloatT = TypeVar("FloatT", np.float32, np.float64)

_BASE: Final = np.uint32(0x9E3779B1)
"""A prime near 2³² divided by the golden ratio: base of a polynomial hash, modulo 2³²."""
_SPREAD: Final = np.uint32(0x85EBCA6B)
"""Multiplier of MurmurHash3: brings differences into the high bits, which are kept."""
_DOWN: Final = np.uint32(32 - BITS)
_MASK: Final = np.uint32(2**BITS - 1)

_STORED: Final = np.float16
"""Precision of weights in a file."""

_MOST_CHARACTERS: Final = 200_000
"""Most characters that are processed together; a longer text is processed alone."""
_MOST_TEXTS: Final = 4096


class Buckets(NamedTuple):
    """The buckets of the character n-grams of some texts.

    Attributes:
        ids: numbers below 2 ** BITS, text after text, each once per text, (buckets,).
        counts: how many buckets each text has, at least one, (texts,).
    """

    ids: NDArray[np.uint32]
    counts: NDArray[np.intp]


def buckets(texts: Sequence[str]) -> Buckets:
    """The buckets of all character n-grams of each text, n from 1 to 4 (Bojanowski et al. 2017).

    Args:
        texts: cleaned texts, fewer than 2 ** (32 - BITS). A blank is added before and after each,
            so that n-grams at its ends differ from those inside.
    """
    codes = np.frombuffer("".join(f" {text} " for text in texts).encode("utf-32-le"), np.uint32)
    lengths = [len(text) + 2 for text in texts]
    owners = np.arange(len(texts), dtype=np.uint32).repeat(lengths)
    hashes, parts = codes, [_keys(codes, owners)]
    for longer in range(1, LONGEST):
        hashes = hashes[:-1] * _BASE + codes[longer:]
        inside = owners[longer:] == owners[:-longer]
        parts.append(_keys(hashes[inside], owners[longer:][inside]))
    keys = np.concatenate(parts)
    keys.sort()
    first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    keys = keys[first]
    return Buckets(keys & _MASK, np.bincount(keys >> np.uint32(BITS), minlength=len(texts)))


def _keys(hashes: NDArray[np.uint32], owners: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The text of each n-gram in the high bits, its bucket in the low ones."""
    return np.asarray((owners << np.uint32(BITS)) | (hashes * _SPREAD >> _DOWN))


@dataclass(frozen=True, slots=True)
class CharacterNgrams:
    """Scores labels by a text's character n-grams, and pools them with a network's probabilities.

    Attributes:
        weights: of each label in each bucket, (2 ** BITS, labels).
        bias: one per label.
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
        except (KeyError, ValueError, SafetensorError) as error:
            raise _unreadable(path, repr(error)) from error
        if weights.shape != (2**BITS, len(bias)):
            raise _unreadable(path, f"its weights are of shape {weights.shape}")
        if not all(np.isfinite(part).all() for part in stored.values()):
            raise _unreadable(path, "not all of its numbers are finite")
        return cls(weights, bias.tolist(), (network, own))

    def rounded(self) -> "CharacterNgrams":
        """The same with weights as `save` stores them, so that what is measured is what ships."""
        return replace(self, weights=self.weights.astype(_STORED).astype(np.float32))

    def save(self, path: Path) -> None:
        """Write the weights, as float16, and the rest."""
        weights = self.weights.astype(_STORED)
        rest = {"bias": np.array(self.bias), "pool_weights": np.array(self.pool_weights)}
        path.write_bytes(save({"weights": weights, **rest}))

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """Scores that the link function turns into probabilities, (texts, labels).

        The sum of the weights of a text's buckets, divided by the square root of their number, plus
        the bias: a long text is not surer for its length alone. No text influences another.
        """
        blocks = [self._block(texts[first:last]) for first, last in _blocks(texts)]
        return np.concatenate([np.empty((0, len(self.bias)), np.float32), *blocks])

    def _block(self, texts: Sequence[str]) -> FloatArray:
        ids, counts = buckets(texts)
        sums = np.add.reduceat(self.weights.take(ids, axis=0), counts.cumsum() - counts, axis=0)
        lengths = np.sqrt(counts, dtype=np.float32)[:, None]
        return np.asarray(sums / lengths + np.array(self.bias, np.float32))

    def pooled(self, probabilities: FloatArray, texts: Sequence[str]) -> FloatArray:
        """The network's probabilities pooled with those of the n-grams, see `pool`.

        Args:
            probabilities: the network's, for a task in which one label holds, (texts, labels).
            texts: the cleaned text of each window.

        Returns:
            Probabilities, (texts, labels); rows sum to 1.
        """
        return pool(probabilities, self.logits(texts), self.pool_weights)


def pool(
    probabilities: NDArray[FloatT], logits: FloatArray, weights: tuple[float, float]
) -> NDArray[FloatT]:
    """A logarithmic opinion pool (Heskes 1998) of a network and of character n-grams.

    The logarithms of the network's probabilities and the logits of the n-grams are added up, each
    times its weight, and normalised. The weights need not sum to 1, so they act as a temperature.

    Args:
        probabilities: the network's, (texts, labels).
        logits: `CharacterNgrams.logits`, (texts, labels).
        weights: how much the network counts, and how much the n-grams do.

    Returns:
        Probabilities, (texts, labels); rows sum to 1.
    """
    network, own = weights
    known = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
    return softmax(network * known + own * logits)


def softmax(logits: NDArray[FloatT]) -> NDArray[FloatT]:
    """Probabilities of the same shape and precision, (rows, labels); rows sum to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _blocks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of texts that are processed together, so that memory is bounded."""
    first = characters = 0
    for index, text in enumerate(texts):
        full = index - first == _MOST_TEXTS or characters + len(text) > _MOST_CHARACTERS
        if index > first and full:
            yield first, index
            first, characters = index, 0
        characters += len(text)
    if texts:
        yield first, len(texts)


def _unreadable(path: Path, reason: str) -> ArtifactError:
    msg = f"cannot read the character n-grams {path}: {reason}; install the artifact again"
    return ArtifactError(msg)
