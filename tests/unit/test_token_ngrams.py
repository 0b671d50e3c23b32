"""The linear model over tokens and pairs of tokens."""

import torch
from torch import Tensor

from worker.pipeline.token_ngrams import TokenNgrams


def scores() -> TokenNgrams:
    torch.manual_seed(0)
    made = TokenNgrams(vocabulary=50, labels=3).eval()
    with torch.no_grad():
        made.scores.weight[1:] = torch.randn(made.scores.weight.shape[0] - 1, 3)
    return made


def one_row(ids: list[int], padding: int = 0) -> tuple[Tensor, Tensor]:
    row = torch.tensor([ids + [0] * padding])
    return row, torch.arange(row.shape[1]) < torch.tensor([[len(ids)]])


def test_the_order_of_two_words_counts() -> None:
    """Without it "not good" and "good, not" would be the same to the linear model."""
    made = scores()

    assert not torch.allclose(made(*one_row([3, 4])), made(*one_row([4, 3])))


def test_padding_scores_nothing() -> None:
    """Without it a score would depend on the texts beside it."""
    made = scores()

    plain, padded = made(*one_row([3, 4, 5])), made(*one_row([3, 4, 5], padding=4))

    torch.testing.assert_close(plain, padded)


def test_padding_learns_nothing() -> None:
    """Without it padding would get a score."""
    made = scores().train()

    torch.autograd.backward(made(*one_row([3, 4], padding=2)).sum())

    gradient = made.scores.weight.grad
    assert gradient is not None
    assert gradient[0].abs().sum() == 0


def test_one_token_has_no_pair() -> None:
    """Without it a text of one token would have no score."""
    made = scores()

    alone = made(*one_row([7]))

    torch.testing.assert_close(alone, 3.0 * made.scores.weight[7:8])
