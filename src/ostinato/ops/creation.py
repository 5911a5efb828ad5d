"""Tensors made from nothing or in the likeness of another; floats are of torch's default dtype unless one is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.ops.devices import creation_device
from ostinato.ops.dtypes import as_dtype, floating, number_dtype
from ostinato.ops.overrides import operation
from ostinato.ops.tensors import tensor

Shape = int | Sequence[int]


def _sizes(shape: Any, who: str) -> tuple[int, ...]:
    sizes = (shape,) if hasattr(shape, "__index__") else tuple(shape)
    if None in sizes:
        raise ValueError(f"{who}: shape {sizes} has a size that is unknown. Use {who}_like, or a size that is known.")
    return sizes


def zeros(shape: Shape, dtype: Any = None) -> Tensor:
    """Zeros of a shape.

    >>> zeros((1, 2)), zeros(2, dtype="int32")
    (tensor([[0., 0.]]), tensor([0, 0], dtype=torch.int32))
    """
    return torch.zeros(_sizes(shape, "zeros"), dtype=as_dtype(dtype), device=creation_device())


def ones(shape: Shape, dtype: Any = None) -> Tensor:
    """Ones of a shape.

    >>> ones((1, 2))
    tensor([[1., 1.]])
    """
    return torch.ones(_sizes(shape, "ones"), dtype=as_dtype(dtype), device=creation_device())


@operation
def full(shape: Shape, fill_value: Any, dtype: Any = None) -> Tensor:
    """A shape filled with one value, or with a tensor that broadcasts to it.

    >>> full((2,), 7.0), full((2, 2), [1.0, 2.0])
    (tensor([7., 7.]), tensor([[1., 2.], [1., 2.]]))
    """
    return _filled(_sizes(shape, "full"), fill_value, as_dtype(dtype), None)


@operation
def zeros_like(x: Any, dtype: Any = None) -> Tensor:
    """Zeros with the shape of `x`, and its dtype unless another is named.

    >>> zeros_like([1.0, 2.0])
    tensor([0., 0.])
    """
    return torch.zeros_like(tensor(x), dtype=None if dtype is None else as_dtype(dtype))


@operation
def ones_like(x: Any, dtype: Any = None) -> Tensor:
    """Ones with the shape of `x`, and its dtype unless another is named.

    >>> ones_like([1.0, 2.0], dtype="bool")
    tensor([True, True])
    """
    return torch.ones_like(tensor(x), dtype=None if dtype is None else as_dtype(dtype))


@operation
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """One value with the shape of `x`, and its dtype unless another is named.

    >>> full_like([1.0, 2.0], 7)
    tensor([7., 7.])
    """
    x = tensor(x)
    return _filled(tuple(x.shape), fill_value, x.dtype if dtype is None else as_dtype(dtype), x)


def _filled(sizes: tuple[int, ...], value: Any, dtype: torch.dtype, beside: Tensor | None) -> Tensor:
    return tensor(value, beside).to(dtype).expand(sizes).clone()


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """A matrix `(N, M)` with ones on its k-th diagonal, above the main one if `k` is positive; M defaults to N.

    >>> eye(2, 3, k=1)
    tensor([[0., 1., 0.], [0., 0., 1.]])
    """
    rows = torch.arange(N, device=creation_device()).unsqueeze(1)
    columns = torch.arange(N if M is None else M, device=creation_device())
    return (columns - rows == (k or 0)).to(as_dtype(dtype))


def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Tensor:
    """`start, start + step, ...` below `stop`; with one argument, from 0 below it. Ints give int32.

    >>> arange(3), arange(1.0, 2.0, 0.5)
    (tensor([0, 1, 2], dtype=torch.int32), tensor([1.0000, 1.5000]))
    """
    first, last = (0, start) if stop is None else (start, stop)
    step = 1 if step is None else step
    if dtype is None:
        kinds = [_kind(each) for each in ((start,) if stop is None else (start, stop)) + (step,)]
        chosen = kinds[0]
        for each in kinds[1:]:
            chosen = torch.promote_types(chosen, each)
    else:
        chosen = as_dtype(dtype)
    return torch.arange(first, last, step, dtype=chosen, device=creation_device())


def _kind(value: Any) -> torch.dtype:
    return as_dtype(value.dtype) if hasattr(value, "dtype") else number_dtype(value)


@operation
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` evenly spaced values from `start` to `stop`, with it unless `endpoint` is False.

    start, stop: numbers, or tensors that broadcast; the values then lie along `axis` of the result.
    retstep: return (values, distance between them).

    >>> linspace(0.0, 1.0, 3), linspace(0.0, 1.0, 2, endpoint=False, retstep=True)
    (tensor([0.0000, 0.5000, 1.0000]), (tensor([0.0000, 0.5000]), tensor(0.5000)))
    """
    if num < 0:
        raise ValueError(f"linspace: num must be 0 or more, got {num}.")
    start, stop = tensor(start, stop), tensor(stop, start)
    wanted = floating(start + stop).dtype if dtype is None else as_dtype(dtype)
    exact = wanted if wanted.is_floating_point or wanted.is_complex else torch.get_default_dtype()
    start, stop = torch.broadcast_tensors(start.to(exact), stop.to(exact))
    intervals = num - 1 if endpoint else num
    step = (stop - start) / intervals if intervals > 0 else torch.full_like(start, torch.nan)
    counts = torch.arange(num, dtype=exact, device=start.device).reshape(-1, *[1] * start.ndim)
    values = start + counts * (step if intervals > 0 else 0)
    if endpoint and num > 1:
        values = torch.cat([values[:-1], stop.unsqueeze(0)])  # the last one exactly
    values = values.movedim(0, axis).to(wanted)
    return (values, step) if retstep else values
