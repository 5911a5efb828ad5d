"""Dtypes by Keras's and torch's names, and the dtype that an operation computes in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.errors import nearest

_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}
_INT32 = range(-(2**31), 2**31)


def as_dtype(dtype: Any) -> torch.dtype:
    """A torch dtype from "float32", `torch.float32` or `np.float32`; None and `float` give torch's default dtype.

    Raises ValueError for an unknown name, with the nearest known one.

    >>> as_dtype("bfloat16"), as_dtype(None), as_dtype(int)
    (torch.bfloat16, torch.float32, torch.int32)
    """
    if dtype is None or dtype is float:
        return torch.get_default_dtype()
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is int:  # as in Keras, on torch
        return torch.int32
    if isinstance(dtype, dict):  # a dtype policy in a config that Keras wrote
        dtype = dtype["config"]["name"]
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in _NAMES:
        raise ValueError(f"dtype {name!r} is not known.{nearest(name, _NAMES)}")
    return _NAMES[name]


def number_dtype(value: Any, beside: torch.dtype | None = None) -> torch.dtype:
    """The dtype of a Python number: that of the tensor `beside` it where this can hold it, else the least that does.

    >>> number_dtype(2.0, torch.float16), number_dtype(2.0, torch.int64), number_dtype(2)
    (torch.float16, torch.float32, torch.int32)
    """
    if isinstance(value, bool):
        return torch.bool if beside is None else beside
    wide = beside is not None and (beside.is_floating_point or beside.is_complex)
    if isinstance(value, complex):
        return beside if beside is not None and beside.is_complex else torch.get_default_dtype().to_complex()
    if isinstance(value, float):
        return beside if wide and beside is not None else torch.get_default_dtype()
    if beside is not None and beside is not torch.bool and (wide or _holds(beside, value)):
        return beside
    return torch.int32 if value in _INT32 else torch.int64


def _holds(dtype: torch.dtype, value: int) -> bool:
    limits = torch.iinfo(dtype)
    return limits.min <= value <= limits.max


def floating(x: Tensor) -> Tensor:
    """`x`, whole numbers and truth values as torch's default dtype.

    >>> floating(torch.tensor([1, 2])).dtype
    torch.float32
    """
    return x if x.is_floating_point() or x.is_complex() else x.to(torch.get_default_dtype())


def countable(x: Tensor) -> Tensor:
    """`x`, truth values and whole numbers of up to 16 bits as int32, in which Keras adds and multiplies them.

    >>> countable(torch.tensor([True])).dtype
    torch.int32
    """
    return x.to(torch.int32) if x.dtype in _SMALL else x


_SMALL = (torch.bool, torch.uint8, torch.int8, torch.int16)


def promoted(*xs: Tensor) -> list[Tensor]:
    """Tensors cast to the one dtype that torch's promotion gives for all of them.

    >>> [each.dtype for each in promoted(torch.ones(2), torch.ones(2, dtype=torch.int64))]
    [torch.float32, torch.float32]
    """
    dtype = xs[0].dtype
    for each in xs[1:]:
        dtype = torch.promote_types(dtype, each.dtype)
    return [each.to(dtype) for each in xs]
