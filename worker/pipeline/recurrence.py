"""The recurrent cells for serving: one direction of one layer, over rows of any lengths.

Rows are sorted, longest first, and laid out by time: the first token of every row, then the second
of every row that has one, and so on. A row that has ended is left out of later steps, so there is
no padding to compute. `counts` says how many rows each step has.

Every cell uses the logistic function alone, by `tanh(x) = 2 sigmoid(2x) - 1`: here it takes a third
of the time of tanh. The factors are folded into the weights, see `prepared`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.pipeline.model import Recurrent
from worker.pipeline.scripted import scripted


class Prepared(NamedTuple):
    """One direction of one layer, its weights prepared for `states`.

    Attributes:
        inputs: transposed weights of the input product, (inputs, gates).
        bias: what is added to it, (gates,).
        hidden: the matrices and vectors for the product with the state.
        scan: the cell.
        size: units of the state.
    """

    inputs: Tensor
    bias: Tensor
    hidden: list[Tensor]
    scan: Callable[[Tensor, Tensor, list[int], list[Tensor]], Tensor]
    size: int

    def project(self, values: Tensor) -> Tensor:
        """The input product, (rows, gates), of `values` (rows, inputs)."""
        return torch.addmm(self.bias, values, self.inputs)

    def states(self, products: Tensor, index: Tensor, counts: list[int]) -> Tensor:
        """Run over all rows.

        Args:
            products: input products, (entries, gates).
            index: which entry of `products` each token takes, (tokens,), laid out by time.
            counts: rows of each step, never growing; their sum is the number of tokens.

        Returns:
            The state after each token, (tokens, hidden), laid out by time.
        """
        return self.scan(products, index, counts, self.hidden)


def prepared(layer: Recurrent) -> Prepared:
    """The weights of a layer of one direction, in the form that the cell here needs."""
    weights = {name: value.detach() for name, value in layer.named_parameters()}
    input_weight, hidden_weight = weights["weight_ih_l0"], weights["weight_hh_l0"]
    input_bias, hidden_bias = weights["bias_ih_l0"], weights["bias_hh_l0"]
    size = layer.hidden_size
    match layer:
        case nn.GRU():
            # The scan keeps u = (h + 1) / 2 in place of h, so W h = 2 W u - W 1.
            bias, sums = hidden_bias - hidden_weight.sum(1), slice(None, 2 * size)
            scale = _scale(hidden_weight, [1, 1, 2])
            input_bias = input_bias.clone()
            input_bias[sums] += bias[sums]
            doubled = 2 * scale[:, None] * hidden_weight
            hidden = [
                doubled[sums].T.contiguous(),
                doubled[2 * size :].T.contiguous(),
                2 * bias[2 * size :],
            ]
            scan = gru
        case nn.LSTM():
            scale = _scale(hidden_weight, [1, 1, 2, 1])
            input_bias = input_bias + hidden_bias
            hidden = [(scale[:, None] * hidden_weight).T.contiguous()]
            scan = lstm
        case _:
            scale = _scale(hidden_weight, [2])
            input_bias = input_bias + hidden_bias - hidden_weight.sum(1)
            hidden = [(2 * scale[:, None] * hidden_weight).T.contiguous()]
            scan = rnn
    inputs = (scale[:, None] * input_weight).T.contiguous()
    return Prepared(inputs, scale * input_bias, hidden, scripted(scan), size)


def gru(products: Tensor, index: Tensor, counts: list[int], hidden: list[Tensor]) -> Tensor:
    """Gated recurrent unit (Cho et al. 2014), in the form of cuDNN; see `Prepared.states`."""
    gates_weight, new_weight, new_bias = hidden[0], hidden[1], hidden[2]
    size = new_weight.shape[0]
    rows = counts[0]
    states = products.new_empty(index.shape[0], size)
    buffer, inner = products.new_empty(rows, 3 * size), products.new_empty(rows, size)
    state = products.new_full((rows, size), 0.5)
    at = 0
    for count in counts:
        state = state.narrow(0, 0, count)
        step = torch.index_select(
            products, 0, index.narrow(0, at, count), out=buffer.narrow(0, 0, count)
        )
        gates = step.narrow(1, 0, 2 * size).addmm_(state, gates_weight).sigmoid_()
        new = torch.addmm(new_bias, state, new_weight, out=inner.narrow(0, 0, count))
        reset_gate, update_gate = gates.narrow(1, 0, size), gates.narrow(1, size, size)
        candidate = step.narrow(1, 2 * size, size).addcmul_(reset_gate, new).sigmoid_()
        state = torch.lerp(candidate, state, update_gate, out=states.narrow(0, at, count))
        at += count
    return states.mul_(2.0).sub_(1.0)


def lstm(products: Tensor, index: Tensor, counts: list[int], hidden: list[Tensor]) -> Tensor:
    """Long short-term memory (Gers et al. 2000); see `Prepared.states`."""
    weight = hidden[0]
    size = weight.shape[0]
    rows = counts[0]
    states = products.new_empty(index.shape[0], size)
    buffer, outer = products.new_empty(rows, 4 * size), products.new_empty(rows, size)
    state = products.new_zeros(rows, size)
    doubled_cell = products.new_zeros(rows, size)
    at = 0
    for count in counts:
        state, doubled_cell = state.narrow(0, 0, count), doubled_cell.narrow(0, 0, count)
        step = torch.index_select(
            products, 0, index.narrow(0, at, count), out=buffer.narrow(0, 0, count)
        )
        step.addmm_(state, weight).sigmoid_()
        input_gate, forget_gate = step.narrow(1, 0, size), step.narrow(1, size, size)
        candidate, output_gate = step.narrow(1, 2 * size, size), step.narrow(1, 3 * size, size)
        doubled_cell.mul_(forget_gate).addcmul_(input_gate, candidate, value=4.0)
        doubled_cell.sub_(input_gate, alpha=2.0)
        squashed = torch.sigmoid(doubled_cell, out=outer.narrow(0, 0, count)).mul_(2.0).sub_(1.0)
        state = torch.mul(output_gate, squashed, out=states.narrow(0, at, count))
        at += count
    return states


def rnn(products: Tensor, index: Tensor, counts: list[int], hidden: list[Tensor]) -> Tensor:
    """Simple recurrence with tanh (Elman 1990); see `Prepared.states`."""
    weight = hidden[0]
    states = products.new_empty(index.shape[0], weight.shape[0])
    state = products.new_full((counts[0], weight.shape[0]), 0.5)
    at = 0
    for count in counts:
        step = torch.index_select(
            products, 0, index.narrow(0, at, count), out=states.narrow(0, at, count)
        )
        state = step.addmm_(state.narrow(0, 0, count), weight).sigmoid_()
        at += count
    return states.mul_(2.0).sub_(1.0)


def _scale(weight: Tensor, factors: list[int]) -> Tensor:
    """One factor per gate, repeated for its units, (gates * hidden,)."""
    return weight.new_tensor(factors).repeat_interleave(len(weight) // len(factors))
