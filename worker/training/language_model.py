"""The network that learns language: an encoder that predicts tokens in both directions."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from worker.pipeline.batch import BUDGET, micro_batches, pad
from worker.pipeline.model import Encoder, ModelConfig, Network, token_mask
from worker.pipeline.records import IntArray

NOISE_TOKENS: Final = 512
"""Noise tokens drawn per step; the model learns to tell every target of the step from them."""
NOISE_POWER: Final = 0.75
"""Noise tokens are drawn by frequency to this power (Mikolov et al. 2013)."""


class LanguageModel(Network):
    """Predicts each token from the text to its left, and from the text to its right.

    The softmax over the vocabulary is sampled: targets compete with tokens drawn by frequency, and
    scores are corrected for how often their tokens are drawn (Bengio & Senécal 2008, Jean et al.
    2015). Output and input share their vectors (Press & Wolf 2017).

    Args:
        config: shape of the encoder.
        counts: how often each token occurs in training, (vocabulary,).
    """

    def __init__(self, config: ModelConfig, counts: NDArray[np.integer]) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.right = nn.Linear(config.hidden, config.embedding)
        self.left = nn.Linear(config.hidden, config.embedding)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        share = torch.from_numpy(np.maximum(counts, 1e-3) ** NOISE_POWER).float()
        self.register_buffer("share", share / share.sum(), persistent=False)

    def loss(self, ids: Tensor, lengths: Tensor, gold: Tensor) -> Tensor:  # noqa: ARG002
        """Mean sampled cross-entropy of both directions; the text itself is the gold."""
        guesses, targets = self._guesses(ids, lengths)
        share = self.get_buffer("share")
        noise = torch.multinomial(share, NOISE_TOKENS, replacement=True)
        vectors, drawn = self.encoder.embedding.weight, (share * NOISE_TOKENS).log()
        bias = self.bias - drawn
        right = (guesses * vectors[targets]).sum(1) + bias[targets]
        wrong = guesses @ vectors[noise].T + bias[noise]  # (targets, noise)
        wrong = wrong.masked_fill(noise == targets[:, None], -torch.inf)
        scores = torch.cat([right[:, None], wrong], dim=1)
        return functional.cross_entropy(scores, torch.zeros_like(targets))

    @torch.inference_mode()
    def mean_token_probability(self, windows: list[IntArray]) -> float:
        """Geometric mean of the probability of a token, over the whole vocabulary."""
        lost, count = 0.0, 0
        for rows in micro_batches([len(window) for window in windows], BUDGET):
            guesses, targets = self._guesses(*pad([windows[row] for row in rows]))
            scores = guesses @ self.encoder.embedding.weight.T + self.bias
            lost += functional.cross_entropy(scores, targets, reduction="sum").item()
            count += len(targets)
        return float(np.exp(-lost / count))

    def _guesses(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Guessed vectors of the tokens to predict, (targets, embedding), and these tokens."""
        ahead, back = self.encoder(ids, lengths).chunk(2, dim=2)
        inside = token_mask(ids, lengths)[:, 1:]  # both neighbours are tokens
        guesses = [self.right(ahead[:, :-1][inside]), self.left(back[:, 1:][inside])]
        return torch.cat(guesses), torch.cat([ids[:, 1:][inside], ids[:, :-1][inside]])
