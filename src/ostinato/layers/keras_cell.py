"""A cell of the user's own as a recurrence: its `call`, once per step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ostinato.core.cell import Cell, state_structure, zero_state
from ostinato.core.context import CONTEXT, holding
from ostinato.core.input_spec import check
from ostinato.core.layer import Layer
from ostinato.core.shapes import is_shape, is_size, normalise, size_to_shape
from ostinato.core.symbolic import SymbolicTensor, TensorSpec, infer
from ostinato.engines.spec import autocast
from ostinato.layers.inner import dtype_of
from ostinato.recurrence.base import Recurrence
from ostinato.recurrence.nests import Nest, describe, flatten, map_nest, pack_like


class KerasCell(Recurrence):
    """Calls `cell(inputs, states)` at each step, as Keras does; runs on the reference loop.

    The cell's weights stay where they are, in the cell: it is no function of tensors that an engine could look into.
    """

    name = "keras_cell"

    def __init__(self, cell: Any, training: bool, constants: Sequence[Tensor] | None = None) -> None:
        self.cell = cell
        self.keywords: dict[str, Any] = {}
        asked = _asked(_call_of(cell))
        if asked.training:
            self.keywords["training"] = training
        if constants:
            self.keywords["constants"] = list(constants)
        elif asked.needs_constants:
            raise TypeError(f"{name_of(cell)} takes constants at every step and got none. Pass constants=[...].")
        # One above another in a cell of one's own is stepped through the sequence of that one.
        self.held = (CONTEXT.held if CONTEXT.held is not None else {}) if training else None
        declared = getattr(cell, "output_size", None)
        self.widths = None if declared is None else [size_to_shape(size) for size in flatten(declared, is_size)]

    def step(self, x: Nest, state: Nest) -> tuple[Nest, Nest]:
        run = self.cell if callable(self.cell) else self.cell.call
        if self.held is None:
            output, new = run(x, state, **self.keywords)
        else:
            with holding(self.held):
                output, new = run(x, state, **self.keywords)
        given, leaves = flatten(state), flatten(new)
        if len(leaves) != len(given) or any(a.shape != b.shape for a, b in zip(leaves, given, strict=False)):
            raise ValueError(f"{name_of(self.cell)} returned states {describe(new)}; it was given {describe(state)}.")
        if self.widths is not None:
            self._check_output(output, self.widths)
        if leaves and autocast(leaves[0].device.type) is not None:  # the products are in lower precision, no state is
            leaves = [leaf.to(old.dtype) for leaf, old in zip(leaves, given, strict=True)]
        return output, pack_like(state, leaves)

    def _check_output(self, output: Nest, widths: list[tuple[int | None, ...]]) -> None:
        shapes = [leaf.shape[1:] for leaf in flatten(output)]
        alike = len(shapes) == len(widths) and all(
            len(shape) == len(width) and all(n is None or n == m for n, m in zip(width, shape, strict=True))
            for shape, width in zip(shapes, widths, strict=True)
        )
        if not alike:
            raise ValueError(
                f"{name_of(self.cell)} returned output {describe(output)}; its output_size says "
                f"{[('batch', *width) for width in widths]}."
            )

    def tensors(self) -> tuple[Tensor | None, ...]:
        return tuple(getattr(self.cell, "weights", ()) or ())

    def replace(self, tensors: Sequence[Tensor | None]) -> Self:
        raise TypeError(f"{type(self.cell).__name__} keeps its weights to itself; it cannot run over others.")

    def options(self) -> tuple[Any, ...]:
        return (type(self.cell).__name__,)

    @classmethod
    def facts(cls, options: tuple[Any, ...]) -> dict[str, Any]:
        return {"cell": options[0]}


def recurrence_of(cell: Any, batch: int, training: bool, constants: Sequence[Tensor] | None = None) -> Recurrence:
    """The recurrence of any cell: what a built-in cell says it is, else the cell itself, step by step.

    constants: for a cell that `takes_constants`.
    """
    if is_pure(cell):
        return cell.recurrence(batch, training, constants) if constants else cell.recurrence(batch, training)
    return KerasCell(cell, training, constants)


def is_pure(cell: Any) -> bool:
    """Whether `call` is nothing but a step of the cell's recurrence: a subclass that overrides it means its own."""
    return isinstance(cell, Cell) and type(cell).call is Cell.call


def name_of(cell: Any) -> str:
    """A cell in words, for messages.

    >>> name_of(torch.nn.Linear(1, 1))
    'Linear'
    """
    return getattr(cell, "described", type(cell).__name__)


# -- what a cell's functions ask for ----------------------------------------------------------------------------------


class _Asked(NamedTuple):
    training: bool
    constants: bool
    needs_constants: bool


def _call_of(cell: Any) -> Callable[..., Any]:
    return getattr(type(cell), "call", None) or type(cell).forward


_SIGNATURES: dict[Any, Mapping[str, inspect.Parameter]] = {}  # not functools.cache, which torch.compile looks through


def _arguments(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    found = _SIGNATURES.get(function)
    if found is None:
        found = _SIGNATURES[function] = dict(inspect.signature(function).parameters)
    return found


def _asked(call: Callable[..., Any]) -> _Asked:
    parameters = _arguments(call)
    constants = parameters.get("constants")
    anything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    return _Asked(
        "training" in parameters,
        constants is not None or anything,
        constants is not None and constants.default is inspect.Parameter.empty,
    )


def takes_constants(cell: Any) -> bool:
    """Whether a cell's `call` takes constants: of stacked cells, that of any of them."""
    if is_pure(cell):
        return any(takes_constants(each) for each in getattr(cell, "cells", ()))
    return _asked(_call_of(cell)).constants


def constants_for(cell: Any, constants: Any, who: str) -> list[Any] | None:
    """The constants of a call as the list that a cell takes. Raises ValueError for a cell that takes none."""
    if constants is None:
        return None
    found = list(constants) if isinstance(constants, (list, tuple)) else [constants]
    if found and not takes_constants(cell):
        raise ValueError(
            f"{who}: got constants, but its cell {name_of(cell)} takes none: its call has no argument `constants`."
        )
    return found


# -- states before any step -------------------------------------------------------------------------------------------


def initial_state_of(
    cell: Any, batch: int, dtype: torch.dtype, device: torch.device, like: Tensor | None = None
) -> Nest:
    """A cell's state before any step: what its own `get_initial_state` gives, as Keras 3 or 2 calls it, else zeros.

    like: the inputs, where there are some, for those of Keras 2.
    """
    if not makes_own_state(cell):
        return zero_state(cell, batch, dtype, device)
    own = cell.get_initial_state
    offered = {"batch_size": batch, "inputs": like, "dtype": dtype}
    accepted = _parameters(getattr(own, "__func__", own))
    return own(**{key: value for key, value in offered.items() if accepted is None or key in accepted})


def _parameters(function: Callable[..., Any]) -> frozenset[str] | None:
    """The names of a function's arguments; None if it takes any."""
    parameters = _arguments(function)
    anything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    return None if anything else frozenset(parameters)


def makes_own_state(cell: Any) -> bool:
    """Whether a cell says by itself how it starts: of stacked cells, whether any of them does."""
    return cell._makes_own_state() if isinstance(cell, Cell) else hasattr(cell, "get_initial_state")


# -- building ---------------------------------------------------------------------------------------------------------


def build_cell(cell: Any, step_shape: Any, device: Any) -> None:
    """Build a cell for one step's input. Raises ValueError for one that was built for another and cannot take this."""
    if not isinstance(cell, Layer):
        return
    if not cell.built:
        cell._build_device = device
        cell.build(step_shape)
    elif cell.input_spec is not None:
        step = _symbols(step_shape, cell.dtype)
        check(cell.input_spec, step, f"{cell.described}, which was built before it came into this layer")
    elif cell._build_shape is not None and _differ(cell._build_shape, step_shape):
        try_step(cell, _symbols(step_shape, cell.dtype))


def try_step(cell: Any, step: Nest, constants: Sequence[Any] | None = None) -> Nest:
    """What a cell gives for one step, as TensorSpecs; builds the layers in it that are not built yet.

    step: nest of symbolic tensors. Raises ValueError where the cell cannot take it.
    """
    sizes = map_nest(size_to_shape, state_structure(cell), is_size)
    batch = flatten(step)[0].shape[0]
    states = map_nest(lambda size: _symbols((batch, *size), cell.dtype), sizes, is_shape)
    return infer(cell, (step, states), {"constants": list(constants)} if constants else {})


def _symbols(shapes: Any, dtype: torch.dtype) -> Nest:
    return map_nest(lambda shape: SymbolicTensor(TensorSpec(shape, dtype), None), normalise(shapes), is_shape)


def _differ(before: Any, now: Any) -> bool:
    """Whether two nests of shapes differ in a size that both know, the batch aside."""
    pairs = [flatten(normalise(shapes), is_shape) for shapes in (before, now)]
    if [len(shape) for shape in pairs[0]] != [len(shape) for shape in pairs[1]]:
        return True
    sizes = [[size for shape in shapes for size in shape[1:]] for shapes in pairs]
    return any(None not in (a, b) and a != b for a, b in zip(*sizes, strict=True))


def with_dtype_of(inner: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a layer around another: where they name no dtype, the inner layer's or torch module's."""
    if options.get("dtype") is None and isinstance(inner, torch.nn.Module):
        return {**options, "dtype": dtype_of(inner)}
    return options


def check_cell(cell: Any, who: str) -> None:
    """Raise ValueError unless `cell` can be the inside of a loop."""
    if not callable(getattr(cell, "call", getattr(cell, "forward", None))):
        raise ValueError(f"{who}: cell must have call(inputs, states), got {type(cell).__name__}.")
    if not hasattr(cell, "state_size"):
        raise ValueError(
            f"{who}: cell {type(cell).__name__} must have state_size: an int or a shape, or a list of them."
        )
    sizes = flatten(state_structure(cell), is_size)
    if not sizes or not all(is_size(size) for size in sizes):
        raise ValueError(
            f"{who}: state_size of {type(cell).__name__} must hold ints or shapes, got {cell.state_size!r}."
        )
