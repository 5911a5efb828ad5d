"""A cell of the user's own as a recurrence: its `call`, once per step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor

from ostinato.core.calls import signature_of
from ostinato.core.cell import Cell, state_structure
from ostinato.core.layer import Layer
from ostinato.core.shapes import is_size
from ostinato.recurrence.base import Recurrence
from ostinato.recurrence.nests import Nest, describe, flatten, pack_like


class KerasCell(Recurrence):
    """Calls `cell(inputs, states)` at each step, as Keras does; runs on the reference loop.

    The cell's weights stay where they are, in the cell: it is no function of tensors that an engine could look into.
    """

    name = "keras_cell"

    def __init__(self, cell: Any, training: bool, constants: Sequence[Tensor] | None = None) -> None:
        self.cell = cell
        self.keywords: dict[str, Any] = {}
        signature = signature_of(getattr(type(cell), "call", None) or type(cell).forward)
        if signature.training:
            self.keywords["training"] = training
        if constants:
            self.keywords["constants"] = list(constants)

    def step(self, x: Nest, state: Nest) -> tuple[Nest, Nest]:
        run = self.cell if callable(self.cell) else self.cell.call
        output, new = run(x, state, **self.keywords)
        given, leaves = flatten(state), flatten(new)
        if len(leaves) != len(given) or any(a.shape != b.shape for a, b in zip(leaves, given, strict=False)):
            who = getattr(self.cell, "described", type(self.cell).__name__)
            raise ValueError(f"{who} returned states {describe(new)}; it was given {describe(state)}.")
        return output, pack_like(state, leaves)

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
    """The recurrence of any cell: what a built-in cell says it is, else the cell itself, step by step."""
    if isinstance(cell, Cell) and not constants and type(cell).call in _PURE_CALLS:
        return cell.recurrence(batch, training)
    return KerasCell(cell, training, constants)


_PURE_CALLS = {Cell.call}
"""`call`s that are nothing but a step of the cell's recurrence: a subclass that overrides `call` means its own."""


def with_dtype_of(inner: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a layer around another: where they name no dtype, the inner layer's."""
    if options.get("dtype") is None and isinstance(inner, Layer):
        return {**options, "dtype": inner.dtype}
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
