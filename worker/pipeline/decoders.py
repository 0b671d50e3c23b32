"""From the encoder's states to labels, their loss and their probabilities.

The gold of both classifiers is one number per label: 1 if the label holds, 0 if not, in between the
probability that it holds, and `UNKNOWN` if the source says nothing.
"""

import math
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.pipeline.crf import TAGS, LinearChainCrf
from worker.pipeline.records import Candidate, Encoded, Prediction
from worker.pipeline.token_ngrams import TokenNgrams

UNKNOWN: Final = -1
ABSENT: Final = 0.2
"""Prior of a class in a source that was collected without it, relative to its prior elsewhere."""
LONGEST_PHRASE: Final = 12
"""Most tokens of a keyword."""
LEAST_CANDIDATE: Final = 0.02
"""Spans below this probability are not candidates."""


class Decoder(nn.Module):
    """What a task adds to the encoder."""

    def loss(self, encoded: Encoded, gold: Tensor) -> Tensor:
        """Mean loss of a micro-batch.

        Args:
            encoded: the micro-batch.
            gold: the task's gold, (batch, labels) or (batch, time).

        Returns:
            A scalar.
        """
        raise NotImplementedError

    def predict(self, encoded: Encoded) -> list[Prediction]:
        """One prediction per row."""
        raise NotImplementedError


class Classifier(Decoder):
    """Pools the states and scores each label; subclasses choose the link function."""

    def __init__(
        self, vocabulary: int, states: int, labels: int, dropout: float, temperatures: int
    ) -> None:
        super().__init__()
        self.ngrams = TokenNgrams(vocabulary, labels)
        self.attention = nn.Linear(states, states, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(3 * states, labels)
        self.register_buffer("temperature", torch.ones(temperatures))

    def logits(self, encoded: Encoded) -> Tensor:
        """Score per label before the link function and calibration, (batch, labels)."""
        pooled: Tensor = self.dropout(self._pool(encoded.states, encoded.mask))
        scores: Tensor = self.output(pooled) + self.ngrams(encoded.ids, encoded.mask)
        return scores

    def _pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Attention, maximum and mean over the tokens, (batch, 3 * states).

        The attention is the `general` form of Luong et al. (2015), with the mean as the query.
        """
        # Matrix products where possible: on the CPU each takes a fraction of the time of masking.
        share = (mask / mask.sum(1, keepdim=True)).to(states.dtype)
        outside = torch.zeros_like(share).masked_fill_(~mask, -torch.inf)
        mean = (share[:, None, :] @ states).squeeze(1)
        maximum = (states + outside[:, :, None]).amax(1)
        match = (states * self.attention(mean)[:, None, :]).sum(2)  # (batch, time)
        weight = torch.softmax(match + outside, dim=1)
        context = (weight[:, None, :] @ states).squeeze(1)
        return torch.cat([context, maximum, mean], dim=1)


def softmax_loss(logits: Tensor, gold: Tensor) -> Tensor:
    """Cross-entropy; a label that the row's source lacks counts `ABSENT` times as much as others.

    A source without neutral reviews says little about neutral ones, but not nothing: that a review
    was kept as positive says that it is not neutral (Saerens et al. 2002, prior shift).

    Args:
        logits: (batch, labels).
        gold: 1 for the label and 0 for others, or the probability of each; `UNKNOWN` for those
            that the source lacks.
    """
    priors = torch.where(gold == UNKNOWN, math.log(ABSENT), 0.0)
    return functional.cross_entropy(logits + priors, gold.clamp(min=0).to(logits.dtype))


def sigmoid_loss(logits: Tensor, gold: Tensor) -> Tensor:
    """Binary cross-entropy over annotated labels; the others get no gradient.

    Args:
        logits: (batch, labels).
        gold: 1 if a label holds and 0 if not, or its probability; `UNKNOWN` if that is not known.
    """
    known = gold != UNKNOWN
    losses = functional.binary_cross_entropy_with_logits(
        logits, gold.clamp(min=0).to(logits.dtype), reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)


class SoftmaxDecoder(Classifier):
    """Exactly one label holds."""

    def __init__(self, vocabulary: int, states: int, labels: int, dropout: float) -> None:
        super().__init__(vocabulary, states, labels, dropout, temperatures=1)

    def loss(self, encoded: Encoded, gold: Tensor) -> Tensor:
        """See `softmax_loss`."""
        return softmax_loss(self.logits(encoded), gold)

    def predict(self, encoded: Encoded) -> list[Prediction]:
        """Label probabilities of each row, (labels,)."""
        scores = torch.softmax(self.logits(encoded) / self.get_buffer("temperature"), dim=1)
        return list(scores.float().cpu().numpy())


class SigmoidDecoder(Classifier):
    """Any number of labels hold, each on its own."""

    def __init__(self, vocabulary: int, states: int, labels: int, dropout: float) -> None:
        super().__init__(vocabulary, states, labels, dropout, temperatures=labels)

    def loss(self, encoded: Encoded, gold: Tensor) -> Tensor:
        """See `sigmoid_loss`."""
        return sigmoid_loss(self.logits(encoded), gold)

    def predict(self, encoded: Encoded) -> list[Prediction]:
        """Probability per label of each row, (labels,)."""
        scores = torch.sigmoid(self.logits(encoded) / self.get_buffer("temperature"))
        return list(scores.float().cpu().numpy())


class CrfDecoder(Decoder):
    """Tags tokens as outside, begin or inside of a keyword."""

    def __init__(self, states: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(states, TAGS)
        self.crf = LinearChainCrf()

    def loss(self, encoded: Encoded, gold: Tensor) -> Tensor:
        """Negative log-likelihood per token; `gold` holds tags, any value in the padding."""
        emissions = self.output(self.dropout(encoded.states))
        tags = gold.long().masked_fill(~encoded.mask, 0)
        likelihood = self.crf.log_likelihood(emissions, tags, encoded.mask)
        return -likelihood.sum() / encoded.mask.sum()

    def predict(self, encoded: Encoded) -> list[Prediction]:
        """Candidates of each row with their probability, in the order of the text."""
        emissions = self.output(self.dropout(encoded.states))
        spans = self.crf.span_probabilities(emissions, encoded.mask, LONGEST_PHRASE)
        rows, firsts, lengths = torch.nonzero(spans >= LEAST_CANDIDATE, as_tuple=True)
        scores = spans[rows, firsts, lengths].clamp(max=1)
        candidates: list[Prediction] = [[] for _ in range(len(spans))]
        for row, first, length, score in zip(
            rows.tolist(), firsts.tolist(), lengths.tolist(), scores.tolist(), strict=True
        ):
            cast("list[Candidate]", candidates[row]).append(
                Candidate(first, first + length + 1, score)
            )
        return candidates
