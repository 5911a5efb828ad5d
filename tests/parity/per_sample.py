"""Recurrent layers one sample at a time, and of each sample only the steps in use: what every layer must agree with.

Written from the equations in Keras's documentation; nothing of the library is in it. The same lines run on NumPy
arrays and on float64 tensors (`xp` is the module): NumPy gives the values, torch.autograd the gradients.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

# -- cells: one step of one sample ------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, Any] = {
    "tanh": lambda xp, z: xp.tanh(z),
    "sigmoid": lambda xp, z: 1 / (1 + xp.exp(-z)),
    "relu": lambda xp, z: xp.where(z > 0, z, 0 * z),
    "hard_sigmoid": lambda xp, z: xp.clip(z / 6 + 0.5, 0, 1),
    "linear": lambda xp, z: z,
    "softsign": lambda xp, z: z / (1 + xp.abs(z)),
    "elu": lambda xp, z: xp.where(z > 0, z, xp.exp(xp.where(z > 0, 0 * z, z)) - 1),
}

GATES = {"simple_rnn": 1, "gru": 3, "lstm": 4, "conv_lstm": 4}


class Weights(NamedTuple):
    """Of one cell, in Keras's layout; dropout masks of one sample with the gates first, or None."""

    kernel: Any
    recurrent_kernel: Any
    bias: Any = None
    dropout: Any = None
    recurrent_dropout: Any = None

    def of_row(self, row: int) -> Weights:
        """With the dropout masks of one row, which have the rows of a batch before their own sizes."""
        masks = [mask if mask is None else mask[:, row] for mask in (self.dropout, self.recurrent_dropout)]
        return Weights(self.kernel, self.recurrent_kernel, self.bias, *masks)


def gate(cell: Any, weights: Weights, number: int, x: Any, h: Any) -> Any:
    """`x W + b + h U` for one gate. A bias of two rows has one for the input and one for the state."""
    return _from_input(cell, weights, number, x) + _from_state(cell, weights, number, h)


def _from_input(cell: Any, weights: Weights, number: int, x: Any) -> Any:
    columns = slice(number * cell.units, (number + 1) * cell.units)
    x = x if weights.dropout is None else x * weights.dropout[number]
    product = x @ weights.kernel[:, columns]
    if weights.bias is None:
        return product
    return product + (weights.bias[0] if weights.bias.ndim == 2 else weights.bias)[columns]


def _from_state(cell: Any, weights: Weights, number: int, h: Any) -> Any:
    columns = slice(number * cell.units, (number + 1) * cell.units)
    h = h if weights.recurrent_dropout is None else h * weights.recurrent_dropout[number]
    product = h @ weights.recurrent_kernel[:, columns]
    return product + weights.bias[1, columns] if weights.bias is not None and weights.bias.ndim == 2 else product


def _simple_rnn(xp: Any, cell: Any, weights: Weights, x: Any, state: list[Any]) -> tuple[Any, list[Any]]:
    h = ACTIVATIONS[cell.activation](xp, gate(cell, weights, 0, x, state[0]))
    return h, [h]


def _gru(xp: Any, cell: Any, weights: Weights, x: Any, state: list[Any]) -> tuple[Any, list[Any]]:
    (h,) = state
    squash = ACTIVATIONS[cell.recurrent_activation]
    z = squash(xp, gate(cell, weights, 0, x, h))
    r = squash(xp, gate(cell, weights, 1, x, h))
    if cell.reset_after:
        inner = _from_input(cell, weights, 2, x) + r * _from_state(cell, weights, 2, h)
    else:
        inner = gate(cell, weights, 2, x, r * h)
    h = z * h + (1 - z) * ACTIVATIONS[cell.activation](xp, inner)
    return h, [h]


def _lstm_of(xp: Any, cell: Any, gates: list[Any], c: Any) -> tuple[Any, list[Any]]:
    activation, squash = ACTIVATIONS[cell.activation], ACTIVATIONS[cell.recurrent_activation]
    i, f, g, o = gates
    c = squash(xp, f) * c + squash(xp, i) * activation(xp, g)
    h = squash(xp, o) * activation(xp, c)
    return h, [h, c]


def _lstm(xp: Any, cell: Any, weights: Weights, x: Any, state: list[Any]) -> tuple[Any, list[Any]]:
    return _lstm_of(xp, cell, [gate(cell, weights, number, x, state[0]) for number in range(4)], state[1])


def _conv_lstm(xp: Any, cell: Any, weights: Weights, x: Any, state: list[Any]) -> tuple[Any, list[Any]]:
    def last(image: Any) -> Any:
        return xp.moveaxis(image, 0, -1) if cell.data_format == "channels_first" else image

    h, c = (last(each) for each in state)
    gates = []
    for number in range(4):
        columns = slice(number * cell.units, (number + 1) * cell.units)
        seen = x if weights.dropout is None else x * weights.dropout[number]
        held = state[0] if weights.recurrent_dropout is None else state[0] * weights.recurrent_dropout[number]
        total = convolve(xp, last(seen), weights.kernel[..., columns], cell.strides, cell.dilation_rate, cell.padding)
        ones = (1,) * len(cell.kernel_size)
        total = total + convolve(xp, last(held), weights.recurrent_kernel[..., columns], ones, ones, "same")
        gates.append(total if weights.bias is None else total + weights.bias[columns])
    h, (_, c) = _lstm_of(xp, cell, gates, c)
    if cell.data_format == "channels_first":
        h, c = xp.moveaxis(h, -1, 0), xp.moveaxis(c, -1, 0)
    return h, [h, c]


def convolve(xp: Any, image: Any, kernel: Any, strides: Any, dilation: Any, padding: str) -> Any:
    """`image` `(*sizes, channels)` under a moving window; with "same", zeros around it, the odd one behind."""
    rank, counts = kernel.ndim - 2, []
    for axis in range(rank):
        reach = dilation[axis] * (kernel.shape[axis] - 1) + 1
        size = image.shape[axis]
        count = -(-size // strides[axis]) if padding == "same" else (size - reach) // strides[axis] + 1
        missing = max((count - 1) * strides[axis] + reach - size, 0)
        sides = []
        for amount in (missing // 2, missing - missing // 2):
            sides.append(xp.zeros((*image.shape[:axis], amount, *image.shape[axis + 1 :]), dtype=xp.float64))
        image = xp.concatenate([sides[0], image, sides[1]], axis)
        counts.append(count)
    total: Any = 0.0
    for offset in itertools.product(*(range(size) for size in kernel.shape[:rank])):
        window = tuple(
            slice(at * rate, at * rate + (count - 1) * stride + 1, stride)
            for at, rate, count, stride in zip(offset, dilation, counts, strides, strict=True)
        )
        total = total + image[window] @ kernel[offset]
    return total


def _own(xp: Any, cell: Any, weights: Weights, x: Any, state: list[Any]) -> tuple[Any, list[Any]]:
    """See `layers_of.own_cell`: two states of unlike sizes, and an output that is neither."""
    h = xp.tanh(x @ weights.kernel + state[0] @ weights.recurrent_kernel)
    level = state[1] / 2 + h.sum(-1)
    return xp.concatenate([h * level, level], 0), [h, level]


STEPS: dict[str, Any] = {"simple_rnn": _simple_rnn, "gru": _gru, "lstm": _lstm, "conv_lstm": _conv_lstm, "own": _own}


# -- layers -----------------------------------------------------------------------------------------------------------


class Ran(NamedTuple):
    """What a layer gives: outputs `(batch, time, ...)` in processing order; last; states, cell by cell."""

    outputs: Any
    last: Any
    states: list[Any]


def run(
    xp: Any,
    cells: Any,
    weights: list[Weights],
    x: Any,
    mask: Any,
    states: list[list[Any]],
    go_backwards: bool = False,
    zero_masked: bool = False,
) -> Ran:
    """Run stacked cells over x `(batch, time, ...)` from states, a list for each cell; mask `(batch, time)`."""
    rows = []
    for row in range(len(x)):
        start = [[state[row] for state in each] for each in states]
        used = [True] * x.shape[1] if mask is None else [bool(flag) for flag in mask[row]]
        own = [each.of_row(row) for each in weights]
        rows.append(run_row(xp, cells, own, x[row], used, start, go_backwards, zero_masked))
    outputs, last = (xp.stack([row[place] for row in rows]) for place in (0, 1))
    return Ran(outputs, last, [xp.stack(each) for each in zip(*(row[2] for row in rows), strict=True)])


def run_row(
    xp: Any,
    cells: Any,
    weights: list[Weights],
    x: Any,
    used: list[bool],
    states: list[list[Any]],
    go_backwards: bool,
    zero_masked: bool,
) -> tuple[Any, Any, list[Any]]:
    """One sample: outputs, last output, states. A step that is not used is not run: the output before stays."""
    output = zeros = _no_output(xp, cells[-1], states[-1])
    shown = []
    for t in reversed(range(len(used))) if go_backwards else range(len(used)):
        if used[t]:
            output = x[t]
            for place, cell in enumerate(cells):
                output, states[place] = STEPS[cell.kind](xp, cell, weights[place], output, states[place])
        shown.append(output if used[t] or not zero_masked else zeros)
    return xp.stack(shown), output, [state for each in states for state in each]


def _no_output(xp: Any, cell: Any, state: list[Any]) -> Any:
    """What is shown before the first used step: zeros, of the shape of the output."""
    return xp.zeros_like(xp.concatenate(state, 0) if cell.kind == "own" else state[0])


def merge(xp: Any, mode: str | None, forward: Any, backward: Any) -> list[Any]:
    """The outputs of a Bidirectional, of those of its halves."""
    if mode is None:
        return [forward, backward]
    if mode == "concat":
        return [xp.concatenate([forward, backward], -1)]
    if mode == "mul":
        return [forward * backward]
    return [(forward + backward) / (2 if mode == "ave" else 1)]
