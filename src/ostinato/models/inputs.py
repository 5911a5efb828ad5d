"""The data of a call matched with the inputs of a drawn model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ostinato.core.symbolic import SymbolicTensor
from ostinato.recurrence.nests import Nest, describe, flatten, is_nested


def match_inputs(who: str, drawn: Nest, inputs: Nest) -> list[Any]:
    """The data for each input of a drawn model, in order.

    drawn: the symbolic inputs. inputs: a nest like them, a list in their order, or a dict by their names.
    Raises ValueError for a wrong number, name or shape.
    """
    starts: list[SymbolicTensor] = flatten(drawn)
    names = [symbol.node.call.name for symbol in starts if symbol.node is not None]
    if isinstance(inputs, dict) and not (isinstance(drawn, dict) and set(drawn) == set(inputs)):
        missing = [name for name in names if name not in inputs]
        if missing:
            raise ValueError(f"{who}: the data has no {missing}; the inputs are {names}, got {sorted(inputs)}.")
        leaves = [inputs[name] for name in names]
    else:
        leaves = flatten(inputs) if is_nested(inputs) else [inputs]
    if len(leaves) != len(starts):
        raise ValueError(f"{who}: expected {len(starts)} inputs {names}, got {len(leaves)}: {describe(inputs)}.")
    return [_fitted(who, name, symbol, leaf) for name, symbol, leaf in zip(names, starts, leaves, strict=True)]


def _fitted(who: str, name: str, symbol: SymbolicTensor, leaf: Any) -> Any:
    """Data in the shape and dtype of its input. As in Keras, a missing last axis of size 1 is added."""
    if not isinstance(leaf, Tensor):
        raise ValueError(f"{who}: input {name!r} takes a tensor or an array, got {leaf!r}.")
    wanted = symbol.shape
    if leaf.dim() == len(wanted) - 1 and wanted[-1] == 1:
        leaf = leaf.unsqueeze(-1)
    fits = leaf.dim() == len(wanted) and all(n is None or n == m for n, m in zip(wanted, leaf.shape, strict=True))
    if not fits:
        fixed = f" Its batch size is fixed, at {wanted[0]}." if wanted[0] not in (None, *leaf.shape[:1]) else ""
        raise ValueError(f"{who}: input {name!r} takes {_shown(wanted)}, got {tuple(leaf.shape)}.{fixed}")
    return leaf


def _shown(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
