"""The forward pass for serving."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Final, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from worker.pipeline.batch import pad
from worker.pipeline.decoders import LEAST_CANDIDATE
from worker.pipeline.kernel import Kernel
from worker.pipeline.model import Model, token_mask
from worker.pipeline.out_of_memory import is_out_of_memory
from worker.pipeline.records import Candidate, Encoded, IntArray, Prediction

SCORE_TOLERANCE: Final = 1e-3
"""Difference of a score from which half precision counts as too coarse."""


class ServingForm(Protocol):
    """A network that runs micro-batches on one device.

    The prediction for a window does not depend on the other windows, to within 1e-5 on the CPU and
    1e-3 on a GPU.

    Attributes:
        pads: whether a shorter row costs as much as the longest one in its micro-batch.
    """

    pads: bool

    def __call__(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """Predict one micro-batch.

        Args:
            windows: token ids of each window, each (tokens,) with at least one token; at least
                one window.

        Returns:
            One prediction per window, in their order.
        """

    def encode(self, windows: Sequence[IntArray]) -> Encoded:
        """The encoder's states of one micro-batch, in the order of its windows."""


def serving_form(model: Model, device: str) -> ServingForm:
    """The form in which a device runs a network best.

    Args:
        model: the network, in evaluation mode; later changes to it may have no effect.
        device: `cpu` or `cuda:N`.
    """
    return Kernel(model) if device == "cpu" else _OnGpu(model, device)


class _OnGpu:
    """Runs the training form on a GPU, since cuDNN's kernels need padded rows.

    Uses half precision unless that moves a score of a trial by `SCORE_TOLERANCE` or more.
    """

    pads = True

    def __init__(self, model: Model, device: str) -> None:
        self._device = torch.device(device)
        self._model = model.to(self._device)
        trial = _trial(model.encoder.embedding.num_embeddings)
        exact = self(trial)
        self._model = deepcopy(self._model).half()
        # Not `>=`: the distance is NaN if a score overflowed.
        if not distance(exact, self(trial)) < SCORE_TOLERANCE:
            self._model = model

    @torch.inference_mode()
    def __call__(self, windows: Sequence[IntArray]) -> list[Prediction]:
        with _cache_emptied_if_too_large():
            ids, lengths = (self._moved(tensor) for tensor in pad(windows))
            return self._model.predict(ids, lengths)

    @torch.inference_mode()
    def encode(self, windows: Sequence[IntArray]) -> Encoded:
        with _cache_emptied_if_too_large():
            ids, lengths = (self._moved(tensor) for tensor in pad(windows))
            states = self._model.encoder(ids, lengths).float()
            return Encoded(ids, states, token_mask(ids, lengths))

    def _moved(self, tensor: Tensor) -> Tensor:
        """Copy from pinned memory, so that the copy does not wait for the device."""
        return tensor.pin_memory().to(self._device, non_blocking=True)


@contextmanager
def _cache_emptied_if_too_large() -> Iterator[None]:
    """After a lack of memory, free what fragments hold: it would make the halves fail too."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            torch.cuda.empty_cache()
        raise


def distance(one: Sequence[Prediction], other: Sequence[Prediction]) -> float:
    """The largest difference between scores; NaN if a score is.

    A candidate that one side lacks counts as `LEAST_CANDIDATE` there.
    """
    apart = [_apart(*pair) for pair in zip(one, other, strict=True)]
    return float(np.max(apart, initial=0.0))  # unlike max(), it passes NaN on


def _apart(one: Prediction, other: Prediction) -> float:
    if isinstance(one, list) or isinstance(other, list):
        scores, others = _by_tokens(one), _by_tokens(other)
        least = LEAST_CANDIDATE
        apart = [
            abs(scores.get(tokens, least) - others.get(tokens, least))
            for tokens in scores.keys() | others.keys()
        ]
        return float(np.max(apart, initial=0.0))
    return float(np.abs(one - other).max())


def _by_tokens(prediction: Prediction) -> dict[tuple[int, int], float]:
    candidates = cast("list[Candidate]", prediction)
    return {(candidate.first, candidate.last): candidate.score for candidate in candidates}


def _trial(vocabulary: int) -> list[IntArray]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 100, 64)
    return [rng.integers(1, vocabulary, length).astype(np.int32) for length in lengths]
