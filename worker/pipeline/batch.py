"""Which windows share a forward pass, and the tensors they make."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from worker.pipeline.records import PAD, IntArray

BUDGET: Final = 4096
"""Most padded tokens of a micro-batch if the device was not measured and nothing is trained."""


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group windows of similar length under a token budget.

    Args:
        lengths: tokens of each window, at least 1.
        budget: most padded tokens (longest × rows) of a micro-batch, at least 1.

    Returns:
        Micro-batches of indexes into `lengths`, shortest first. Every index is in exactly one of
        them; a window longer than the budget is alone in its own.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and lengths[index] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def pad(windows: Sequence[IntArray]) -> tuple[Tensor, Tensor]:
    """Stack windows: token ids (rows, longest) padded with `PAD`, and lengths (rows,)."""
    lengths = [len(window) for window in windows]
    ids = np.full((len(windows), max(lengths)), PAD, dtype=np.int64)
    for row, window in zip(ids, windows, strict=True):
        row[: len(window)] = window
    return torch.from_numpy(ids), torch.tensor(lengths)
