"""Functions of two tensors that broadcast, value by value.

Dtypes are promoted as torch does it; a Python number takes the other operand's dtype where this can hold it, so that
none makes a float32 tensor a float64 one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.ops.dtypes import countable
from ostinato.ops.overrides import operation
from ostinato.ops.tensors import tensor, tensors


@operation
def add(x1: Any, x2: Any) -> Tensor:
    """`x1 + x2`.

    >>> add([1.0, 2.0], 1)
    tensor([2., 3.])
    """
    return torch.add(*tensors(x1, x2))


@operation
def subtract(x1: Any, x2: Any) -> Tensor:
    """`x1 - x2`.

    >>> subtract(1, [1.0, 2.0])
    tensor([ 0., -1.])
    """
    x1, x2 = tensors(x1, x2)
    if x1.dtype is torch.bool:
        x1 = x1.to(x2.dtype)
    return torch.subtract(x1, x2.to(x1.dtype) if x2.dtype is torch.bool else x2)


@operation
def multiply(x1: Any, x2: Any) -> Tensor:
    """`x1 x2`.

    >>> multiply([1.0, 2.0], [3.0, 4.0])
    tensor([3., 8.])
    """
    return torch.multiply(*tensors(x1, x2))


@operation
def divide(x1: Any, x2: Any) -> Tensor:
    """`x1 / x2`, of whole numbers too a float.

    >>> divide([1, 3], 2)
    tensor([0.5000, 1.5000])
    """
    return torch.divide(*tensors(x1, x2))


@operation
def floor_divide(x1: Any, x2: Any) -> Tensor:
    """The greatest whole number that is not above `x1 / x2`.

    >>> floor_divide([7, -7], 2)
    tensor([ 3, -4], dtype=torch.int32)
    """
    return torch.div(*tensors(x1, x2), rounding_mode="floor")  # floor_divide has no derivative


@operation
def mod(x1: Any, x2: Any) -> Tensor:
    """The remainder of `x1 / x2`, with the sign of x2.

    >>> mod([7, -7], 3)
    tensor([1, 2], dtype=torch.int32)
    """
    x1, x2 = tensors(x1, x2)
    if x1.dtype is torch.bool and x2.dtype is torch.bool:
        x1, x2 = countable(x1), countable(x2)
    return torch.remainder(x1, x2)


@operation
def power(x1: Any, x2: Any) -> Tensor:
    """`x1^x2`.

    >>> power([1.0, 2.0, 3.0], 2)
    tensor([1., 4., 9.])
    """
    return torch.pow(*tensors(x1, x2))


@operation
def maximum(x1: Any, x2: Any) -> Tensor:
    """The greater of x1 and x2; NaN where one of them is.

    >>> maximum([-1.0, 2.0], 0)
    tensor([0., 2.])
    """
    return torch.maximum(*tensors(x1, x2))


@operation
def minimum(x1: Any, x2: Any) -> Tensor:
    """The lesser of x1 and x2; NaN where one of them is.

    >>> minimum([-1.0, 2.0], 0)
    tensor([-1., 0.])
    """
    return torch.minimum(*tensors(x1, x2))


@operation
def clip(x: Any, x_min: Any, x_max: Any) -> Tensor:
    """The value of x where it lies between x_min and x_max, else the bound that it passed.

    >>> clip([-1.0, 0.5, 2.0], 0, 1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    x = tensor(x)
    return torch.clip(countable(x) if x.dtype is torch.bool else x, min=tensor(x_min, x), max=tensor(x_max, x))


@operation
def equal(x1: Any, x2: Any) -> Tensor:
    """Where `x1 = x2`.

    >>> equal([1.0, 2.0], 2)
    tensor([False,  True])
    """
    return torch.eq(*tensors(x1, x2))


@operation
def not_equal(x1: Any, x2: Any) -> Tensor:
    """Where x1 and x2 differ.

    >>> not_equal([1.0, 2.0], 2)
    tensor([ True, False])
    """
    return torch.ne(*tensors(x1, x2))


@operation
def greater(x1: Any, x2: Any) -> Tensor:
    """Where `x1 > x2`.

    >>> greater([1.0, 2.0, 3.0], 2)
    tensor([False, False,  True])
    """
    return torch.gt(*tensors(x1, x2))


@operation
def greater_equal(x1: Any, x2: Any) -> Tensor:
    """Where `x1 >= x2`.

    >>> greater_equal([1.0, 2.0, 3.0], 2)
    tensor([False,  True,  True])
    """
    return torch.ge(*tensors(x1, x2))


@operation
def less(x1: Any, x2: Any) -> Tensor:
    """Where `x1 < x2`.

    >>> less([1.0, 2.0, 3.0], 2)
    tensor([ True, False, False])
    """
    return torch.lt(*tensors(x1, x2))


@operation
def less_equal(x1: Any, x2: Any) -> Tensor:
    """Where `x1 <= x2`.

    >>> less_equal([1.0, 2.0, 3.0], 2)
    tensor([ True,  True, False])
    """
    return torch.le(*tensors(x1, x2))


@operation
def logical_and(x1: Any, x2: Any) -> Tensor:
    """Where both are true, or not 0.

    >>> logical_and([True, True], [True, False])
    tensor([ True, False])
    """
    return torch.logical_and(*tensors(x1, x2))


@operation
def logical_or(x1: Any, x2: Any) -> Tensor:
    """Where at least one is true, or not 0.

    >>> logical_or([True, False], [False, False])
    tensor([ True, False])
    """
    return torch.logical_or(*tensors(x1, x2))


@operation
def logical_xor(x1: Any, x2: Any) -> Tensor:
    """Where just one is true, or not 0.

    >>> logical_xor([True, True], [True, False])
    tensor([False,  True])
    """
    return torch.logical_xor(*tensors(x1, x2))
