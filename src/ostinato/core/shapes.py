"""Shapes in Keras's sense: an int, or a sequence of ints and None; and nests of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ostinato.recurrence.nests import Nest, map_nest, remade

Shape = tuple[int | None, ...]


def spares_time(axis: Any) -> bool:
    """Whether an axis, or each of several, is surely not that of the steps of `(batch, time, ...)`.

    >>> spares_time(-1), spares_time([2, 3]), spares_time(1), spares_time([-2, -1])
    (True, True, False, False)
    """
    return all(each == -1 or each > 1 for each in (axis if isinstance(axis, (list, tuple)) else [axis]))


def is_size(value: Any) -> bool:
    """Whether `value` is a state or output size: an int, a torch.Size, or a sequence that is neither list nor tuple.

    A tuple `(5, 5)` is two sizes of 5, as in Keras 2. `TensorShape` is such a sequence.
    """
    if isinstance(value, torch.Size):
        return True
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return True
    if isinstance(value, (list, tuple, dict, str)) or value is None:
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def size_to_shape(size: Any) -> Shape:
    """A size as a shape: 5 gives (5,); None for -1, by which a cell says that it will know once it is built.

    >>> size_to_shape(5), size_to_shape(torch.Size([-1, 3]))
    ((5,), (None, 3))
    """
    entries = (int(size),) if isinstance(size, (int, np.integer)) else (int(size[i]) for i in range(len(size)))
    return tuple(None if entry == -1 else entry for entry in entries)


def is_shape(value: Any) -> bool:
    """Whether `value` is one shape (a tuple or list of ints and None) rather than a nest of shapes."""
    return isinstance(value, torch.Size) or (
        isinstance(value, (tuple, list)) and all(each is None or isinstance(each, int) for each in value)
    )


def shapes_of(inputs: Nest) -> Nest:
    """The shape of each tensor in a nest, as tuples."""
    if isinstance(inputs, torch.Tensor):
        return tuple(inputs.shape)
    return map_nest(lambda leaf: None if leaf is None else tuple(leaf.shape), inputs)


def as_shape(shape: Any) -> Shape:
    """A shape as a tuple of ints and None, whatever sequence it came as.

    Raises ValueError if it is not one.
    """
    if isinstance(shape, int):
        shape = (shape,)
    if not isinstance(shape, Sequence) and not hasattr(shape, "__len__"):
        raise ValueError(f"expected a shape such as (None, 28), got {shape!r}.")
    entries = tuple(shape[i] for i in range(len(shape)))
    for entry in entries:
        if entry is not None and (isinstance(entry, bool) or not hasattr(entry, "__index__") or entry < 0):
            raise ValueError(f"expected a shape of whole numbers and None, got {tuple(entries)!r}.")
    return tuple(None if entry is None else int(entry) for entry in entries)


def normalise(shapes: Any) -> Nest:
    """A nest of shapes with each one a tuple."""
    if is_shape(shapes) or not isinstance(shapes, (list, tuple, dict)):
        return as_shape(shapes)
    if isinstance(shapes, dict):
        return {key: normalise(value) for key, value in shapes.items()}
    return remade(shapes, [normalise(each) for each in shapes])
