"""The network in the form a CPU runs best, derived from its weights when an artifact is loaded.

The input product of the first layer depends on the token alone, so it is computed once for every
vocabulary entry; what is left of that layer is a look-up and the state's product. The arithmetic
is exact to rounding. See docs/decisions/0009-serving-form.md for what was measured.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.pipeline.model import Model
from worker.pipeline.records import PAD, Encoded, IntArray, Prediction
from worker.pipeline.recurrence import prepared


class PackedBatch(NamedTuple):
    """A micro-batch without padding; its rows are sorted, longest first.

    Attributes:
        order: which window each row is, (rows,).
        lengths: tokens of each row, (rows,).
        ids: token ids, row after row, (tokens,).
        counts: rows that have a token at each step.
        ahead: index into `ids` of each token when laid out by time, (tokens,).
        back: the same, with each row read from its end.
        padded: index of each token of `ids` in a flattened matrix (rows, longest), (tokens,).
    """

    order: NDArray[np.intp]
    lengths: Tensor
    ids: Tensor
    counts: list[int]
    ahead: Tensor
    back: Tensor
    padded: Tensor


class Kernel:
    """Serves a network with any cell on the CPU, in float32.

    Args:
        model: the network, in evaluation mode; later changes to its encoder have no effect.
    """

    pads = False

    def __init__(self, model: Model) -> None:
        with torch.inference_mode():
            directions = prepared(model.encoder.ahead), prepared(model.encoder.back)
            vectors = model.encoder.embedding.weight
            self._directions = [(direction, direction.project(vectors)) for direction in directions]
        self._decoder = model.decoder

    @torch.inference_mode()
    def __call__(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """Predict one micro-batch, see `ServingForm`."""
        batch = pack(windows)
        sorted_predictions = self._decoder.predict(self._encoded(batch))
        predictions = list(sorted_predictions)
        for prediction, index in zip(sorted_predictions, batch.order.tolist(), strict=True):
            predictions[index] = prediction
        return predictions

    @torch.inference_mode()
    def encode(self, windows: Sequence[IntArray]) -> Encoded:
        """Encode one micro-batch, see `ServingForm`."""
        batch = pack(windows)
        back = torch.from_numpy(np.argsort(batch.order))
        return Encoded(*(part[back] for part in self._encoded(batch)))

    def states(self, batch: PackedBatch) -> Tensor:
        """The encoder's states, (rows, longest, 2 * hidden), 0 in the padding."""
        rows, longest = len(batch.lengths), len(batch.counts)
        size = self._directions[0][0].size
        states = self._directions[0][1].new_zeros(rows * longest, 2 * size)
        orders = (batch.ahead, batch.back)
        for side, (direction, products) in enumerate(self._directions):
            order = orders[side]
            half = direction.states(products, batch.ids[order], batch.counts)
            states.narrow(1, side * size, size).index_copy_(0, batch.padded[order], half)
        return states.view(rows, longest, -1)

    def _encoded(self, batch: PackedBatch) -> Encoded:
        mask = torch.arange(len(batch.counts)) < batch.lengths[:, None]
        ids = torch.full(mask.shape, PAD).masked_scatter_(mask, batch.ids)
        return Encoded(ids, self.states(batch), mask)


def pack(windows: Sequence[IntArray]) -> PackedBatch:
    """Pack the tokens of a micro-batch; every window has at least one."""
    given = np.array([len(window) for window in windows])
    order = np.argsort(-given, kind="stable")
    lengths = given[order]
    steps = np.arange(lengths[0])[:, None]
    inside = steps < lengths
    firsts = lengths.cumsum() - lengths
    return PackedBatch(
        order=order,
        lengths=torch.from_numpy(lengths),
        ids=torch.from_numpy(np.concatenate([windows[row] for row in order]).astype(np.int64)),
        counts=inside.sum(1).tolist(),
        ahead=torch.from_numpy((firsts + steps)[inside]),
        back=torch.from_numpy((firsts + lengths - 1 - steps)[inside]),
        padded=torch.from_numpy(np.flatnonzero(inside.T)),
    )
