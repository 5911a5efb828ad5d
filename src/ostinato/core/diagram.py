"""What a model is made of, row by row, and what each row is called on: for tables and pictures of models."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from ostinato.core.layer import Layer
from ostinato.core.symbolic import Node, SymbolicTensor
from ostinato.core.tracking import Weights
from ostinato.recurrence.nests import flatten


class Row(NamedTuple):
    """A layer, torch module or torch function of a model, and the calls that the model makes of it.

    calls: none where they are not known, as in a subclassed model.
    """

    module: Any
    calls: list[Node]


def rows(model: Any) -> list[Row]:
    """The rows of a model in order: of a drawn one, inputs included, of a built Sequential, or of `model.layers`."""
    symbols = getattr(model, "_symbols", None)
    graph = None if symbols is not None else model._graph
    nodes = graph.nodes if graph is not None else [symbol.node for symbol in symbols[1:]] if symbols else []
    found: dict[torch.nn.Module, Row] = {}
    for node in nodes:
        found.setdefault(node.call, Row(node.call, [])).calls.append(node)
    return list(found.values()) or [Row(layer, []) for layer in model.layers]


def is_chain(found: list[Row]) -> bool:
    """Whether each row is called once, and on nothing but the output of the row before; so if nothing is known."""
    if not any(row.calls for row in found):
        return True
    follows = (
        [symbol.node for symbol in after.calls[0].inputs] == before.calls[:1] for before, after in pairwise(found)
    )
    return all(len(row.calls) == 1 for row in found) and all(follows)


def name_of(module: Any) -> str:
    """The module's name; for a plain torch module, which has none, its class in small letters."""
    return getattr(module, "name", None) or type(module).__name__.lower()


def index_of(symbol: SymbolicTensor) -> int:
    """Which of its call's outputs a symbolic tensor is."""
    assert symbol.node is not None
    return next(i for i, each in enumerate(flatten(symbol.node.outputs)) if each is symbol)


def input_shape(row: Row) -> str:
    """The shape of what a module is called on, `?` where it is not known."""
    return _in_words(_listed(symbol.shape for symbol in call.inputs) for call in row.calls)


def output_shape(row: Row) -> str:
    """The shape of what a module gives, `?` where it is not known."""
    if row.calls:
        return _in_words(_listed(symbol.shape for symbol in flatten(call.outputs)) for call in row.calls)
    module = row.module
    seen = getattr(module, "_build_shape", None)
    if seen is None or not isinstance(module, Layer) or not module.built or isinstance(seen, (list, dict)):
        return "?"
    if type(module).compute_output_shape is not Layer.compute_output_shape:
        return str(module.compute_output_shape((None, *seen[1:])))
    return "?"


def output_dtype(row: Row) -> str:
    """The dtype of what a module gives: "any" where an input takes whatever comes, `?` where it is not known."""
    names = ({_dtype_name(symbol.dtype): None for symbol in flatten(call.outputs)} for call in row.calls)
    return _in_words(", ".join(each) for each in names)


def is_unbuilt(module: Any) -> bool:
    """Whether the module is a layer that has yet to make its weights."""
    return isinstance(module, Layer) and not module.built and module._makes_weights()


def parameters(module: torch.nn.Module) -> int:
    """How many numbers the module's weights hold."""
    return sum(weight.numel() for weight in Weights(module).all)


def _listed(shapes: Iterable[Any]) -> str:
    found = [str(tuple(shape)) for shape in shapes]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]"


def _in_words(found: Iterable[str]) -> str:
    """What is so in each call, or what it may be where calls differ."""
    return " or ".join(dict.fromkeys(found)) or "?"


def _dtype_name(dtype: torch.dtype | None) -> str:
    return "any" if dtype is None else str(dtype).removeprefix("torch.")
