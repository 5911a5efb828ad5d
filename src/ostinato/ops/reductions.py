"""Many values to one, along an axis, several, or all (None); and running sums."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.ops.axes import Axis, axes_within, axis_within
from ostinato.ops.dtypes import as_dtype, countable, floating
from ostinato.ops.overrides import operation
from ostinato.ops.tensors import tensor


@operation
def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum along `axis`; of truth values and small whole numbers an int32.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=-1)
    tensor([3., 7.])
    """
    x = countable(tensor(x))
    axes = axes_within(axis, x.ndim, "sum")
    return torch.sum(x, axes, keepdims, dtype=x.dtype) if axes else x


@operation
def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean along `axis`; of whole numbers a float.

    >>> mean([[1, 2], [3, 4]], axis=0, keepdims=True)
    tensor([[2., 3.]])
    """
    x = floating(tensor(x))
    axes = axes_within(axis, x.ndim, "mean")
    return torch.mean(x, axes, keepdims) if axes else x


@operation
def var(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The variance along `axis`, `mean((x - mean(x))^2)`: no correction for small samples.

    >>> var([1.0, 3.0])
    tensor(1.)
    """
    x = floating(tensor(x))
    axes = axes_within(axis, x.ndim, "var")
    return torch.var(x, axes, correction=0, keepdim=keepdims) if axes else x - x


@operation
def std(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The standard deviation along `axis`, the root of `var`.

    >>> std([1.0, 3.0])
    tensor(1.)
    """
    x = floating(tensor(x))
    axes = axes_within(axis, x.ndim, "std")
    return torch.std(x, axes, correction=0, keepdim=keepdims) if axes else torch.zeros_like(x)


@operation
def max(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """The greatest value along `axis`, and at least `initial`.

    Raises ValueError where there are no values and no `initial`.

    >>> max([[1.0, 5.0], [3.0, 4.0]], axis=1), max([1.0], initial=2.0)
    (tensor([5., 4.]), tensor(2.))
    """
    return _extreme(x, axis, keepdims, initial, torch.amax, torch.maximum, "max")


@operation
def min(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """The least value along `axis`, and at most `initial`.

    Raises ValueError where there are no values and no `initial`.

    >>> min([[1.0, 5.0], [3.0, 4.0]], axis=1)
    tensor([1., 3.])
    """
    return _extreme(x, axis, keepdims, initial, torch.amin, torch.minimum, "min")


def _extreme(x: Any, axis: Axis, keepdims: bool, initial: Any, reduce: Any, pair: Any, who: str) -> Tensor:
    x = tensor(x)
    axes = axes_within(axis, x.ndim, who)
    empty = 0 in [x.shape[each] for each in axes]
    if initial is None:
        if empty:
            raise ValueError(f"{who}: no values along axis {axes} of shape {tuple(x.shape)}. Give initial.")
        return reduce(x, axes, keepdims) if axes else x
    bound = tensor(initial, x).to(x.dtype)
    if empty:
        return bound.expand(torch.sum(x, axes, keepdims).shape).clone()
    return pair(reduce(x, axes, keepdims) if axes else x, bound)


@operation
def prod(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Tensor:
    """The product along `axis`, in `dtype` if one is named; of truth values and small whole numbers an int32.

    >>> prod([[1, 2], [3, 4]], axis=1)
    tensor([ 2, 12], dtype=torch.int32)
    """
    x = countable(tensor(x)) if dtype is None else tensor(x).to(as_dtype(dtype))
    for each in sorted(axes_within(axis, x.ndim, "prod"), reverse=True):
        x = torch.prod(x, each, keepdims, dtype=x.dtype)
    return x


@operation
def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether a value along `axis` is true, or not 0.

    >>> any([[True, False], [False, False]], axis=1)
    tensor([ True, False])
    """
    x = tensor(x).to(torch.bool)
    axes = axes_within(axis, x.ndim, "any")
    return torch.any(x, axes, keepdims) if axes else x


@operation
def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether all values along `axis` are true, or not 0.

    >>> all([[True, False], [True, True]], axis=1)
    tensor([False,  True])
    """
    x = tensor(x).to(torch.bool)
    axes = axes_within(axis, x.ndim, "all")
    return torch.all(x, axes, keepdims) if axes else x


@operation
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """`log(sum(exp(x)))` along `axis`, without overflow.

    >>> logsumexp([1000.0, -1000.0])
    tensor(1000.)
    """
    x = floating(tensor(x))
    axes = axes_within(axis, x.ndim, "logsumexp")
    return torch.logsumexp(x, axes, keepdims) if axes else x


@operation
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place (int32) of the greatest value along `axis`; with None, its place in the flattened tensor.

    >>> argmax([[1.0, 5.0], [4.0, 3.0]], axis=1)
    tensor([1, 0], dtype=torch.int32)
    """
    return torch.argmax(*_search(x, axis, "argmax"), keepdims).to(torch.int32)


@operation
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place (int32) of the least value along `axis`; with None, its place in the flattened tensor.

    >>> argmin([[1.0, 5.0], [4.0, 3.0]], axis=1)
    tensor([0, 1], dtype=torch.int32)
    """
    return torch.argmin(*_search(x, axis, "argmin"), keepdims).to(torch.int32)


def _search(x: Any, axis: int | None, who: str) -> tuple[Tensor, int | None]:
    x = tensor(x)
    return (
        x.to(torch.uint8) if x.dtype is torch.bool else x,
        None if axis is None or x.ndim == 0 else axis_within(axis, x.ndim, who),
    )


@operation
def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The running sum along `axis`; with None, of the flattened tensor.

    >>> cumsum([[1, 2], [3, 4]], axis=1)
    tensor([[1, 3], [3, 7]], dtype=torch.int32)
    """
    x = tensor(x)
    x = x.reshape(-1) if axis is None else x
    kept = torch.int32 if x.dtype is torch.bool else x.dtype
    chosen = kept if dtype is None else as_dtype(dtype)
    return torch.cumsum(x, 0 if axis is None else axis_within(axis, x.ndim, "cumsum"), dtype=chosen)
