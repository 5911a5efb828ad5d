"""What becomes a tensor, and what a tensor says of itself."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.ops.devices import creation_device
from ostinato.ops.dtypes import as_dtype, number_dtype
from ostinato.ops.overrides import is_other, operation
from ostinato.recurrence.nests import flatten

_NUMBERS: Any = (bool, int, float, complex, torch.SymInt, torch.SymFloat)


def tensor(x: Any, beside: Any = None) -> Tensor:
    """`x` as a tensor, made where the tensor `beside` it is; a number takes the dtype of that if it can.

    Arrays keep their dtype; numbers and lists of them are of torch's default dtype, int32 or bool. Raises TypeError for
    what is not numbers.

    >>> tensor([1, 2]), tensor(2.0, beside=torch.ones(3, dtype=torch.float16)).dtype
    (tensor([1, 2], dtype=torch.int32), torch.float16)
    """
    if isinstance(x, Tensor):
        return x
    given = isinstance(beside, Tensor)
    device = beside.device if given else creation_device()
    if isinstance(x, _NUMBERS):
        dtype = number_dtype(x, beside.dtype if given else None)
        return torch.full((), x, dtype=dtype, device=device)
    if isinstance(x, (list, tuple)):
        return _from_list(x, device)
    return from_numpy(x).to(device)


def tensors(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Both operands as tensors, each made beside the other.

    >>> [each.dtype for each in tensors(2, torch.ones(2))]
    [torch.float32, torch.float32]
    """
    return tensor(x1, x2), tensor(x2, x1)


def _from_list(x: list[Any] | tuple[Any, ...], device: torch.device) -> Tensor:
    leaves = flatten(x)
    held = next((leaf for leaf in leaves if isinstance(leaf, Tensor)), None)
    if held is not None:
        return torch.stack([tensor(each, held) for each in x])
    if not all(isinstance(leaf, _NUMBERS) for leaf in leaves):
        return from_numpy(x).to(device)
    dtypes = {number_dtype(leaf) for leaf in leaves} or {torch.get_default_dtype()}
    return torch.tensor(x, dtype=functools.reduce(torch.promote_types, dtypes), device=device)


def from_numpy(value: Any) -> Tensor:
    """An array, or what NumPy makes one of, as a tensor on the CPU, sharing its memory where torch can.

    Unsigned integers of more than 8 bits become int64. Raises TypeError for what is not numbers.

    >>> from_numpy(np.ones(2, "uint16"))
    tensor([1, 1])
    """
    if torch.compiler.is_compiling():  # a compiler has no arrays, and knows their values only as tensors
        return torch.as_tensor(value, device="cpu")
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":  # of the package ml_dtypes, whose memory torch does not take
        return torch.as_tensor(array.astype(np.float32), device="cpu").to(torch.bfloat16)
    if array.dtype.kind not in "fiubc":
        raise TypeError(f"expected numbers, got an array of dtype {array.dtype}.")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    shareable = array.flags.writeable and min(array.strides, default=0) >= 0  # as torch would have its memory
    return torch.as_tensor(array if shareable else array.copy(), device="cpu")


@operation
def convert_to_tensor(x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None) -> Tensor:
    """A tensor from an array, a number, or a (nested) list of numbers or tensors; a tensor stays where it is.

    dtype: None keeps that of tensors and arrays; Python's floats are of torch's default dtype, its ints int32.
    sparse, ragged: torch has no such tensors here. Raises ValueError if one is True, TypeError for what is no number.

    >>> convert_to_tensor([[1.0, 2.0]]), convert_to_tensor(np.arange(2), dtype="float64")
    (tensor([[1., 2.]]), tensor([0., 1.], dtype=torch.float64))
    """
    for name, asked in (("sparse", sparse), ("ragged", ragged)):
        if asked:
            raise ValueError(f"convert_to_tensor: {name}=True is not supported; only dense tensors are.")
    made = tensor(x)
    return made if dtype is None else made.to(as_dtype(dtype))


@operation
def array(x: Any, dtype: Any = None) -> Tensor:
    """A tensor from an array, a number or a nested list; as `convert_to_tensor`.

    >>> array([1, 2, 3])
    tensor([1, 2, 3], dtype=torch.int32)
    """
    return convert_to_tensor(x, dtype)


def convert_to_numpy(x: Any) -> np.ndarray:
    """A NumPy array with the values of `x`, taken out of the graph of gradients and to the CPU.

    bfloat16, which NumPy does not know, becomes float32. Raises TypeError for a symbolic tensor, which has no values.

    >>> convert_to_numpy(torch.ones(2, requires_grad=True))
    array([1., 1.], dtype=float32)
    """
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        return (x.to(torch.float32) if x.dtype is torch.bfloat16 else x).resolve_conj().resolve_neg().numpy()
    if isinstance(x, (list, tuple)):
        return np.array([convert_to_numpy(each) for each in x])
    return np.asarray(x)


def is_tensor(x: Any) -> bool:
    """Whether `x` is a tensor, with values or symbolic.

    >>> is_tensor(torch.ones(1)), is_tensor(np.ones(1))
    (True, False)
    """
    return isinstance(x, Tensor) or is_other(x)


@operation
def cast(x: Any, dtype: Any) -> Tensor:
    """`x` with another dtype, named as Keras, NumPy or torch name it.

    >>> cast([1.7, -1.7], "int32")
    tensor([ 1, -1], dtype=torch.int32)
    """
    return tensor(x).to(as_dtype(dtype))


def shape(x: Any) -> tuple[Any, ...]:
    """The sizes of `x` as a tuple of ints; None where a symbolic tensor's size is unknown.

    >>> shape(torch.ones(2, 3))
    (2, 3)
    """
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def ndim(x: Any) -> int:
    """The number of dimensions of `x`.

    >>> ndim([[1, 2]])
    2
    """
    return len(shape(x))


@operation
def size(x: Any) -> Tensor:
    """The number of elements of `x`, as a scalar int64 tensor.

    >>> size([[1, 2, 3]])
    tensor(3)
    """
    x = tensor(x)
    return torch.full((), x.numel(), dtype=torch.int64, device=x.device)


@operation
def stop_gradient(variable: Any) -> Tensor:
    """The values of `variable`, through which no gradient flows.

    >>> stop_gradient(torch.ones(1, requires_grad=True)).requires_grad
    False
    """
    return tensor(variable).detach()
