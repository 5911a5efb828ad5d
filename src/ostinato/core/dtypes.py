"""Dtypes and devices by Keras's and torch's names, and where a weight goes when nobody said."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from ostinato.core.registry import nearest

_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}


def as_dtype(dtype: Any) -> torch.dtype:
    """A torch dtype from "float32", `torch.float32` or `np.float32`; None gives torch's default dtype.

    >>> as_dtype("bfloat16")
    torch.bfloat16
    """
    if dtype is None:
        return torch.get_default_dtype()
    if isinstance(dtype, torch.dtype):
        return dtype
    if isinstance(dtype, dict):  # a dtype policy in a config that Keras wrote
        dtype = dtype["config"]["name"]
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in _NAMES:
        raise ValueError(f"dtype {name!r} is not known.{nearest(name, _NAMES)}")
    return _NAMES[name]


def default_device() -> torch.device:
    """Where new weights and NumPy inputs go: an explicit `with torch.device(...)`, else CUDA, else the CPU."""
    for mode in reversed(_get_current_function_mode_stack()):
        if isinstance(mode, DeviceContext):
            chosen = torch.device(mode.device)
            return torch.device("cpu") if chosen.type == "cpu" else chosen  # "cpu:0" is the same, and compares unequal
    chosen = torch.get_default_device()
    if chosen.type != "cpu" or not torch.cuda.is_available():
        return chosen
    return torch.device("cuda", torch.cuda.current_device())


def to_tensor(value: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """NumPy arrays, lists and numbers as a tensor; floating values get `dtype`, others keep theirs."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiubc" and array.dtype.name != "bfloat16":
        raise TypeError(f"expected numbers, got an array of dtype {array.dtype}.")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    shareable = array.flags.writeable and min(array.strides, default=0) >= 0  # as torch would have its memory
    tensor = torch.as_tensor(array if shareable else array.copy())
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
