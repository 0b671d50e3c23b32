"""Scores the phrases of a document by more than the tagger knows.

The tagger sees a place in its sentence. Whether a phrase is a keyword also depends on where and how
often it stands in the document, on its rivals there, and on how often such words are keywords at
all (Witten et al. 1999, KEA). A small network weighs these.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from schema.errors import ArtifactError
from worker.pipeline.records import FloatArray, Phrase, TokenizedDocument

MOST: Final = 64
"""Phrases of a document that are ranked, by the tagger's score; bounds the work."""

STEPS: Final = 12
"""Steps of a stored count from one power of two to the next."""

ByteArray = NDArray[np.uint8]
HashArray = NDArray[np.uint32]

_FAR: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Counts:
    """What the training texts say of words and of phrases; a count of 0 where a hash is missing.

    Attributes:
        texts: number of training texts, (1,).
        word_hashes: hashes of the words that are counted, ascending, (words,).
        word_texts: texts in which each stands, (words,), as `stored`.
        word_keys: texts in which it is part of a keyword, (words,), as `stored`.
        phrase_hashes: hashes of the training keywords, ascending, (phrases,).
        phrase_texts: texts in which each stands, (phrases,), as `stored`.
        phrase_keys: texts of which it is a keyword, (phrases,), as `stored`.
    """

    texts: FloatArray
    word_hashes: HashArray
    word_texts: ByteArray
    word_keys: ByteArray
    phrase_hashes: HashArray
    phrase_texts: ByteArray
    phrase_keys: ByteArray

    def without(self) -> "Counts":
        """The same with nothing counted: how a document of an unseen field looks."""
        hashes, steps = np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.uint8)
        return Counts(self.texts, hashes, steps, steps, hashes, steps, steps)


@dataclass(frozen=True, slots=True)
class Weights:
    """A network with one hidden layer over standardised features.

    Attributes:
        mean: of each feature, (features,).
        scale: standard deviation of each feature, (features,).
        hidden: (features, units).
        hidden_bias: (units,).
        output: (units,).
        output_bias: (1,).
        missed: keywords of a document that are not among its phrases, on average, (1,).
    """

    mean: FloatArray
    scale: FloatArray
    hidden: FloatArray
    hidden_bias: FloatArray
    output: FloatArray
    output_bias: FloatArray
    missed: FloatArray

    def __call__(self, features: FloatArray) -> FloatArray:
        """Probability of each row of `features` (phrases, features), (phrases,)."""
        scaled = ((features - self.mean) / self.scale).clip(-4, 4)
        logits = np.tanh(scaled @ self.hidden + self.hidden_bias) @ self.output + self.output_bias
        return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)


class Ranker:
    """Counts and weights of one artifact."""

    def __init__(self, counts: Counts, weights: Weights) -> None:
        self.counts = counts
        self.weights = weights

    @classmethod
    def load(cls, path: Path) -> "Ranker":
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is missing or broken.
        """
        try:
            stored = load_file(path)
            counts = Counts(**{item.name: stored[item.name] for item in fields(Counts)})
            weights = Weights(**{item.name: stored[item.name] for item in fields(Weights)})
        except (OSError, KeyError, SafetensorError) as error:
            msg = f"cannot read the ranker {path}: {error!r}; install the artifact again"
            raise ArtifactError(msg) from error
        return cls(counts, weights)

    def save(self, path: Path) -> None:
        """Write counts and weights as one file."""
        parts = {
            item.name: np.ascontiguousarray(getattr(part, item.name))
            for part in (self.counts, self.weights)
            for item in fields(part)
        }
        path.write_bytes(save(parts))

    @property
    def missed(self) -> float:
        """See `Weights`."""
        return float(self.weights.missed[0])

    def rank(self, document: TokenizedDocument, phrases: Sequence[Phrase]) -> list[Phrase]:
        """The best phrases of the tagger with scores of the ranker, best first.

        Args:
            document: the document, with spans.
            phrases: best first.
        """
        chosen = phrases[:MOST]
        if not chosen:
            return []
        scores = self.weights(features(document, chosen, self.counts)).tolist()
        rescored = [
            phrase._replace(score=score) for phrase, score in zip(chosen, scores, strict=True)
        ]
        return sorted(rescored, key=lambda phrase: (-phrase.score, phrase.text))


def hash_of(text: str) -> int:
    """Under what a word or phrase is counted."""
    return crc32(text.encode(errors="surrogatepass"))


def stored(counts: NDArray[np.int64]) -> ByteArray:
    """Counts as they are kept: in steps of their logarithm."""
    steps: ByteArray = np.minimum(np.rint(STEPS * np.log2(1 + counts)), 255).astype(np.uint8)
    return steps


def features(document: TokenizedDocument, phrases: Sequence[Phrase], counts: Counts) -> FloatArray:
    """What is known of each phrase, (phrases, features).

    Args:
        document: the document, with spans.
        phrases: at least one, at most `MOST`, best first.
        counts: of the training texts.
    """
    columns = [
        *_by_tagger(phrases),
        *_by_place(document, phrases),
        *_by_shape(document, phrases),
        *_by_rivals(phrases),
        *_by_phrase_counts(phrases, counts),
        *_by_word_counts(document, phrases, counts),
    ]
    return np.stack([np.broadcast_to(column, len(phrases)) for column in columns], axis=1).astype(
        np.float32
    )


def _by_tagger(phrases: Sequence[Phrase]) -> list[NDArray[np.float64]]:
    score = np.array([phrase.score for phrase in phrases])
    best = np.array([phrase.best for phrase in phrases])
    logit = _logit(score)
    return [
        logit,
        _logit(best),
        logit - logit[0],
        np.log1p(np.arange(len(phrases))),
        np.log(np.atleast_1d(score.sum()) + 0.1),
    ]


def _by_place(document: TokenizedDocument, phrases: Sequence[Phrase]) -> list[NDArray[np.float64]]:
    text = document.clean.text
    length = len(text)
    first = np.array([text.find(phrase.text) for phrase in phrases])
    last = np.array([text.rfind(phrase.text) for phrase in phrases])
    count = np.array([text.count(phrase.text) for phrase in phrases])
    size = np.array([len(phrase.text) for phrase in phrases])
    proposed = np.array([phrase.proposed for phrase in phrases])
    left = np.array([_border(text[place - 1 : place]) for place in first])
    right = np.array([_border(text[at : at + 1]) for at in first + size])
    return [
        np.log(count),
        count / math.log(2 + length),
        proposed / count,
        first / length,
        last / length,
        np.log1p(first),
        np.log1p(length - last - size),
        (last - first) / length,
        (first == 0).astype(float),
        (last > text.rfind(" ")).astype(float),
        left,
        right,
        np.atleast_1d(math.log(length)),
    ]


def _by_shape(document: TokenizedDocument, phrases: Sequence[Phrase]) -> list[NDArray[np.float64]]:
    texts = [phrase.text for phrase in phrases]
    size = np.array([len(text) for text in texts])
    return [
        np.log(size),
        np.minimum(size, 6).astype(float),
        np.array([text.count(" ") for text in texts], dtype=float),
        np.array([text[0] >= "\u3040" for text in texts], dtype=float),
        np.array([any(map(str.isdigit, text)) for text in texts], dtype=float),
        np.array([not text.replace(" ", "").isalnum() for text in texts], dtype=float),
        np.atleast_1d(float(document.clean.language == "zh")),
        np.atleast_1d(float(document.clean.language == "mixed")),
    ]


def _by_rivals(phrases: Sequence[Phrase]) -> list[NDArray[np.float64]]:
    """How many better and worse phrases hold a phrase, and how many it holds."""
    texts = [phrase.text for phrase in phrases]
    holds = np.array([[inner in outer for inner in texts] for outer in texts])  # (outer, inner)
    np.fill_diagonal(holds, val=False)
    better = np.triu(holds)  # the outer one is better
    worse = np.tril(holds)
    return [
        np.log1p(better.sum(axis=0)),
        np.log1p(worse.sum(axis=1)),
        np.log1p(worse.sum(axis=0)),
        np.log1p(better.sum(axis=1)),
    ]


def _by_phrase_counts(phrases: Sequence[Phrase], counts: Counts) -> list[NDArray[np.float64]]:
    hashes = np.array([hash_of(phrase.text) for phrase in phrases], dtype=np.uint32)
    stands, key = _look_up(hashes, counts.phrase_hashes, counts.phrase_texts, counts.phrase_keys)
    return [
        np.log1p(key),
        np.log1p(stands),
        np.log((key + 0.3) / (stands + 3)),
        (key > 0).astype(float),
    ]


def _by_word_counts(
    document: TokenizedDocument, phrases: Sequence[Phrase], counts: Counts
) -> list[NDArray[np.float64]]:
    inside, hashes = _words(document, phrases)
    stands, key = _look_up(hashes, counts.word_hashes, counts.word_texts, counts.word_keys)
    rarity = np.log((counts.texts[0] + 1) / (stands + 1))
    keyness = np.log((key + 0.5) / (stands + 5))
    number = inside.sum(axis=1)
    row = np.arange(len(phrases))
    return [
        number.astype(float),
        (rarity * inside).sum(axis=1) / number,
        np.where(inside, rarity, np.inf).min(axis=1),
        np.where(inside, rarity, -np.inf).max(axis=1),
        keyness[:, 0],
        keyness[row, number - 1],
        (keyness * inside).sum(axis=1) / number,
        np.where(inside, keyness, np.inf).min(axis=1),
    ]


def _words(
    document: TokenizedDocument, phrases: Sequence[Phrase]
) -> tuple[NDArray[np.bool_], HashArray]:
    """The words of each phrase, at least one: which places are filled, and with which hash.

    Both are (phrases, most words).
    """
    text = document.clean.text
    firsts = np.flatnonzero(np.diff(document.words, prepend=-1))
    starts, ends = (
        document.starts[firsts],
        document.ends[np.append(firsts[1:], len(document.words)) - 1],
    )
    from_word = np.searchsorted(starts, [phrase.first for phrase in phrases], side="right") - 1
    to_word = np.searchsorted(ends, [phrase.last for phrase in phrases], side="left") + 1
    most = int((to_word - from_word).max())
    words = from_word[:, None] + np.arange(most)  # (phrases, most)
    inside = words < to_word[:, None]
    at = np.zeros(words.shape, dtype=np.uint32)
    known: dict[int, int] = {}
    for row, column in zip(*np.nonzero(inside), strict=True):
        word = int(words[row, column])
        if word not in known:
            known[word] = hash_of(text[starts[word] : ends[word]])
        at[row, column] = known[word]
    return inside, at


def _logit(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    near = chance.clip(_FAR, 1 - _FAR)
    return np.asarray(np.log(near / (1 - near)))


def _look_up(hashes: HashArray, known: HashArray, *steps: ByteArray) -> list[NDArray[np.float64]]:
    """The counts of each hash, each of the shape of `hashes`."""
    if not len(known):
        return [np.zeros(hashes.shape) for _ in steps]
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    found = known[at] == hashes
    return [np.where(found, np.exp2(each[at] / STEPS) - 1, 0.0) for each in steps]


def _border(neighbour: str) -> float:
    """Whether a phrase ends here for the eye: at an end of the text or at a sign."""
    return float(not neighbour or not (neighbour.isalnum() or neighbour.isspace()))
