"""Products of vectors, matrices and what is larger; norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.ops.axes import Axis
from ostinato.ops.dtypes import floating, promoted
from ostinato.ops.overrides import operation
from ostinato.ops.tensors import tensor, tensors


@operation
def matmul(x1: Any, x2: Any) -> Tensor:
    """The matrix product; axes before the last two broadcast, a vector is a row on the left and a column on the right.

    x1: `(..., n, k)`; x2: `(..., k, m)`; returns `(..., n, m)`.

    >>> matmul([[1.0, 2.0]], [[3.0], [4.0]])
    tensor([[11.]])
    """
    return _contract(torch.matmul, *tensors(x1, x2))


@operation
def dot(x1: Any, x2: Any) -> Tensor:
    """The sum of products over the last axis of x1 and the last but one of x2: `matmul`, or a scalar times a tensor.

    Of two tensors of more than two dimensions it is the matrix product too, as Keras has it on torch.

    >>> dot([1.0, 2.0], [3.0, 4.0]), dot(2.0, [1.0, 2.0])
    (tensor(11.), tensor([2., 4.]))
    """
    x1, x2 = tensors(x1, x2)
    return torch.multiply(x1, x2) if x1.ndim == 0 or x2.ndim == 0 else _contract(torch.matmul, x1, x2)


@operation
def tensordot(x1: Any, x2: Any, axes: int | Sequence[Any] = 2) -> Tensor:
    """The sum of products over `axes`: the last so many of x1 and first of x2, or a pair of axes or of lists of axes.

    >>> tensordot([[1.0, 2.0]], [[3.0, 4.0]], axes=(1, 1))
    tensor([[11.]])
    """
    dims: Any = axes
    if isinstance(axes, Sequence):
        if len(axes) != 2:
            raise ValueError(f"tensordot: axes must be a number or a pair, got {axes!r}.")
        dims = tuple(list(each) if isinstance(each, Sequence) else [each] for each in axes)
    return _contract(lambda a, b: torch.tensordot(a, b, dims), *tensors(x1, x2))


def _contract(product: Any, x1: Tensor, x2: Tensor) -> Tensor:
    """A product of both in one dtype; torch has none of truth values, and of whole numbers only on a CPU."""
    small = x1.dtype is torch.int8 and x2.dtype is torch.int8
    x1, x2 = promoted(x1, x2)
    result = torch.int32 if small else x1.dtype
    if result.is_floating_point or result.is_complex:
        return product(x1, x2)
    exact = torch.int64 if x1.device.type in ("cpu", "meta") else torch.float64
    return product(x1.to(exact), x2.to(exact)).to(result)


@operation
def outer(x1: Any, x2: Any) -> Tensor:
    """The products of each value of x1 with each of x2, as a matrix; both are flattened.

    >>> outer([1.0, 2.0], [3.0, 4.0])
    tensor([[3., 4.], [6., 8.]])
    """
    x1, x2 = tensors(x1, x2)
    return torch.outer(x1.reshape(-1), x2.reshape(-1))


@operation
def einsum(subscripts: str, *operands: Any, optimize: Any = None) -> Tensor:
    """The sum of products that `subscripts` writes in Einstein's notation.

    optimize: for NumPy's sake; torch chooses the order of the products.

    >>> einsum("bi,io->bo", [[1.0, 2.0]], [[3.0], [4.0]])
    tensor([[11.]])
    """
    if not operands:
        raise ValueError(f"einsum: {subscripts!r} needs operands.")
    held = next((each for each in operands if isinstance(each, Tensor)), None)
    xs = [tensor(each, held) for each in operands]
    small = all(each.dtype is torch.int8 for each in xs)
    xs = promoted(*xs)
    return torch.einsum(subscripts, *[each.to(torch.int32) for each in xs] if small else xs)


@operation
def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The norm of vectors (one axis) or matrices (two axes); with neither axis nor ord, of all values as one vector.

    ord: for vectors a number or +-inf (2 for None); for matrices "fro", "nuc", +-1, +-2 or +-inf ("fro" for None).

    >>> norm([3.0, 4.0]), norm([[1.0, -2.0]], ord=1, axis=-1)
    (tensor(5.), tensor([3.]))
    """
    dim = list(axis) if isinstance(axis, Sequence) else axis
    return torch.linalg.norm(floating(tensor(x)), ord=ord, dim=dim, keepdim=keepdims)
