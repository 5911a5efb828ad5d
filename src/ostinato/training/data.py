"""Arrays and tensors as batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core.dtypes import to_tensor
from ostinato.recurrence.nests import Nest, flatten, is_nested, map_nest


class Arrays:
    """Inputs and targets of the same length, to be taken in batches.

    x, y: nests of arrays or tensors, batch first; y may be None. Floating numbers get `dtype`, others keep theirs.
    Raises ValueError for arrays of different lengths or of none, TypeError for what is no array.
    """

    def __init__(self, x: Nest, y: Nest, dtype: torch.dtype, batch_size: int | None, who: str) -> None:
        batch_size = 32 if batch_size is None else batch_size
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or int(batch_size) < 1:
            raise ValueError(f"{who}: batch_size must be a positive whole number, got {batch_size!r}.")
        self.batch_size = int(batch_size)
        self.x = _tensors(x, dtype, f"{who}: x")
        self.y = None if y is None else _tensors(y, dtype, f"{who}: y")
        leaves = flatten(self.x) + ([] if self.y is None else flatten(self.y))
        lengths = [len(leaf) for leaf in leaves]
        if len(set(lengths)) > 1:
            raise ValueError(f"{who}: all arrays must have the same length, got {lengths}.")
        self.length = lengths[0]
        if self.length == 0:
            raise ValueError(f"{who}: the arrays are empty.")
        self.steps = -(-self.length // self.batch_size)

    def batches(self, device: torch.device, order: Tensor | None = None) -> Iterator[tuple[Nest, Nest, int]]:
        """(x, y, number of samples) for each batch; order: `(length,)` int64, the samples in the order to take them."""
        for start in range(0, self.length, self.batch_size):
            stop = min(start + self.batch_size, self.length)
            index = None if order is None else order[start:stop]

            def take(leaf: Tensor, start: int = start, stop: int = stop, index: Tensor | None = index) -> Tensor:
                rows = leaf[start:stop] if index is None else leaf.index_select(0, index)
                return rows if rows.device == device else rows.to(device, non_blocking=True)

            yield _map(take, self.x), None if self.y is None else _map(take, self.y), stop - start


def _map(function: Any, nest: Nest) -> Nest:
    return function(nest) if isinstance(nest, Tensor) else map_nest(function, nest)


def _tensors(nest: Nest, dtype: torch.dtype, who: str) -> Nest:
    """A nest of arrays as tensors on the CPU, or where they are."""
    if nest is None:
        raise ValueError(f"{who} is missing.")
    if is_nested(nest) and not isinstance(nest, dict):
        leaves = flatten(nest)
        if not leaves:
            raise ValueError(f"{who} is empty.")
        if all(isinstance(leaf, (int, float, np.generic)) for leaf in leaves):
            nest = np.asarray(nest)  # a list of numbers is one array, not many inputs

    def convert(leaf: Any) -> Tensor:
        if not isinstance(leaf, Tensor):
            if not hasattr(leaf, "__array__"):
                raise TypeError(f"{who}: expected arrays or tensors, got {type(leaf).__name__}.")
            leaf = to_tensor(leaf, dtype, torch.device("cpu"))
        elif leaf.is_floating_point():
            leaf = leaf.to(dtype)
        if leaf.dim() == 0:
            raise ValueError(f"{who}: expected arrays with a batch, got a single number.")
        return leaf

    return map_nest(convert, nest)
