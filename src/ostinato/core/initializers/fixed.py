"""Initial values that are the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.core.dtypes import as_dtype
from ostinato.core.initializers.base import Initializer, filled
from ostinato.ops.tensors import from_numpy


@registry.builtin("initializers", "zeros", "zero")
class Zeros(Initializer):
    """Zeros.

    >>> Zeros()((2,))
    tensor([0., 0.])
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return torch.zeros(tuple(shape), dtype=as_dtype(dtype), device="cpu")


@registry.builtin("initializers", "ones", "one")
class Ones(Initializer):
    """Ones.

    >>> Ones()((2,), dtype="float64")
    tensor([1., 1.], dtype=torch.float64)
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return torch.ones(tuple(shape), dtype=as_dtype(dtype), device="cpu")


@registry.builtin("initializers", "constant")
class Constant(Initializer):
    """One value everywhere; or an array, or a list of numbers, that broadcasts to the shape.

    >>> Constant(0.5)((2,)), Constant([1.0, 2.0])((2, 2))
    (tensor([0.5000, 0.5000]), tensor([[1., 2.], [1., 2.]]))
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return filled(_on_cpu(self.value).to(as_dtype(dtype)), shape)


@registry.builtin("initializers", "identity", "IdentityInitializer")
class Identity(Initializer):
    """The identity matrix times `gain`; of a shape that is not square, ones on its diagonal.

    Raises ValueError for a shape that is not of 2 dimensions.

    >>> Identity(gain=2.0)((2, 3))
    tensor([[2., 0., 0.], [0., 2., 0.]])
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        if len(shape) != 2:
            raise ValueError(f"Identity: expected a shape of 2 dimensions, got {tuple(shape)}.")
        return (self.gain * torch.eye(*shape, dtype=torch.float64, device="cpu")).to(as_dtype(dtype))


@registry.builtin("initializers")
class Given(Initializer):
    """The values of one tensor or array, for a weight of just its shape; what `get` makes of a tensor.

    Raises ValueError for another shape.

    >>> Given(torch.tensor([1.0, 2.0]))((2,))
    tensor([1., 2.])
    """

    def __init__(self, values: Any) -> None:
        self.values = _on_cpu(values)
        self._arguments = {"values": self.values.numpy(force=True) if _known_to_numpy(self.values) else values.tolist()}

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        if tuple(shape) != tuple(self.values.shape):
            raise ValueError(f"initializer of given values: they are of shape {tuple(self.values.shape)}, not {shape}.")
        return self.values.to(as_dtype(dtype), copy=True)


def _on_cpu(values: Any) -> Tensor:
    return values.detach().cpu() if isinstance(values, Tensor) else from_numpy(values)


def _known_to_numpy(values: Tensor) -> bool:
    return values.dtype is not torch.bfloat16
