"""The forward pass of serving."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from worker.pipeline.batch import pad
from worker.pipeline.records import IntArray, Prediction


class PredictsRows(Protocol):
    """A network in evaluation mode that treats every row on its own."""

    def predict(self, ids: Tensor, lengths: Tensor) -> list[Prediction]:
        """One prediction a row of `ids` (rows, longest), of which `lengths` are tokens."""


class Predictor:
    """Runs micro-batches of a network on one device.

    What it says of a window does not depend on the windows beside it, to within 1e-5.

    Args:
        model: the network, on `device` and in evaluation mode.
        device: `cpu` or `cuda:N`.
    """

    def __init__(self, model: PredictsRows, device: str) -> None:
        self._model = model
        self._device = torch.device(device)

    @torch.inference_mode()
    def __call__(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """Predict one micro-batch.

        Args:
            windows: token ids of each window, each (tokens,) with at least one token.

        Returns:
            One prediction per window, in their order.
        """
        if not windows:
            return []
        ids, lengths = pad(windows)
        return self._model.predict(ids.to(self._device), lengths.to(self._device))
