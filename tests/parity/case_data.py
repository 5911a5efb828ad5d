"""What goes into the layer of a case: weights, inputs, masks and states, drawn from the case's seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parity import per_sample
from parity.recurrent_cases import STATES, Case, Cell

FOLLOWING = Cell("simple_rnn", units=2)
"""The cell of the layer that follows."""

TOKENS = 7
"""How many rows the table of an Embedding has."""


class Call(NamedTuple):
    """source: the input, or the embedding's table; tokens: what is looked up in it; states: flat, or none at all."""

    source: np.ndarray
    tokens: np.ndarray | None
    mask: np.ndarray | None
    states: list[np.ndarray]


class Data(NamedTuple):
    """weights: of the layer, then of the one that follows, in Keras's order."""

    weights: list[np.ndarray]
    calls: list[Call]
    mask_value: float


def data_of(case: Case) -> Data:
    """Weights, inputs and states of a case, from its seed."""
    rng = np.random.default_rng(case.seed)
    mask_value = float(rng.choice([0.0, -1.5]))
    weights = []
    for half in case.halves:
        features = case.features
        for cell in half.cells:
            weights += [0.6 * rng.standard_normal(shape) for shape in weight_shapes(cell, features)]
            features = cell.outputs
    if case.follow:
        weights += [0.6 * rng.standard_normal(shape) for shape in weight_shapes(FOLLOWING, merged_size(case))]
    calls = []
    for number in range(case.calls):
        mask = None if case.mask is None else np.array(case.mask_of(number)).reshape(case.batch, case.time)
        x = rng.standard_normal((case.batch, case.time, *case.step_shape))
        tokens = None
        if case.route == "embedding":
            tokens = np.where(mask, rng.integers(1, TOKENS, (case.batch, case.time)), 0)
            x = rng.standard_normal((TOKENS, case.features))
        elif case.route == "masking":
            x[~mask] = mask_value
        elif case.garbage is not None:
            x[~mask] = case.garbage
        states = [0.7 * rng.standard_normal((case.batch, *shape)) for shape in state_shapes(case)]
        calls.append(Call(x, tokens, mask, states if case.states and number in case.given_to else []))
    return Data(weights, calls, mask_value)


def weight_shapes(cell: Cell, features: int) -> list[tuple[int, ...]]:
    """Of kernel, recurrent kernel and bias."""
    if cell.kind == "own":
        return [(features, cell.units), (cell.units, cell.units)]
    width = per_sample.GATES[cell.kind] * cell.units
    bias = (2, width) if cell.kind == "gru" and cell.reset_after else (width,)
    shapes = [(*cell.kernel_size, features, width), (*cell.kernel_size, cell.units, width), bias]
    return shapes[: cell.weights]


def state_shapes(case: Case) -> list[tuple[int, ...]]:
    """Of the states of all halves, flat."""
    shapes: list[tuple[int, ...]] = []
    for cell in (cell for half in case.halves for cell in half.cells):
        if cell.kind == "own":
            shapes += [(cell.units,), (1,)]
        elif cell.kind == "conv_lstm":
            sizes = []
            for size, k, stride, rate in zip(
                case.sizes, cell.kernel_size, cell.strides, cell.dilation_rate, strict=True
            ):
                sizes.append(-(-(size if cell.padding == "same" else size - rate * (k - 1)) // stride))
            first = cell.data_format == "channels_first"
            shapes += [(cell.units, *sizes) if first else (*sizes, cell.units)] * 2
        else:
            shapes += [(cell.units,)] * STATES[cell.kind]
    return shapes


def merged_size(case: Case) -> int:
    """The last axis of the merged output."""
    sizes = [half.cells[-1].outputs for half in case.halves]
    return sum(sizes) if case.merge_mode == "concat" else sizes[0]
