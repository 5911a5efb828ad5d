"""SimpleRNN, GRU, LSTM and ConvLSTM in NumPy float64: one sample, one step, one gate at a time.

With backpropagation by hand, but for ConvLSTM, whose derivatives are complex steps.

Slow and simple on purpose, and free of torch: what every engine must agree with. Written from the equations in the
layers' documentation and from Keras's rules for masks, dropout and direction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def _hard_sigmoid(z: Array) -> Array:
    return np.where(z.real <= -3, 0, np.where(z.real >= 3, 1, z / 6 + 0.5))


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z))),
    "relu": (lambda z: np.where(z.real > 0, z, 0), lambda z: np.where(z.real > 0, 1.0, 0.0)),
    "hard_sigmoid": (_hard_sigmoid, lambda z: np.where(abs(z.real) < 3, 1 / 6, 0.0)),
    "linear": (lambda z: z, np.ones_like),
}
"""By name: the function, and its derivative."""

GATES = {"simple_rnn": 1, "gru": 3, "lstm": 4}


@dataclasses.dataclass
class Cell:
    """Weights in Keras's layout; dropout masks `(batch, ...)`, or `(gates, batch, ...)` with one for each gate."""

    kind: str
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None
    dropout: Array | None = None
    recurrent_dropout: Array | None = None
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    reset_after: bool = True

    @property
    def units(self) -> int:
        return self.recurrent_kernel.shape[0]

    @property
    def states(self) -> int:
        return 2 if self.kind == "lstm" else 1

    def columns(self, gate: int) -> slice:
        return slice(gate * self.units, (gate + 1) * self.units)

    def mask(self, masks: Array | None, gate: int, sample: int) -> Array | float:
        """The dropout mask of one gate and one sample."""
        if masks is None:
            return 1.0
        return masks[gate, sample] if masks.ndim == 3 else masks[sample]


@dataclasses.dataclass
class Result:
    """outputs `(batch, time, units)` in processing order; last `(batch, units)`; states, each `(batch, units)`."""

    outputs: Array
    last: Array
    states: list[Array]
    steps: list[list[dict[str, Any] | None]]  # by sample, in processing order; None where the step is masked


@dataclasses.dataclass
class Gradients:
    """Of a scalar, by what it was computed from."""

    inputs: Array
    states: list[Array]
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None


# -- forwards ---------------------------------------------------------------------------------------------------------


def run(
    cell: Cell, inputs: Array, states: list[Array], mask: Array | None = None, go_backwards: bool = False
) -> Result:
    """Run over inputs `(batch, time, features)` from states `(batch, units)`; mask `(batch, time)`, True = use."""
    batch, time = inputs.shape[:2]
    dtype = np.result_type(
        inputs, cell.kernel, cell.recurrent_kernel, *states, *([] if cell.bias is None else [cell.bias])
    )
    outputs = np.zeros((batch, time, cell.units), dtype)
    last = np.zeros((batch, cell.units), dtype)
    final = [np.zeros((batch, cell.units), dtype) for _ in states]
    steps: list[list[dict[str, Any] | None]] = []
    for sample in range(batch):
        state = [each[sample] for each in states]
        output = np.zeros(cell.units, dtype)
        steps.append([])
        for position, t in enumerate(reversed(range(time)) if go_backwards else range(time)):
            if mask is None or mask[sample, t]:
                step = STEPS[cell.kind](cell, sample, inputs[sample, t], *state)
                output, state = step["output"], step["state"]
                steps[-1].append(step)
            else:
                steps[-1].append(None)
            outputs[sample, position] = output
        last[sample] = output
        for whole, each in zip(final, state, strict=True):
            whole[sample] = each
    return Result(outputs, last, final, steps)


def _from_input(cell: Cell, sample: int, x: Array, gate: int) -> Array:
    """What the input contributes to a gate, with the input's bias."""
    bias = 0.0
    if cell.bias is not None:
        bias = (cell.bias[0] if cell.bias.ndim == 2 else cell.bias)[cell.columns(gate)]
    return (x * cell.mask(cell.dropout, gate, sample)) @ cell.kernel[:, cell.columns(gate)] + bias


def _from_state(cell: Cell, sample: int, h: Array, gate: int) -> Array:
    """What the state contributes to a gate, with the recurrent bias where there is one."""
    bias = cell.bias[1, cell.columns(gate)] if cell.bias is not None and cell.bias.ndim == 2 else 0.0
    return (h * cell.mask(cell.recurrent_dropout, gate, sample)) @ cell.recurrent_kernel[:, cell.columns(gate)] + bias


def _simple_rnn(cell: Cell, sample: int, x: Array, h: Array) -> dict[str, Any]:
    z = _from_input(cell, sample, x, 0) + _from_state(cell, sample, h, 0)
    new = ACTIVATIONS[cell.activation][0](z)
    return {"x": x, "h": h, "z": z, "output": new, "state": [new]}


def _lstm(cell: Cell, sample: int, x: Array, h: Array, c: Array) -> dict[str, Any]:
    z = [_from_input(cell, sample, x, gate) + _from_state(cell, sample, h, gate) for gate in range(4)]
    activation, squash = ACTIVATIONS[cell.activation][0], ACTIVATIONS[cell.recurrent_activation][0]
    i, f, g, o = squash(z[0]), squash(z[1]), activation(z[2]), squash(z[3])
    c_new = f * c + i * g
    h_new = o * activation(c_new)
    return {"x": x, "h": h, "c": c, "z": z, "c_new": c_new, "output": h_new, "state": [h_new, c_new]}


def _gru(cell: Cell, sample: int, x: Array, h: Array) -> dict[str, Any]:
    activation, squash = ACTIVATIONS[cell.activation][0], ACTIVATIONS[cell.recurrent_activation][0]
    zz = _from_input(cell, sample, x, 0) + _from_state(cell, sample, h, 0)
    zr = _from_input(cell, sample, x, 1) + _from_state(cell, sample, h, 1)
    z, r = squash(zz), squash(zr)
    if cell.reset_after:
        inner = _from_state(cell, sample, h, 2)
        zk = _from_input(cell, sample, x, 2) + r * inner
    else:
        inner = r * h
        zk = _from_input(cell, sample, x, 2) + _from_state(cell, sample, inner, 2)
    new = z * h + (1 - z) * activation(zk)
    return {"x": x, "h": h, "zz": zz, "zr": zr, "zk": zk, "inner": inner, "output": new, "state": [new]}


STEPS: dict[str, Callable[..., dict[str, Any]]] = {"simple_rnn": _simple_rnn, "gru": _gru, "lstm": _lstm}


# -- backwards --------------------------------------------------------------------------------------------------------


def gradients(
    cell: Cell,
    result: Result,
    inputs: Array,
    states: list[Array],
    d_outputs: Array,
    d_last: Array,
    d_states: list[Array],
    go_backwards: bool = False,
) -> Gradients:
    """Gradients of a scalar from those with respect to outputs, last output and final states of `run`."""
    batch, time = inputs.shape[:2]
    found = Gradients(
        np.zeros_like(inputs),
        [np.zeros_like(each) for each in states],
        np.zeros_like(cell.kernel),
        np.zeros_like(cell.recurrent_kernel),
        None if cell.bias is None else np.zeros_like(cell.bias),
    )
    for sample in range(batch):
        d_state = [each[sample].copy() for each in d_states]
        d_held = d_last[sample].copy()  # of the output that the later masked steps, and the last one, show
        for position in reversed(range(time)):
            d_held = d_held + d_outputs[sample, position]
            step = result.steps[sample][position]
            if step is not None:
                d_state[0] = d_state[0] + d_held  # every cell's output is its first state
                d_held = np.zeros_like(d_held)
                t = time - 1 - position if go_backwards else position
                d_state = BACKS[cell.kind](cell, sample, step, d_state, found, found.inputs[sample, t])
        for whole, each in zip(found.states, d_state, strict=True):
            whole[sample] = each
    return found


def _into_input(cell: Cell, sample: int, x: Array, gate: int, dz: Array, found: Gradients, dx: Array) -> None:
    """Backwards through `_from_input`; dx is added to in place."""
    mask, columns = cell.mask(cell.dropout, gate, sample), cell.columns(gate)
    found.kernel[:, columns] += np.outer(x * mask, dz)
    dx += (cell.kernel[:, columns] @ dz) * mask
    if found.bias is not None:
        (found.bias[0] if found.bias.ndim == 2 else found.bias)[columns] += dz


def _into_state(cell: Cell, sample: int, h: Array, gate: int, dz: Array, found: Gradients) -> Array:
    """Backwards through `_from_state`: the gradient of h."""
    mask, columns = cell.mask(cell.recurrent_dropout, gate, sample), cell.columns(gate)
    found.recurrent_kernel[:, columns] += np.outer(h * mask, dz)
    if found.bias is not None and found.bias.ndim == 2:
        found.bias[1, columns] += dz
    return (cell.recurrent_kernel[:, columns] @ dz) * mask


def _simple_rnn_back(
    cell: Cell, sample: int, step: dict[str, Any], d_state: list[Array], found: Gradients, dx: Array
) -> list[Array]:
    dz = d_state[0] * ACTIVATIONS[cell.activation][1](step["z"])
    _into_input(cell, sample, step["x"], 0, dz, found, dx)
    return [_into_state(cell, sample, step["h"], 0, dz, found)]


def _lstm_back(
    cell: Cell, sample: int, step: dict[str, Any], d_state: list[Array], found: Gradients, dx: Array
) -> list[Array]:
    (activation, activation_slope), (squash, slope) = (
        ACTIVATIONS[cell.activation],
        ACTIVATIONS[cell.recurrent_activation],
    )
    dh, dc = d_state
    zi, zf, zg, zo = step["z"]
    dc = dc + dh * squash(zo) * activation_slope(step["c_new"])
    dz = [
        dc * activation(zg) * slope(zi),
        dc * step["c"] * slope(zf),
        dc * squash(zi) * activation_slope(zg),
        dh * activation(step["c_new"]) * slope(zo),
    ]
    dh_before = np.zeros_like(dh)
    for gate in range(4):
        _into_input(cell, sample, step["x"], gate, dz[gate], found, dx)
        dh_before = dh_before + _into_state(cell, sample, step["h"], gate, dz[gate], found)
    return [dh_before, dc * squash(zf)]


def _gru_back(
    cell: Cell, sample: int, step: dict[str, Any], d_state: list[Array], found: Gradients, dx: Array
) -> list[Array]:
    (activation, activation_slope), (squash, slope) = (
        ACTIVATIONS[cell.activation],
        ACTIVATIONS[cell.recurrent_activation],
    )
    (dh,), h, inner = d_state, step["h"], step["inner"]
    z, r, k = squash(step["zz"]), squash(step["zr"]), activation(step["zk"])
    d_zk = dh * (1 - z) * activation_slope(step["zk"])
    d_zz = dh * (h - k) * slope(step["zz"])
    dh_before = dh * z
    if cell.reset_after:
        d_zr = d_zk * inner * slope(step["zr"])
        dh_before = dh_before + _into_state(cell, sample, h, 2, d_zk * r, found)
    else:
        d_inner = _into_state(cell, sample, inner, 2, d_zk, found)
        d_zr = d_inner * h * slope(step["zr"])
        dh_before = dh_before + d_inner * r
    for gate, dz in enumerate((d_zz, d_zr, d_zk)):
        _into_input(cell, sample, step["x"], gate, dz, found, dx)
    for gate, dz in enumerate((d_zz, d_zr)):
        dh_before = dh_before + _into_state(cell, sample, h, gate, dz, found)
    return [dh_before]


BACKS: dict[str, Callable[..., list[Array]]] = {"simple_rnn": _simple_rnn_back, "gru": _gru_back, "lstm": _lstm_back}


# -- convolutions -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class ConvCell:
    """A ConvLSTM: weights in Keras's layout, channels last; dropout masks `(4, batch, *sizes, channels)`."""

    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None
    dropout: Array | None = None
    recurrent_dropout: Array | None = None
    strides: tuple[int, ...] | None = None
    dilation: tuple[int, ...] | None = None
    padding: str = "valid"
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"

    @property
    def filters(self) -> int:
        return self.recurrent_kernel.shape[-2]

    def step(self, sample: int, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        """(h, c) after one step of one sample."""
        ones = (1,) * (x.ndim - 1)
        z = []
        for gate in range(4):
            columns = slice(gate * self.filters, (gate + 1) * self.filters)
            dropped = x if self.dropout is None else x * self.dropout[gate, sample]
            held = h if self.recurrent_dropout is None else h * self.recurrent_dropout[gate, sample]
            strides, dilation = self.strides or ones, self.dilation or ones
            inside = convolve(dropped, self.kernel[..., columns], strides, dilation, self.padding)
            around = convolve(held, self.recurrent_kernel[..., columns], ones, ones, "same")
            z.append(inside + around + (0.0 if self.bias is None else self.bias[columns]))
        activation, squash = ACTIVATIONS[self.activation][0], ACTIVATIONS[self.recurrent_activation][0]
        c = squash(z[1]) * c + squash(z[0]) * activation(z[2])
        return squash(z[3]) * activation(c), c


def convolve(x: Array, kernel: Array, strides: tuple[int, ...], dilation: tuple[int, ...], padding: str) -> Array:
    """One sample `(*sizes, channels)` under a window: `(*places, filters)`, the places of the window one by one."""
    window, rank = kernel.shape[:-2], kernel.ndim - 2
    reach = [d * (k - 1) for d, k in zip(dilation, window, strict=True)]
    places, pads = [], []
    for n, s, r in zip(x.shape[:-1], strides, reach, strict=True):
        count = -(-n // s) if padding == "same" else (n - r - 1) // s + 1
        missing = max((count - 1) * s + r + 1 - n, 0) if padding == "same" else 0
        places.append(count)
        pads.append((missing // 2, missing - missing // 2))
    x = np.pad(x, [*pads, (0, 0)])
    y = np.zeros((*places, kernel.shape[-1]), np.result_type(x, kernel))
    for place in np.ndindex(*places):
        for point in np.ndindex(*window):
            at = tuple(place[a] * strides[a] + point[a] * dilation[a] for a in range(rank))
            y[place] += x[at] @ kernel[point]
    return y


def run_conv(
    cell: ConvCell, inputs: Array, states: list[Array], mask: Array | None = None, go_backwards: bool = False
) -> Result:
    """Run over inputs `(batch, time, *sizes, channels)` from h and c `(batch, *places, filters)`."""
    batch, time = inputs.shape[:2]
    bias = [] if cell.bias is None else [cell.bias]
    dtype = np.result_type(inputs, cell.kernel, cell.recurrent_kernel, *states, *bias)
    outputs = np.zeros((batch, time, *states[0].shape[1:]), dtype)
    last, final = np.zeros(states[0].shape, dtype), [np.zeros(each.shape, dtype) for each in states]
    for sample in range(batch):
        h, c = (each[sample] for each in states)
        output = np.zeros(h.shape, dtype)
        for position, t in enumerate(reversed(range(time)) if go_backwards else range(time)):
            if mask is None or mask[sample, t]:
                h, c = cell.step(sample, inputs[sample, t], h, c)
                output = h
            outputs[sample, position] = output
        last[sample], final[0][sample], final[1][sample] = output, h, c
    return Result(outputs, last, final, [])


def derivative(of: Callable[[Array], Any], at: Array) -> Array:
    """The gradient of a scalar function by complex steps, which have no rounding error however small they are."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        moved = at.astype(complex)
        moved[index] += 1e-30j
        gradient[index] = of(moved).imag / 1e-30
    return gradient
