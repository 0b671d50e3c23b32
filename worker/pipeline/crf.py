"""A linear-chain conditional random field over BIO tags (Lafferty et al. 2001; Lample et al. 2016).

Besides the likelihood it computes the exact probability of every short span, so that a phrase that
is not on the best path is still a candidate with a score.
"""

from typing import Final

import torch
from torch import Tensor, nn

from worker.pipeline.scripted import scripted

OUTSIDE: Final = 0
BEGIN: Final = 1
INSIDE: Final = 2
TAGS: Final = 3

_FORBIDDEN: Final = -1e4
"""Log potential of what the BIO scheme rules out; finite, so that no gradient turns into NaN."""

_LEAST: Final = -300.0
"""Log potential of an emission, relative to the token's best, below which it does not matter."""


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

    def span_probabilities(self, emissions: Tensor, mask: Tensor, longest: int) -> Tensor:
        """Probability that a phrase is exactly the tokens `[first, first + length)`.

        Computed on the CPU: it is much less work than the emissions were, in many small steps.
        Potentials are kept without logarithm, in float64, and scaled at every token (Rabiner 1989,
        section V.A).

        Args:
            emissions: (batch, time, TAGS).
            mask: (batch, time), True for tokens.
            longest: most tokens of a phrase, at least 1.

        Returns:
            (batch, time, longest): by first token and by length minus one; 0 if the span leaves
            the row.
        """
        inside = mask.T.cpu()  # (time, batch)
        given = emissions.detach().transpose(0, 1).cpu().double()
        scaled = (given - given.amax(2, keepdim=True)).clamp_(min=_LEAST).exp_()
        step = self._transitions().detach().cpu().double().exp()
        start = self._starts().detach().cpu().double().exp()
        end = self.end.detach().cpu().double().exp()
        ahead, scales = scripted(forward_shares)(scaled, inside, start, step)
        # Each token's potential in the scale of the forward shares; 0 in the padding.
        scaled = scaled / scales * inside[:, :, None]
        last = inside.sum(0) - 1
        rows = torch.arange(len(last))
        final = torch.zeros_like(scaled)
        final[last, rows] = end / (ahead[last, rows] @ end)[:, None]
        behind = scripted(backward_shares)(scaled, final, step)
        # Only continuations that do not prolong a phrase.
        closed = step.clone()
        closed[:, INSIDE] = 0
        closing = final
        closing[:-1] += (scaled[1:] * behind[1:]) @ closed.T
        return _spans(ahead, scaled, closing, step, longest).permute(1, 0, 2)

    def _transitions(self) -> Tensor:
        return self.transition + self.get_buffer("_rule")

    def _starts(self) -> Tensor:
        return self.start + self.get_buffer("_start_rule")

    def _path_score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        emitted = emissions.gather(2, tags[:, :, None]).squeeze(2) * mask
        moved = self._transitions()[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]
        last = tags.gather(1, mask.sum(dim=1, keepdim=True) - 1).squeeze(1)
        return emitted.sum(1) + moved.sum(1) + self._starts()[tags[:, 0]] + self.end[last]

    def _forward_scores(self, emissions: Tensor, mask: Tensor) -> list[Tensor]:
        """For each position, the log potential of all paths up to it by last tag: (batch, TAGS).

        Padding repeats the last token's value.
        """
        transition = self._transitions()
        alpha = [self._starts() + emissions[:, 0]]
        for emission, inside in zip(emissions.unbind(1)[1:], mask.unbind(1)[1:], strict=True):
            step = torch.logsumexp(alpha[-1][:, :, None] + transition, dim=1) + emission
            alpha.append(torch.where(inside[:, None], step, alpha[-1]))
        return alpha


def forward_shares(
    scaled: Tensor, inside: Tensor, start: Tensor, step: Tensor
) -> tuple[Tensor, Tensor]:
    """Share of each tag among all paths up to a token, and the sums that were divided out.

    Args:
        scaled: potentials of the emissions, (time, batch, TAGS).
        inside: (time, batch), True for tokens; the padding's values are arbitrary.
        start: potential of each first tag, (TAGS,).
        step: potential of each pair of tags, (TAGS, TAGS).

    Returns:
        (time, batch, TAGS) and (time, batch, 1).
    """
    safe = torch.where(inside.unsqueeze(2), scaled, 1.0)
    shares, scales = torch.empty_like(scaled), scaled.new_empty(scaled.shape[0], scaled.shape[1], 1)
    share = safe[0] * start
    for time in range(scaled.shape[0]):
        if time:
            share = torch.mm(shares[time - 1], step).mul_(safe[time])
        scale = torch.sum(share, 1, keepdim=True, out=scales[time])
        torch.div(share, scale, out=shares[time])
    return shares, scales


def backward_shares(scaled: Tensor, final: Tensor, step: Tensor) -> Tensor:
    """Potential of all continuations after a token, by its tag, in the scale of the forward shares.

    Args:
        scaled: potentials of the emissions, (time, batch, TAGS), divided by the forward sums; 0 in
            the padding.
        final: (time, batch, TAGS), what the last token of a row continues with; 0 elsewhere.
        step: potential of each pair of tags, (TAGS, TAGS).

    Returns:
        (time, batch, TAGS).
    """
    shares = final.clone()
    back = step.t().contiguous()
    for time in range(scaled.shape[0] - 2, -1, -1):
        shares[time].addmm_(scaled[time + 1] * shares[time + 1], back)
    return shares


def _spans(ahead: Tensor, scaled: Tensor, closing: Tensor, step: Tensor, longest: int) -> Tensor:
    """Probability of each span, (time, batch, longest)."""
    time, batch, _ = ahead.shape
    spans = ahead.new_zeros(time, batch, longest)
    reach = ahead[:, :, BEGIN]
    for length in range(min(longest, time)):
        if length:
            before = BEGIN if length == 1 else INSIDE
            reach = reach[:-1] * (step[before, INSIDE] * scaled[length:, :, INSIDE])
        tag = INSIDE if length else BEGIN
        torch.mul(reach, closing[length:, :, tag], out=spans[: time - length, :, length])
    return spans
