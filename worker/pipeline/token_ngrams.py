"""A linear model over tokens and their pairs, the wide part of a classifier."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.pipeline.records import PAD

BUCKETS: Final = 131_071
"""A prime; pairs that fall into one bucket share their scores."""
_MULTIPLIER: Final = 48_271
_GAIN: Final = 3.0
"""Without it, scores of rare pairs learn too slowly beside the network, which every text moves."""
_HIDDEN: Final = 0.3
"""Share of training texts whose n-gram scores are hidden, so that the network learns without."""


class TokenNgrams(nn.Module):
    """A logit per label, summed over the tokens of a text and over pairs of neighbouring tokens.

    As the wide part of a wide and deep model (Cheng et al. 2016), it remembers phrases that are too
    rare for the network to generalise from. Pairs are hashed as in fastText (Joulin et al. 2017).

    Args:
        vocabulary: number of token ids.
        labels: number of labels.
    """

    def __init__(self, vocabulary: int, labels: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.scores = nn.Embedding(vocabulary + BUCKETS, labels, padding_idx=PAD)
        nn.init.zeros_(self.scores.weight)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Score a micro-batch, (batch, labels).

        Args:
            ids: token ids, (batch, time).
            mask: (batch, time), True for tokens.
        """
        pairs = self.vocabulary + (ids[:, :-1] * _MULTIPLIER + ids[:, 1:]) % BUCKETS
        entries = torch.cat([ids * mask, pairs * mask[:, 1:]], dim=1)  # `PAD` outside the text
        total = functional.embedding_bag(entries, self.scores.weight, mode="sum", padding_idx=PAD)
        total = total * (_GAIN / mask.sum(1, keepdim=True).sqrt())
        if not self.training:
            return total
        return total * (torch.rand(len(total), 1, device=total.device) >= _HIDDEN)
