"""Arrays, lists and tensors as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_tensor(given: Any, who: str) -> Tensor:
    """Numbers in any form as a tensor, which shares the memory of an array where torch can.

    Arrays and tensors keep their dtype, and tensors their device; lists of floats become torch's default dtype.
    Unsigned integers of more than 8 bits become int64. Raises TypeError for what is no numbers, ValueError for lists
    of different lengths.

    >>> as_tensor([[1, 2], [3, 4]], "docs"), as_tensor([0.5], "docs").dtype
    (tensor([[1, 2],
            [3, 4]]), torch.float32)
    """
    if isinstance(given, Tensor):
        return given.detach()
    try:
        array = np.asarray(given)
    except ValueError:
        raise ValueError(f"{who}: the parts of a list must all have the same shape.") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{who}: expected numbers, got {type(given).__name__} of dtype {array.dtype}.")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    shareable = array.flags.writeable and min(array.strides, default=0) >= 0  # as torch would have its memory
    tensor = torch.from_numpy(array if shareable else array.copy())
    listed = isinstance(given, (list, tuple)) and tensor.dtype is torch.float64
    return tensor.to(torch.get_default_dtype()) if listed else tensor


def whole(given: Any, what: str, who: str, least: int = 1) -> int:
    """A whole number of at least `least`. Raises ValueError for anything else.

    >>> whole(3, "batch_size", "docs")
    3
    """
    if isinstance(given, (bool, np.bool_)) or not hasattr(given, "__index__") or int(given) < least:
        bound = "a positive whole number" if least == 1 else f"a whole number of at least {least}"
        raise ValueError(f"{who}: `{what}` must be {bound}, got {given!r}.")
    return int(given)
