"""Functions of one tensor, value by value. Where torch has no whole-number form, whole numbers count as floats."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.ops.dtypes import floating
from ostinato.ops.overrides import operation
from ostinato.ops.tensors import tensor


@operation
def abs(x: Any) -> Tensor:
    """`|x|`.

    >>> abs([-2.0, 1.0])
    tensor([2., 1.])
    """
    x = tensor(x)
    return x if x.dtype is torch.bool else torch.abs(x)


absolute = abs


@operation
def ceil(x: Any) -> Tensor:
    """The least whole number that is not below x, as a float.

    >>> ceil([1.2, -1.2])
    tensor([ 2., -1.])
    """
    return torch.ceil(floating(tensor(x)))


@operation
def cos(x: Any) -> Tensor:
    """The cosine of x, in radians.

    >>> cos([0.0])
    tensor([1.])
    """
    return torch.cos(tensor(x))


@operation
def erf(x: Any) -> Tensor:
    """The error function, `2 / sqrt(pi) * integral of exp(-t^2) from 0 to x`.

    >>> erf([0.0])
    tensor([0.])
    """
    return torch.erf(tensor(x))


@operation
def exp(x: Any) -> Tensor:
    """`e^x`.

    >>> exp([0])
    tensor([1.])
    """
    return torch.exp(tensor(x))


@operation
def expm1(x: Any) -> Tensor:
    """`e^x - 1`, exact where x is small.

    >>> expm1([0.0])
    tensor([0.])
    """
    return torch.expm1(tensor(x))


@operation
def floor(x: Any) -> Tensor:
    """The greatest whole number that is not above x, as a float.

    >>> floor([1.7, -1.2])
    tensor([ 1., -2.])
    """
    return torch.floor(floating(tensor(x)))


@operation
def isfinite(x: Any) -> Tensor:
    """Where x is neither infinite nor NaN.

    >>> isfinite([1.0, float("inf")])
    tensor([ True, False])
    """
    return torch.isfinite(tensor(x))


@operation
def isinf(x: Any) -> Tensor:
    """Where x is infinite.

    >>> isinf([1.0, float("-inf")])
    tensor([False,  True])
    """
    return torch.isinf(tensor(x))


@operation
def isnan(x: Any) -> Tensor:
    """Where x is NaN.

    >>> isnan([1.0, float("nan")])
    tensor([False,  True])
    """
    return torch.isnan(tensor(x))


@operation
def log(x: Any) -> Tensor:
    """The natural logarithm.

    >>> log([1.0])
    tensor([0.])
    """
    return torch.log(tensor(x))


@operation
def log1p(x: Any) -> Tensor:
    """`log(1 + x)`, exact where x is small.

    >>> log1p([0.0])
    tensor([0.])
    """
    return torch.log1p(tensor(x))


@operation
def logical_not(x: Any) -> Tensor:
    """Where x is 0 or False.

    >>> logical_not([True, False])
    tensor([False,  True])
    """
    return torch.logical_not(tensor(x))


@operation
def negative(x: Any) -> Tensor:
    """`-x`.

    >>> negative([1.0])
    tensor([-1.])
    """
    return torch.negative(tensor(x))


@operation
def reciprocal(x: Any) -> Tensor:
    """`1 / x`.

    >>> reciprocal([4.0])
    tensor([0.2500])
    """
    return torch.reciprocal(tensor(x))


@operation
def round(x: Any, decimals: int = 0) -> Tensor:
    """The value of so many decimals that is nearest to x, halves to the even one; whole numbers stay whole.

    >>> round([0.5, 1.5, -1.7]), round([1.25], decimals=1)
    (tensor([ 0.,  2., -2.]), tensor([1.2000]))
    """
    x = tensor(x)
    if x.is_floating_point():
        return torch.round(x, decimals=decimals)
    if x.dtype is torch.bool or decimals >= 0:
        return x
    return torch.round(x.to(torch.float64), decimals=decimals).to(x.dtype)


@operation
def rsqrt(x: Any) -> Tensor:
    """`1 / sqrt(x)`.

    >>> rsqrt([4.0])
    tensor([0.5000])
    """
    return torch.rsqrt(tensor(x))


@operation
def sign(x: Any) -> Tensor:
    """-1, 0 or 1 by the sign of x.

    >>> sign([-3.0, 0.0, 2.0])
    tensor([-1., 0., 1.])
    """
    return torch.sign(tensor(x))


@operation
def sin(x: Any) -> Tensor:
    """The sine of x, in radians.

    >>> sin([0.0])
    tensor([0.])
    """
    return torch.sin(tensor(x))


@operation
def sqrt(x: Any) -> Tensor:
    """The square root.

    >>> sqrt([4, 9])
    tensor([2., 3.])
    """
    return torch.sqrt(tensor(x))


@operation
def square(x: Any) -> Tensor:
    """`x^2`.

    >>> square([3, -2])
    tensor([9, 4], dtype=torch.int32)
    """
    x = tensor(x)
    return torch.square(x.to(torch.int32) if x.dtype is torch.bool else x)
