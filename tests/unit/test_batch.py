"""Micro-batches."""

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.pipeline.batch import micro_batches, pad

LENGTHS = st.lists(st.integers(1, 300), max_size=60)
BUDGETS = st.integers(1, 1000)


@given(LENGTHS, BUDGETS)
def test_every_window_is_in_exactly_one_micro_batch(lengths: list[int], budget: int) -> None:
    """Without it a document would get no outcome, or two."""
    batches = micro_batches(lengths, budget)

    assert sorted(chain.from_iterable(batches)) == list(range(len(lengths)))


@given(LENGTHS, BUDGETS)
def test_only_a_window_that_is_alone_exceeds_the_budget(lengths: list[int], budget: int) -> None:
    """Without it one micro-batch could take more memory than the device has."""
    batches = micro_batches(lengths, budget)

    padded = [max(lengths[row] for row in batch) * len(batch) for batch in batches]
    assert all(
        size <= budget or len(batch) == 1 for size, batch in zip(padded, batches, strict=True)
    )


def test_windows_of_similar_length_share_a_micro_batch() -> None:
    """Without it most of a forward pass would be spent on padding."""
    batches = micro_batches([10, 1, 10, 1], budget=21)

    assert [sorted(batch) for batch in batches] == [[1, 3], [0, 2]]


def test_padding_follows_the_tokens() -> None:
    """Without it a network would read padding before the text."""
    ids, lengths = pad([np.array([5, 6, 7], np.int32), np.array([8], np.int32)])

    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert lengths.tolist() == [3, 1]
