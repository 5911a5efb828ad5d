"""How a mask of steps meets a tensor of more axes, and what may stand in masked steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import activations


def over(mask: Tensor, x: Tensor, who: str) -> Tensor:
    """A mask of x's leading axes as booleans of x's rank, which broadcast over it.

    Raises ValueError for a mask of another shape.

    >>> over(torch.ones(2, 5), torch.zeros(2, 5, 3), "Add 'add'").shape
    torch.Size([2, 5, 1])
    """
    lead = x.shape[: mask.dim()]
    if mask.dim() > x.dim() or any(m != 1 and m != n for m, n in zip(mask.shape, lead, strict=True)):
        raise ValueError(
            f"{who}: mask must have the shape of its input's leading axes {tuple(lead)}, got {tuple(mask.shape)} for "
            f"an input of shape {tuple(x.shape)}."
        )
    used = mask if mask.dtype is torch.bool else mask != 0
    return used.reshape(used.shape + (1,) * (x.dim() - used.dim()))


def finite(x: Tensor, used: Tensor | None) -> Tensor:
    """`x` with 0 for what, in masked steps, is not finite or so large that sums of its squares are not.

    Other values, masked or not, are left as they are. NaN times a zero gradient would still be NaN: what makes one must
    be gone before anything is computed.

    >>> finite(torch.tensor([1.0, 1e38, 2.0, torch.nan]), torch.tensor([True, True, False, False]))
    tensor([1.0000e+00, 1.0000e+38, 2.0000e+00, 0.0000e+00])
    """
    if used is None or not x.is_floating_point():
        return x
    return x.masked_fill(~used & ~(x.abs() <= _largest(x.dtype)), 0)  # NaN is not less than anything


def _largest(dtype: torch.dtype) -> float:
    """What is left as it is in masked steps: its square, a million times, is finite."""
    wide = torch.promote_types(dtype, torch.float32)  # in which half precision is summed up
    return min(torch.finfo(dtype).max, torch.finfo(wide).max ** 0.4)


def activated(function: Any, x: Tensor, used: Tensor | None) -> Tensor:
    """`function(x)`, an activation, with a gradient that is finite in masked steps.

    What stands there counts as 0 if it is not finite, or if the function makes something of it that is not, such as
    `exp(100)`, whose slope, times a zero gradient, would be NaN.

    >>> activated(torch.exp, torch.tensor([[0.0], [100.0]]), torch.tensor([[True], [False]]))
    tensor([[1.],
            [1.]])
    """
    x = finite(x, used)
    y = function(x)
    if used is None or function in _TAME or y.dim() != x.dim():
        return y
    return function(x.masked_fill(~used & ~y.isfinite().all(-1, keepdim=True), 0))


_TAME = (activations.linear, activations.relu, activations.sigmoid, activations.softmax, activations.tanh)
"""Activations that are finite, with finite slopes, wherever `finite` leaves anything."""
