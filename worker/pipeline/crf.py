"""A linear-chain conditional random field over BIO tags (Lafferty et al. 2001; Lample et al. 2016).

Besides the likelihood it gives the exact probability of every short span, so that a phrase the
best path leaves out is still a candidate with a score.
"""

from typing import Final

import torch
from torch import Tensor, nn

OUTSIDE: Final = 0
BEGIN: Final = 1
INSIDE: Final = 2
TAGS: Final = 3

_FORBIDDEN: Final = -1e4
"""Log potential of what BIO rules out; finite, so that no gradient turns into NaN."""


class LinearChainCrf(nn.Module):
    """Scores tag sequences by emissions and transitions.

    A phrase is a BEGIN followed by any number of INSIDE. INSIDE neither starts a sequence nor
    follows OUTSIDE.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(TAGS))
        self.end = nn.Parameter(torch.zeros(TAGS))
        self.transition = nn.Parameter(torch.zeros(TAGS, TAGS))
        start_rule, rule = torch.zeros(TAGS), torch.zeros(TAGS, TAGS)
        start_rule[INSIDE] = rule[OUTSIDE, INSIDE] = _FORBIDDEN
        self.register_buffer("_start_rule", start_rule, persistent=False)
        self.register_buffer("_rule", rule, persistent=False)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Log probability of each row's tags.

        Args:
            emissions: (batch, time, TAGS).
            tags: (batch, time), 0 where `mask` is False.
            mask: (batch, time), True for tokens; tokens come before padding.

        Returns:
            (batch,), at most 0.
        """
        return self._path_score(emissions, tags, mask) - self.log_partition(emissions, mask)

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Log of the summed potentials of all paths, (batch,)."""
        last = self._forward_scores(emissions, mask)[-1]
        return torch.logsumexp(last + self.end, dim=-1)

    def span_log_probabilities(self, emissions: Tensor, mask: Tensor, longest: int) -> Tensor:
        """Log probability that a phrase is exactly the tokens `[first, first + length)`.

        Args:
            emissions: (batch, time, TAGS).
            mask: (batch, time), True for tokens.
            longest: most tokens of a phrase, at least 1.

        Returns:
            (batch, time, longest), for each first token and each length less one; very negative
            where the span leaves the row.
        """
        _, time, _ = emissions.shape
        alpha = torch.stack(self._forward_scores(emissions, mask), dim=1)
        closing = self._closing_scores(emissions, mask)
        partition = torch.logsumexp(alpha[:, -1] + self.end, dim=-1)
        transition = self._transitions()
        # Potential of all paths up to the last token of the span, which grows by one a turn.
        reach = alpha[:, :, BEGIN]
        spans = []
        for length in range(min(longest, time)):
            if length:
                tag = BEGIN if length == 1 else INSIDE
                step = transition[tag, INSIDE] + emissions[:, length:, INSIDE]
                reach = reach[:, : time - length] + step
            tag = INSIDE if length else BEGIN
            inside = mask[:, length:]
            score = reach + closing[:, length:, tag] - partition[:, None]
            score = score.masked_fill(~inside, _FORBIDDEN)
            spans.append(nn.functional.pad(score, (0, length), value=_FORBIDDEN))
        spans += [torch.full_like(spans[0], _FORBIDDEN)] * (longest - len(spans))
        return torch.stack(spans, dim=-1)

    def _transitions(self) -> Tensor:
        return self.transition + self._buffer("_rule")

    def _starts(self) -> Tensor:
        return self.start + self._buffer("_start_rule")

    def _buffer(self, name: str) -> Tensor:
        return self.get_buffer(name)

    def _path_score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        emitted = emissions.gather(2, tags[:, :, None]).squeeze(2) * mask
        moved = self._transitions()[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]
        last = tags.gather(1, mask.sum(dim=1, keepdim=True) - 1).squeeze(1)
        return emitted.sum(1) + moved.sum(1) + self._starts()[tags[:, 0]] + self.end[last]

    def _forward_scores(self, emissions: Tensor, mask: Tensor) -> list[Tensor]:
        """Per position the log potential of all paths that end there in each tag: (batch, TAGS).

        Padding carries the last token's value on.
        """
        transition = self._transitions()
        alpha = [self._starts() + emissions[:, 0]]
        for emission, inside in zip(emissions.unbind(1)[1:], mask.unbind(1)[1:], strict=True):
            step = torch.logsumexp(alpha[-1][:, :, None] + transition, dim=1) + emission
            alpha.append(torch.where(inside[:, None], step, alpha[-1]))
        return alpha

    def _closing_scores(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Log potential of all continuations after a position that do not prolong its phrase.

        Returns:
            (batch, time, TAGS), by the tag at the position.
        """
        batch, time, _ = emissions.shape
        transition = self._transitions()
        closing_transition = transition.clone()
        closing_transition[:, INSIDE] = _FORBIDDEN
        final = self.end.expand(batch, TAGS)
        beta, closing = final, [final]
        for position in range(time - 1, 0, -1):
            inside = mask[:, position, None]
            following = (emissions[:, position] + beta)[:, None, :]
            closed = torch.logsumexp(closing_transition + following, dim=-1)
            closing.append(torch.where(inside, closed, final))
            step = torch.logsumexp(transition + following, dim=-1)
            beta = torch.where(inside, step, final)
        return torch.stack(closing[::-1], dim=1)
