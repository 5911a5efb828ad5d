"""Nests: a tensor, or a list, tuple or dict of nests.

Dicts are walked in the order of their sorted keys, so that two dicts with the same keys always agree. Everything
that is not a list, tuple or dict is a leaf; `torch.Size` is a leaf too, for it is a shape, not two numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

Nest = Any


def is_nested(nest: Nest) -> bool:
    """Whether `nest` is a container rather than a leaf."""
    return isinstance(nest, (list, tuple, dict)) and not isinstance(nest, torch.Size)


def flatten(nest: Nest, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves of `nest`, in order."""
    if is_leaf is None and type(nest) in (tuple, list):  # a flat one, which most are, needs no walk
        for child in nest:
            if isinstance(child, (list, tuple, dict)):
                break
        else:
            return list(nest)
    elif not isinstance(nest, (list, tuple, dict)):
        return [nest]
    leaves: list[Any] = []
    _collect(nest, is_leaf, leaves)
    return leaves


def _collect(nest: Nest, is_leaf: Callable[[Any], bool] | None, leaves: list[Any]) -> None:
    if not is_nested(nest) or (is_leaf is not None and is_leaf(nest)):
        leaves.append(nest)
    else:
        for child in [nest[key] for key in sorted(nest)] if isinstance(nest, dict) else nest:
            _collect(child, is_leaf, leaves)


def map_nest(function: Callable[[Any], Any], nest: Nest, is_leaf: Callable[[Any], bool] | None = None) -> Nest:
    """`nest` with `function` applied to each leaf."""
    if not is_nested(nest) or (is_leaf is not None and is_leaf(nest)):
        return function(nest)
    return pack_like(nest, [function(leaf) for leaf in flatten(nest, is_leaf)], is_leaf)


def pack_like(nest: Nest, leaves: Iterable[Any], is_leaf: Callable[[Any], bool] | None = None) -> Nest:
    """`leaves` in the structure of `nest`; as many leaves as `nest` has are taken."""
    return _pack(nest, iter(leaves), is_leaf)


def _pack(nest: Nest, leaves: Iterator[Any], is_leaf: Callable[[Any], bool] | None) -> Nest:
    if not is_nested(nest) or (is_leaf is not None and is_leaf(nest)):
        return next(leaves)
    if isinstance(nest, dict):
        packed = {key: _pack(nest[key], leaves, is_leaf) for key in sorted(nest)}
        return {key: packed[key] for key in nest}
    children = [_pack(child, leaves, is_leaf) for child in nest]
    return remade(nest, children)


def remade(nest: Nest, children: list[Any]) -> Nest:
    """A list or tuple like `nest`, of other children; what torch functions such as max return keeps its names."""
    if isinstance(nest, list):
        return children
    if hasattr(nest, "_fields"):  # a NamedTuple
        return type(nest)(*children)
    return type(nest)(children) if hasattr(nest, "n_sequence_fields") else tuple(children)


def describe(nest: Nest) -> str:
    """The structure of `nest` in words for an error message: `[(32, 8), (32, 8)]`.

    >>> import torch
    >>> describe([torch.zeros(2, 3), {"a": torch.zeros(4)}])
    "[(2, 3), {'a': (4,)}]"
    """
    if isinstance(nest, dict):
        return "{" + ", ".join(f"{key!r}: {describe(nest[key])}" for key in nest) + "}"
    if is_nested(nest):
        inside = ", ".join(describe(child) for child in nest)
        return f"[{inside}]" if isinstance(nest, list) else f"({inside})"
    shape = getattr(nest, "shape", None)
    return str(tuple(shape)) if shape is not None else type(nest).__name__
