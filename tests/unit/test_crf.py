"""The conditional random field, compared with a sum over all tag sequences."""

from collections.abc import Sequence
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from worker.pipeline.crf import BEGIN, INSIDE, OUTSIDE, TAGS, LinearChainCrf

LENGTHS = (4, 1, 3)
LONGEST = 3


@pytest.fixture(scope="module")
def crf() -> LinearChainCrf:
    torch.manual_seed(3)
    field = LinearChainCrf()
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter)
    return field


@pytest.fixture(scope="module")
def emissions() -> Tensor:
    return torch.randn(len(LENGTHS), max(LENGTHS), TAGS, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def mask() -> Tensor:
    return torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


def paths(length: int) -> list[tuple[int, ...]]:
    """All legal tag sequences."""
    return [
        path
        for path in product(range(TAGS), repeat=length)
        if path[0] != INSIDE and not any(pair == (OUTSIDE, INSIDE) for pair in pairwise(path))
    ]


def score(crf: LinearChainCrf, emissions: Tensor, path: Sequence[int]) -> float:
    total = crf.start[path[0]] + crf.end[path[-1]]
    total = total + sum(emissions[place, tag] for place, tag in enumerate(path))
    for left, right in pairwise(path):
        total = total + crf.transition[left, right]
    return total.detach().item()


def probabilities(crf: LinearChainCrf, emissions: Tensor) -> dict[tuple[int, ...], float]:
    scores = {path: score(crf, emissions, path) for path in paths(len(emissions))}
    whole = torch.logsumexp(torch.tensor(list(scores.values())), dim=0)
    return {path: torch.exp(value - whole).detach().item() for path, value in scores.items()}


def test_likelihood_is_the_share_of_all_legal_paths(
    crf: LinearChainCrf, emissions: Tensor, mask: Tensor
) -> None:
    """Without it training would push towards something other than the gold tags."""
    tags = torch.tensor([[BEGIN, INSIDE, OUTSIDE, BEGIN], [BEGIN, 0, 0, 0], [0, BEGIN, INSIDE, 0]])

    likelihood = crf.log_likelihood(emissions, tags, mask).exp()

    expected = [
        probabilities(crf, emissions[row, :length])[tuple(tags[row, :length].tolist())]
        for row, length in enumerate(LENGTHS)
    ]
    assert likelihood.tolist() == pytest.approx(expected, rel=1e-4)


def test_span_probability_is_the_share_of_paths_with_exactly_that_phrase(
    crf: LinearChainCrf, emissions: Tensor, mask: Tensor
) -> None:
    """Without it the scores of keywords would not be probabilities."""
    spans = crf.span_probabilities(emissions, mask, LONGEST)

    for row, length in enumerate(LENGTHS):
        known = probabilities(crf, emissions[row, :length])
        for first in range(max(LENGTHS)):
            for extent in range(1, LONGEST + 1):
                expected = sum(
                    share for path, share in known.items() if has_phrase(path, first, extent)
                )
                assert spans[row, first, extent - 1].item() == pytest.approx(expected, abs=1e-5)


def has_phrase(path: Sequence[int], first: int, extent: int) -> bool:
    phrase = (BEGIN, *[INSIDE] * (extent - 1))
    stands = tuple(path[first : first + extent]) == phrase
    return stands and path[first + extent : first + extent + 1] != (INSIDE,)


def test_spans_longer_than_the_text_are_impossible(crf: LinearChainCrf) -> None:
    """Without it a keyword could end beyond its text."""
    spans = crf.span_probabilities(
        torch.zeros(1, 2, TAGS), torch.ones(1, 2, dtype=torch.bool), longest=5
    )

    assert spans.shape == (1, 2, 5)
    assert spans[..., 2:].max().item() == 0


def test_gradients_are_finite(crf: LinearChainCrf, emissions: Tensor, mask: Tensor) -> None:
    """Without it forbidden transitions would turn the weights into NaN."""
    leaf = emissions.clone().requires_grad_()
    tags = torch.zeros_like(mask, dtype=torch.long)

    torch.autograd.backward(crf.log_likelihood(leaf, tags, mask).sum())

    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()
