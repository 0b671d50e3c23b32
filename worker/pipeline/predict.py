"""The forward pass of serving."""

from collections.abc import Sequence
from typing import Protocol

import torch

from worker.pipeline.batch import pad
from worker.pipeline.kernel import Kernel
from worker.pipeline.model import Model
from worker.pipeline.records import IntArray, Prediction


class Predicts(Protocol):
    """A serving form of a network."""

    def __call__(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """Predict one micro-batch.

        Args:
            windows: token ids of each window, each (tokens,) with at least one token.

        Returns:
            One prediction per window, in their order.
        """


class Predictor:
    """Runs micro-batches of a network on one device.

    What it says of a window does not depend on the windows beside it, to within 1e-5 on the CPU
    and 1e-3 on a GPU.

    Attributes:
        pads: whether rows shorter than the longest beside them cost as much.

    Args:
        model: the network, in evaluation mode; its later changes may go unseen.
        device: `cpu` or `cuda:N`.
    """

    def __init__(self, model: Model, device: str) -> None:
        self.pads = device != "cpu"
        self._run: Predicts = Kernel(model) if device == "cpu" else _OnGpu(model, device)

    def __call__(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """Predict one micro-batch; none of no windows. See `Predicts`."""
        return self._run(windows) if windows else []


class _OnGpu:
    """The training form in half precision: cuDNN's kernels want padded rows."""

    def __init__(self, model: Model, device: str) -> None:
        self._device = torch.device(device)
        self._model = model.to(self._device)

    @torch.inference_mode()
    def __call__(self, windows: Sequence[IntArray]) -> list[Prediction]:
        ids, lengths = pad(windows)
        return self._model.predict(ids.to(self._device), lengths.to(self._device))
