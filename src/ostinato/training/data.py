"""Arrays and tensors as batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core.dtypes import to_tensor
from ostinato.recurrence.nests import Nest, flatten, map_nest, pack_like

_GATHERED = 1 << 22  # bytes


class Arrays:
    """Inputs and targets of the same length, to be taken in batches.

    x, y: nests of arrays or tensors, batch first; y may be None. Floating inputs get `dtype`, floating targets at least
    float32, all else keeps its own. batch_size: in samples, 32 by default.
    Raises ValueError for arrays of different lengths or of none, TypeError for what is no array.
    """

    def __init__(self, x: Nest, y: Nest, dtype: torch.dtype, batch_size: int | None, who: str) -> None:
        batch_size = 32 if batch_size is None else batch_size
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or int(batch_size) < 1:
            raise ValueError(f"{who}: batch_size must be a positive whole number, got {batch_size!r}.")
        if x is None:
            raise ValueError(f"{who}: x is missing.")
        self.batch_size = int(batch_size)
        self.x = _tensors(x, dtype, f"{who}: x")
        self.y = None if y is None else _tensors(y, torch.promote_types(dtype, torch.float32), f"{who}: y")
        self._leaves: list[Tensor] = flatten(self.x) + ([] if self.y is None else flatten(self.y))
        lengths = [len(leaf) for leaf in self._leaves]
        if len(set(lengths)) > 1:
            raise ValueError(f"{who}: all arrays must have the same length, got {lengths}.")
        self.length = lengths[0]
        if self.length == 0:
            raise ValueError(f"{who}: the arrays are empty.")
        self.steps = -(-self.length // self.batch_size)

    def batches(self, device: torch.device, order: Tensor | None = None) -> Iterator[tuple[Nest, Nest, int]]:
        """(x, y, number of samples) for each batch, on `device`.

        order: `(length,)` int64, the samples in the order to take them. Rows are gathered and moved for many batches at
        a time, which costs a fraction of doing it for each; a batch is a view of those.
        """
        bytes_of_batch = self.batch_size * sum(leaf[0].numel() * leaf.element_size() for leaf in self._leaves)
        samples = self.batch_size * max(1, _GATHERED // max(1, bytes_of_batch))
        for start in range(0, self.length, samples):
            stop = min(start + samples, self.length)
            held = [_rows(leaf, start, stop, order, device).split(self.batch_size) for leaf in self._leaves]
            for batch in zip(*held, strict=True):
                x, y = pack_like((self.x, self.y), (*batch, None))
                yield x, y, len(batch[0])


def _rows(leaf: Tensor, start: int, stop: int, order: Tensor | None, device: torch.device) -> Tensor:
    rows = leaf[start:stop] if order is None else leaf.index_select(0, order[start:stop].to(leaf.device))
    return rows if rows.device == device else rows.to(device, non_blocking=True)


def _tensors(nest: Nest, dtype: torch.dtype, who: str) -> Nest:
    """A nest of arrays as tensors on the CPU, or where they are."""
    leaves = flatten(nest)
    if not leaves:
        raise ValueError(f"{who} is empty.")
    if isinstance(nest, (list, tuple)) and all(isinstance(leaf, (int, float, np.generic)) for leaf in leaves):
        nest = _one_array(nest, who)  # a list of numbers is one array, not many inputs

    def convert(leaf: Any) -> Tensor:
        if not isinstance(leaf, Tensor):
            if not hasattr(leaf, "__array__"):
                raise TypeError(f"{who}: expected arrays or tensors, got {type(leaf).__name__}.")
            try:
                leaf = to_tensor(leaf, dtype, torch.device("cpu"))
            except TypeError as error:
                raise TypeError(f"{who}: {error}") from None
        else:
            leaf = leaf.detach()
            leaf = leaf.to(dtype) if leaf.is_floating_point() else leaf
        if leaf.dim() == 0:
            raise ValueError(f"{who}: expected arrays with a batch, got a single number.")
        return leaf

    return map_nest(convert, nest)


def _one_array(numbers: Any, who: str) -> np.ndarray:
    try:
        return np.asarray(numbers)
    except ValueError:
        raise ValueError(f"{who}: the rows of a list of numbers must be of the same length.") from None
