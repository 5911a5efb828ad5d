"""How a mask of steps meets a tensor of more axes, and what may stand in masked steps."""

from __future__ import annotations

import torch
from torch import Tensor


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
    """`x` with 0 for what is not finite in masked steps; finite values, masked or not, are left as they are.

    NaN times a zero gradient would still be NaN: what is no number must be gone before anything is computed.

    >>> finite(torch.tensor([1.0, 2.0, torch.nan]), torch.tensor([True, False, False]))
    tensor([1., 2., 0.])
    """
    if used is None or not x.is_floating_point():
        return x
    return x.masked_fill(~used & ~x.isfinite(), 0)
