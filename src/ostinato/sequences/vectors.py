"""Vectors of zeros and a one, and vectors of norm one."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import one_hot

from ostinato.sequences.arrays import as_tensor, whole


def to_categorical(x: Any, num_classes: int | None = None) -> Any:
    """One-hot vectors of labels, as `categorical_crossentropy` takes them.

    x: whole numbers `(...)` or `(..., 1)`, from 0 to num_classes - 1. num_classes: the largest label + 1 by default.
    Returns `(..., num_classes)`: a float64 array, or for a tensor a float32 tensor. Raises ValueError for labels that
    are no whole numbers or out of range. Source: keras/src/utils/numerical_utils.py.

    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    labels = as_tensor(x, "to_categorical")
    if labels.dim() > 1 and labels.shape[-1] == 1:
        labels = labels.squeeze(-1)
    numbers = labels.long()
    if not bool((numbers == labels).all()):
        raise ValueError("to_categorical: labels must be whole numbers.")
    low, high = (int(numbers.min()), int(numbers.max())) if numbers.numel() else (0, -1)
    classes = high + 1 if num_classes is None else whole(num_classes, "num_classes", "to_categorical")
    if low < 0 or high >= classes:
        raise ValueError(f"to_categorical: labels must be from 0 to {classes - 1}, got {low} to {high}.")
    hot = one_hot(numbers, classes) if numbers.numel() else numbers.new_zeros((*numbers.shape, classes))
    return hot.float() if isinstance(x, Tensor) else hot.numpy().astype(np.float64)


def normalize(x: Any, axis: int = -1, order: float = 2) -> Any:
    """Vectors along an axis, divided by their norm; those of norm 0 stay as they are.

    x: an array or a tensor. order: of the norm, a number or infinity. Returns what was given, an array or a tensor.
    Source: keras/src/utils/numerical_utils.py.

    >>> normalize(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    values = as_tensor(x, "normalize")
    values = values if values.is_floating_point() else values.double()
    norms = values.norm(p=order, dim=axis, keepdim=True)
    divided = values / norms.masked_fill(norms == 0, 1)
    return divided if isinstance(x, Tensor) else divided.numpy()
