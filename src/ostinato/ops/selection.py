"""Values chosen by a condition, by their place, or by their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.ops.axes import axis_within
from ostinato.ops.dtypes import as_dtype
from ostinato.ops.overrides import operation
from ostinato.ops.tensors import tensor, tensors


@operation
def where(condition: Any, x1: Any = None, x2: Any = None) -> Tensor:
    """x1 where the condition holds, x2 elsewhere; without them, where it holds, int64 `(dimensions, how many)`.

    >>> where([True, False], 1.0, [5.0, 6.0]), where([False, True])
    (tensor([1., 6.]), tensor([[1]]))
    """
    if (x1 is None) != (x2 is None):
        raise ValueError("where: expected both x1 and x2, or neither.")
    held = next((each for each in (x1, x2) if isinstance(each, Tensor)), None)
    chosen = tensor(condition, held).to(torch.bool)
    if x1 is None:
        return torch.stack(torch.where(chosen))
    if held is None:
        held = chosen.new_empty((), dtype=tensor(x1).dtype)
        return torch.where(chosen, tensor(x1, held).to(chosen.device), tensor(x2, held).to(chosen.device))
    return torch.where(chosen, *tensors(x1, x2))


@operation
def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The parts of `x` at `indices` along `axis`; with None, of the flattened `x`. Negative ones count from the end.

    indices: whole numbers of any shape, which takes the place of `axis`; torch refuses one that is out of range.

    >>> take([[1.0, 2.0], [3.0, 4.0]], [0, -1], axis=1)
    tensor([[1., 2.], [3., 4.]])
    """
    x = tensor(x)
    if axis is None:
        x, axis = x.reshape(-1), 0
    axis = axis_within(axis, x.ndim, "take")
    places = _counted(tensor(indices, x), x.shape[axis])
    taken = torch.index_select(x, axis, places.reshape(-1))
    return taken.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


@operation
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The values of `x` at the indices given for each place; with None, of the flattened `x`.

    indices: whole numbers, of the shape of `x` but along `axis`, or one that broadcasts with it.

    >>> take_along_axis([[1.0, 2.0], [3.0, 4.0]], [[1], [0]], axis=1)
    tensor([[2.], [3.]])
    """
    x = tensor(x)
    places = tensor(indices, x)
    if axis is None:
        return torch.take_along_dim(x.reshape(-1), _counted(places, x.numel()).reshape(-1))
    axis = axis_within(axis, x.ndim, "take_along_axis")
    return torch.take_along_dim(x, _counted(places, x.shape[axis]), axis)


def _counted(indices: Tensor, length: int) -> Tensor:
    """Indices as torch takes them, those that count from the end counted from the front."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + length, indices)


@operation
def slice(inputs: Any, start_indices: Any, shape: Any) -> Tensor:
    """The block of this shape that begins at `start_indices`.

    >>> slice([[1.0, 2.0, 3.0]], (0, 1), (1, 2))
    tensor([[2., 3.]])
    """
    block = tensor(inputs)
    starts, sizes = _block(block, start_indices, shape, "slice")
    for axis, (start, length) in enumerate(zip(starts, sizes, strict=True)):
        block = block.narrow(axis, start, length)
    return block


@operation
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Tensor:
    """A copy of `inputs` in which the block that begins at `start_indices` is `updates`.

    >>> slice_update([[1.0, 2.0, 3.0]], (0, 1), [[7.0, 8.0]])
    tensor([[1., 7., 8.]])
    """
    inputs = tensor(inputs)
    updates = tensor(updates, inputs).to(inputs.dtype)
    starts, sizes = _block(inputs, start_indices, updates.shape, "slice_update")
    updated = inputs.clone()
    block = updated
    for axis, (start, length) in enumerate(zip(starts, sizes, strict=True)):
        block = block.narrow(axis, start, length)
    block.copy_(updates)
    return updated


def _block(x: Tensor, starts: Any, sizes: Sequence[int], who: str) -> tuple[list[int], list[int]]:
    starts, sizes = [int(each) for each in starts], [int(each) for each in sizes]
    if not len(starts) == len(sizes) == x.ndim:
        raise ValueError(
            f"{who}: inputs of shape {tuple(x.shape)} need {x.ndim} start indices and sizes, got {starts} and {sizes}."
        )
    return starts, sizes


@operation
def sort(x: Any, axis: int | None = -1) -> Tensor:
    """`x` in rising order along `axis`; with None, flattened.

    >>> sort([3.0, 1.0, 2.0])
    tensor([1., 2., 3.])
    """
    return torch.sort(*_line(x, axis, "sort")).values


@operation
def argsort(x: Any, axis: int | None = -1) -> Tensor:
    """The places (int32) of the values in rising order along `axis`, equal ones in theirs; with None, flattened.

    >>> argsort([3.0, 1.0, 2.0])
    tensor([1, 2, 0], dtype=torch.int32)
    """
    x, axis = _line(x, axis, "argsort")
    return torch.argsort(x, dim=axis, stable=True).to(torch.int32)


def _line(x: Any, axis: int | None, who: str) -> tuple[Tensor, int]:
    x = tensor(x)
    if axis is None or x.ndim == 0:
        return x.reshape(-1) if axis is None else x, 0
    return x, axis_within(axis, x.ndim, who)


@operation
def top_k(x: Any, k: int, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """The k greatest values along the last axis and their places (int64), in falling order unless `sorted` is False.

    >>> top_k([1.0, 3.0, 2.0], 2)
    (tensor([3., 2.]), tensor([1, 2]))
    """
    x = tensor(x)
    if x.ndim == 0 or not 0 <= k <= x.shape[-1]:
        raise ValueError(f"top_k: shape {tuple(x.shape)} has no {k} values along its last axis.")
    found = torch.topk(x, k, sorted=sorted)
    return found.values, found.indices


@operation
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Tensor:
    """1 at the place that each whole number of `x` names along a new axis, 0 elsewhere.

    A number that is no class (negative, or `num_classes` and more) gives zeros only.
    axis: the place of the new axis in the result. sparse: torch has no such tensors here; True raises ValueError.

    >>> one_hot([0, 2, -1], 3)
    tensor([[1., 0., 0.], [0., 0., 1.], [0., 0., 0.]])
    """
    if sparse:
        raise ValueError("one_hot: sparse=True is not supported; only dense tensors are.")
    x = tensor(x)
    classes = torch.arange(num_classes, device=x.device)
    hot = x.to(torch.int64).unsqueeze(-1) == classes
    return hot.to(as_dtype(dtype)).movedim(-1, axis_within(axis, hot.ndim, "one_hot"))


@operation
def tril(x: Any, k: int = 0) -> Tensor:
    """The last two axes as matrices with zeros above their k-th diagonal.

    >>> tril([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 0.], [3., 4.]])
    """
    return torch.tril(tensor(x), k)


@operation
def triu(x: Any, k: int = 0) -> Tensor:
    """The last two axes as matrices with zeros below their k-th diagonal.

    >>> triu([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.], [0., 4.]])
    """
    return torch.triu(tensor(x), k)
