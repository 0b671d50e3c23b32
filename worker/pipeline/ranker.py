"""Scores a document's phrases by more than the tagger knows.

The tagger sees one occurrence in its sentence. Whether a phrase is a keyword also depends on where
and how often it occurs in the document, on its rivals there, and on how often such words are
keywords at all (Witten et al. 1999, KEA). A small network weighs these, beside a linear model over
the words at the ends of a phrase and next to it ("wide and deep", Cheng et al. 2016).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from schema.errors import ArtifactError
from worker.pipeline.keyword_counts import KeywordCounts
from worker.pipeline.phrase_features import DENSE, Features, features
from worker.pipeline.phrase_hashes import NO_BUCKET
from worker.pipeline.records import FloatArray, Layout, Phrase, TokenizedDocument

MOST_PHRASES: Final = 64
"""Most phrases of a document that are ranked, the tagger's best; bounds the work."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A network with one hidden layer over standardised dense features, and weights of buckets.

    Attributes:
        mean: mean of each dense feature, (DENSE,).
        scale: standard deviation of each dense feature, (DENSE,).
        hidden: weights of the hidden layer, (DENSE, units).
        hidden_bias: bias of the hidden layer, (units,).
        output: weights of the output, (units,).
        output_bias: bias of the output, (1,).
        buckets: weight of each bucket, (NO_BUCKET + 1,); the last, of `NO_BUCKET`, is 0.
        missed: average number of a document's keywords that are not among its phrases, (1,).
    """

    mean: FloatArray
    scale: FloatArray
    hidden: FloatArray
    hidden_bias: FloatArray
    output: FloatArray
    output_bias: FloatArray
    buckets: FloatArray
    missed: FloatArray

    def __call__(self, given: Features) -> FloatArray:
        """Probability that each phrase is a keyword, (phrases,)."""
        scaled = ((given.dense - self.mean) / self.scale).clip(-4, 4)
        deep = np.tanh(scaled @ self.hidden + self.hidden_bias) @ self.output + self.output_bias
        logits = deep + self.buckets[given.buckets].sum(axis=1)
        return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)

    @property
    def fits(self) -> bool:
        """Whether its shapes fit the features that this version computes."""
        return len(self.mean) == len(self.hidden) == DENSE and len(self.buckets) == NO_BUCKET + 1


class Ranker:
    """Counts and weights of one artifact."""

    def __init__(self, counts: KeywordCounts, weights: Weights) -> None:
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
            counts = KeywordCounts(
                **{item.name: stored[item.name] for item in fields(KeywordCounts)}
            )
            weights = Weights(**{item.name: stored[item.name] for item in fields(Weights)})
        except SafetensorError as error:
            msg = f"cannot read the ranker {path}: {error!r}; install the artifact again"
            raise ArtifactError(msg) from error
        except KeyError as error:
            raise _of_another_version(path) from error
        if not weights.fits:
            raise _of_another_version(path)
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

    def rank(
        self, document: TokenizedDocument, phrases: Sequence[Phrase], layout: Layout
    ) -> list[Phrase]:
        """The tagger's best phrases with the ranker's scores, best first.

        Args:
            document: the document, with spans.
            phrases: best first.
            layout: the document's layout.
        """
        chosen = phrases[:MOST_PHRASES]
        if not chosen:
            return []
        scores = self.weights(features(document, chosen, layout, self.counts)).tolist()
        rescored = [
            phrase._replace(score=score) for phrase, score in zip(chosen, scores, strict=True)
        ]
        return sorted(rescored, key=lambda phrase: (-phrase.score, phrase.text))


def _of_another_version(path: Path) -> ArtifactError:
    msg = f"the ranker {path} is of another version of Textmill; train the artifact again"
    return ArtifactError(msg)
