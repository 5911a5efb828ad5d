"""Dtypes and devices by Keras's and torch's names, as layers use them."""

from __future__ import annotations

from typing import Any

import torch

from ostinato.ops.devices import default_device as default_device
from ostinato.ops.dtypes import as_dtype as as_dtype
from ostinato.ops.tensors import from_numpy


def to_tensor(value: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """NumPy arrays, lists and numbers as a tensor; floating values get `dtype`, others keep theirs."""
    tensor = from_numpy(value)
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
