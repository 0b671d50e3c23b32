"""Keywords that do not stand in the text: an attention decoder that may copy (Meng et al. 2017).

It reads the states of the tagger's encoder and shares its token vectors. A document's phrases are
one sequence: words of a phrase are parted by BLANK, phrases by NEXT, and END closes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import torch
from torch import Tensor, nn

END: Final = 0
NEXT: Final = 1
BLANK: Final = 2
SIGNS: Final = 3
"""Signs follow the vocabulary: sign `s` has the id `vocabulary + s`."""

MOST_TOKENS: Final = 40
"""Tokens and signs that are generated for a window."""

_LEAST: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Generated:
    """A phrase that was generated.

    Attributes:
        ids: vocabulary entries of each of its words, no word empty.
        score: geometric mean of the probabilities of its tokens.
    """

    ids: tuple[tuple[int, ...], ...]
    score: float


class Generator(nn.Module):
    """Decodes phrases from encoder states.

    Args:
        embedding: the encoder's token vectors, (vocabulary, size); shared, and not a part of this
            module's own weights.
        states: size of an encoder state.
    """

    def __init__(self, embedding: nn.Embedding, states: int) -> None:
        super().__init__()
        size = embedding.embedding_dim
        self.vocabulary = embedding.num_embeddings
        self._shared = (embedding,)  # in a tuple, so that it is not registered
        self.signs = nn.Parameter(torch.randn(SIGNS, size) * 0.1)
        self.start = nn.Linear(states, states)
        self.cell = nn.GRUCell(size + states, states)
        self.attention = nn.Linear(states, states, bias=False)
        self.output = nn.Linear(2 * states, size)
        self.bias = nn.Parameter(torch.zeros(self.vocabulary + SIGNS))
        self.copy = nn.Linear(2 * states, 1)

    def loss(self, states: Tensor, mask: Tensor, ids: Tensor, goal: Tensor) -> Tensor:
        """Mean negative log-likelihood of a goal's tokens, a scalar.

        Args:
            states: encoder states, (batch, time, states).
            mask: (batch, time), True for tokens.
            ids: token ids of the text, (batch, time).
            goal: tokens and signs, (batch, steps), -1 after END.
        """
        vectors, hidden = self._vectors(), self._first(states, mask)
        context = torch.zeros_like(hidden)
        given = torch.full_like(goal[:, 0], self.vocabulary + NEXT)
        losses = []
        for step in goal.unbind(1):
            hidden, context, chances = self._step(
                vectors, given, (hidden, context), (states, mask, ids)
            )
            wanted = step.clamp(min=0)
            chosen = chances.gather(1, wanted[:, None]).squeeze(1)
            losses.append(-chosen.clamp(min=_LEAST).log() * (step >= 0))
            given = wanted
        return torch.stack(losses).sum() / (goal >= 0).sum()

    @torch.inference_mode()
    def generate(self, states: Tensor, mask: Tensor, ids: Tensor) -> list[list[Generated]]:
        """The likeliest next token, again and again: the phrases of each row, in their order.

        Rows do not influence each other; each ends at END or after `MOST_TOKENS`.
        """
        vectors, hidden = self._vectors(), self._first(states, mask)
        context = torch.zeros_like(hidden)
        given = torch.full((len(ids),), self.vocabulary + NEXT, device=ids.device)
        tokens, scores = [], []
        open_rows = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
        for _ in range(MOST_TOKENS):
            hidden, context, chances = self._step(
                vectors, given, (hidden, context), (states, mask, ids)
            )
            chance, given = chances.max(dim=1)
            tokens.append(given)
            scores.append(chance)
            open_rows = open_rows & (given != self.vocabulary + END)
            if not open_rows.any():
                break
        return [
            self._phrases(row, chances)
            for row, chances in zip(
                torch.stack(tokens, 1).tolist(), torch.stack(scores, 1).tolist(), strict=True
            )
        ]

    def _vectors(self) -> Tensor:
        """Of every token and sign, (vocabulary + SIGNS, size)."""
        return torch.cat([self._shared[0].weight, self.signs])

    def _first(self, states: Tensor, mask: Tensor) -> Tensor:
        inside = mask[:, :, None]
        return torch.tanh(self.start((states * inside).sum(1) / inside.sum(1)))

    def _step(
        self,
        vectors: Tensor,
        given: Tensor,
        memory: tuple[Tensor, Tensor],
        source: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One token further: the state, what was attended to, and (batch, tokens) probabilities."""
        hidden, context = memory
        states, mask, ids = source
        hidden = self.cell(torch.cat([vectors[given], context], dim=1), hidden)
        match = (states @ self.attention(hidden)[:, :, None]).squeeze(2)  # (batch, time)
        weight = torch.softmax(match.masked_fill(~mask, -torch.inf), dim=1)
        context = (weight[:, None, :] @ states).squeeze(1)
        both = torch.cat([hidden, context], dim=1)
        made = torch.softmax(torch.tanh(self.output(both)) @ vectors.T + self.bias, dim=1)
        copies = torch.sigmoid(self.copy(both))  # (batch, 1)
        chances = ((1 - copies) * made).scatter_add(1, ids, copies * weight)
        return hidden, context, chances

    def _phrases(self, row: Sequence[int], chances: Sequence[float]) -> list[Generated]:
        end = self.vocabulary + END
        length = row.index(end) if end in row else len(row)
        pairs = list(zip(row[:length], chances[:length], strict=True))
        parts = [
            list(part)
            for is_border, part in groupby(pairs, lambda pair: pair[0] == self.vocabulary + NEXT)
            if not is_border
        ]
        if end not in row and parts:
            parts.pop()  # it was cut off
        return [phrase for part in parts if (phrase := self._phrase(part)).ids]

    def _phrase(self, part: Sequence[tuple[int, float]]) -> Generated:
        words = groupby(part, lambda pair: pair[0] == self.vocabulary + BLANK)
        ids = tuple(tuple(token for token, _ in word) for is_blank, word in words if not is_blank)
        logs = torch.tensor([chance for _, chance in part]).clamp(_LEAST, 1).log()
        return Generated(ids, float(logs.mean().exp()))
