"""Hidden states over time, as a heat map of time x units."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from ostinato.core.cell import GatedCell
from ostinato.core.input_spec import check
from ostinato.core.layer import Layer
from ostinato.core.masks import mask_of
from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.lstm import LSTMCell
from ostinato.layers.rnn import RNN
from ostinato.layers.streams import keeping_states
from ostinato.plots.canvas import require_matplotlib, save, wrapped
from ostinato.recurrence.base import Problem, Recurrence
from ostinato.recurrence.nests import Nest, flatten
from ostinato.recurrence.scan import scan


class States(NamedTuple):
    """A state of one sample: values `(time, ...)`, used `(time,)` bool, both in the order of the input's time."""

    values: Tensor
    used: Tensor


def plot_states(
    layer: Any,
    x: Nest,
    path: str | os.PathLike[str] | None = None,
    state: int = 0,
    sample: int = 0,
    *,
    model: Any = None,
    mask: Any = None,
    initial_state: Nest = None,
    cmap: str = "RdBu_r",
) -> Any:
    """Draw a state of a recurrent layer over time: a column for each step, a row for each unit.

    The state after each step, in inference, whatever the layer returns; neither the layer nor its recorded states
    change. Steps stand in the order of the input, also where the layer goes backwards. Masked steps are grey.

    layer: `LSTM`, `GRU`, `SimpleRNN`, `RNN(cell)`, or a `Bidirectional`, whose halves stand one below the other.
    x: the layer's input, `(batch, time, features)`, as tensors or arrays; with `model`, the model's input. path: of a
    PNG to write; None writes none. state: which of the cell's states, counted as `return_state` gives them: of an LSTM
    0 is h and 1 is c. sample: which row of the batch. model: a model that calls the layer, which may then be given by
    its name; the model is run to find what the layer is called on, its mask included. mask: `(batch, time)`, True = use
    the step; by default the one that hangs on x. initial_state: as in a call of the layer. cmap: name of the colours,
    of which the middle one is zero.

    Returns the matplotlib Figure. Raises ValueError for a layer that carries no states, a state or sample that is not
    there, or a sequence without steps; TypeError for a layer's name without a model; ModuleNotFoundError, naming the
    extra to install, without matplotlib.

    >>> import torch, ostinato
    >>> lstm = ostinato.layers.LSTM(4)
    >>> figure = plot_states(lstm, torch.randn(2, 7, 3), state=1)
    >>> figure.axes[0].images[0].get_array().shape  # (units, time)
    (4, 7)
    """
    matplotlib = require_matplotlib()
    if model is not None:
        layer, args, kwargs = _call_in(model, layer, x)
        if mask is not None or initial_state is not None:
            raise ValueError(
                "plot_states: mask and initial_state are the layer's; with model=..., the model has its own."
            )
    else:
        args, kwargs = (x,), {"mask": mask, "initial_state": initial_state}
    halves = _halves(layer)
    with torch.no_grad():
        problems = _problems(layer, halves, args, kwargs)
        found = [_pick(half, problem, state, sample) for half, problem in zip(halves, problems, strict=True)]
    figure = _draw(matplotlib, halves, found, state, sample, cmap)
    if path is not None:
        save(figure, path, dpi=110)
    return figure


# -- what the layer is called on --------------------------------------------------------------------------------------


def _call_in(model: Any, layer: Any, x: Nest) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The layer, and the arguments of its first call when the model runs on x."""
    if not isinstance(model, Layer):
        raise TypeError(f"plot_states: model must be a Model or a Sequential, got {type(model).__name__}.")
    layer = model.get_layer(layer) if isinstance(layer, str) else layer
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def keep(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, dict(kwargs)))

    _halves(layer)
    hook = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad(), keeping_states(model):
            model(x, training=False)
    finally:
        hook.remove()
    if not calls:
        raise ValueError(
            f"plot_states: {model.described} did not call {layer.described}. Of a Bidirectional, pass the whole layer."
        )
    args, kwargs = calls[0]
    return layer, args, {key: value for key, value in kwargs.items() if key != "training"}


def _halves(layer: Any) -> list[RNN]:
    if isinstance(layer, Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    if isinstance(layer, RNN):
        return [layer]
    if isinstance(layer, str):
        raise TypeError(f"plot_states: to find the layer {layer!r} by its name, pass model=... too.")
    raise ValueError(
        f"plot_states: expected a recurrent layer (LSTM, GRU, SimpleRNN, RNN, Bidirectional), got "
        f"{getattr(layer, 'described', type(layer).__name__)}."
    )


def _problems(layer: Any, halves: list[RNN], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Problem]:
    """What the layer would run for a call, without the parts that last: no recorded state, no random number."""
    args, kwargs = layer._call_signature.normalise(args, kwargs)
    args, kwargs = layer._admit(args, kwargs)
    (sequences,) = args
    if not layer.built:
        layer._build_for(sequences)
    if layer.input_spec is not None:
        check(layer.input_spec, sequences, layer.described)
    mask, lengths = kwargs.get("mask"), kwargs.get("lengths")
    over = layer._sequences(sequences, mask_of(sequences) if mask is None else mask, lengths)
    states = [kwargs.get("initial_state")]
    if isinstance(layer, Bidirectional):
        states = list(layer._halve(states[0]))
    return [
        half.problem(over, start, training=False, constants=kwargs.get("constants"))
        for half, start in zip(halves, states, strict=True)
    ]


# -- the states -------------------------------------------------------------------------------------------------------


class Observed(Recurrence):
    """A recurrence whose output is its new state."""

    name = "observed"

    def __init__(self, inner: Recurrence) -> None:
        self.inner = inner

    def project(self, xs: Nest) -> Nest:
        return self.inner.project(xs)

    def step(self, x: Nest, state: Nest) -> tuple[Nest, Nest]:
        new = self.inner.step(x, state)[1]
        return new, new

    def tensors(self) -> tuple[Tensor | None, ...]:
        return self.inner.tensors()

    def replace(self, tensors: Sequence[Tensor | None]) -> Self:
        return type(self)(self.inner.replace(tensors))


def states_over_time(problem: Problem) -> list[Tensor]:
    """Each state after each step, `(time, batch, ...)`, in the order of the input; held where a step is masked."""
    observed = dataclasses.replace(problem, recurrence=Observed(problem.recurrence), sequences=True)
    sequences = flatten(scan(observed).outputs)
    if problem.mask is not None:  # before the first used step the loop's output is zeros; the state is the first one
        mask = problem.mask.flip(0) if problem.reverse else problem.mask
        begun = mask.cummax(0).values
        sequences = [
            torch.where(begun.reshape(begun.shape + (1,) * (each.dim() - 2)), each, start)
            for each, start in zip(sequences, flatten(problem.state), strict=True)
        ]
    return [each.flip(0) if problem.reverse else each for each in sequences]


def _pick(layer: RNN, problem: Problem, state: int, sample: int) -> States:
    """The one state of the one sample. Raises ValueError if there is none such."""
    time, batch = flatten(problem.inputs)[0].shape[:2]
    count = len(flatten(problem.state))
    if not 0 <= state < count:
        raise ValueError(f"plot_states: {layer.described} carries {count} state(s), from 0; got state={state}.")
    if not -batch <= sample < batch:
        raise ValueError(f"plot_states: the batch has {batch} sample(s), from 0; got sample={sample}.")
    if time == 0:
        raise ValueError(f"plot_states: {layer.described} was given a sequence without steps.")
    used = torch.ones(time, dtype=torch.bool) if problem.mask is None else problem.mask[:, sample]
    return States(states_over_time(problem)[state][:, sample].cpu(), used.cpu())


# -- the picture ------------------------------------------------------------------------------------------------------


def _draw(matplotlib: Any, halves: list[RNN], found: list[States], state: int, sample: int, cmap: str) -> Any:
    grids = [each.values.flatten(1).float().numpy().T for each in found]
    units, time = max(len(grid) for grid in grids), grids[0].shape[1]
    width = float(np.clip(2.5 + 0.16 * time, 5.5, 14.0))
    height = float(np.clip(1.2 + 0.11 * units, 2.2, 6.0))
    figure = matplotlib.figure.Figure(figsize=(width, height * len(grids)), layout="constrained")
    limit = max((float(np.abs(grid[np.isfinite(grid)]).max(initial=0.0)) for grid in grids), default=0.0) or 1.0
    colours = matplotlib.colormaps[cmap].with_extremes(bad="0.75")
    axes = figure.subplots(len(grids), 1, squeeze=False, sharex=True).ravel()
    for axis, layer, grid, each in zip(axes, halves, grids, found, strict=True):
        hidden = np.broadcast_to(~each.used.numpy(), grid.shape)
        image = axis.imshow(
            np.ma.array(grid, mask=hidden),
            cmap=colours,
            vmin=-limit,
            vmax=limit,
            aspect="auto",
            interpolation="nearest",
        )
        title = f"{layer.name}: {_state_name(layer, state)}, sample {sample}"
        axis.set_title(wrapped(title, int(width * 7)), parse_math=False)
        axis.set_ylabel("unit")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    axes[-1].set_xlabel("step" if all(each.used.all() for each in found) else "step (grey: masked)")
    figure.colorbar(image, ax=list(axes), label="value")
    return figure


def _state_name(layer: RNN, state: int) -> str:
    """As the equations call it: h, or c of an LSTM; a number where the cell is no built-in one."""
    if isinstance(layer.cell, LSTMCell):
        return "hc"[state]
    return "h" if isinstance(layer.cell, GatedCell) else f"state {state}"
