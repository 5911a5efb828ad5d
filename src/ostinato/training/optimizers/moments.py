"""Running means, of gradients and of their squares, that several optimizers keep."""

from __future__ import annotations

import torch
from torch import Tensor


def follow(means: list[Tensor], values: list[Tensor], kept: float) -> None:
    """`m' = kept m + (1 - kept) x`, in place.

    >>> mean = torch.zeros(1)
    >>> follow([mean], [torch.ones(1)], 0.75)
    >>> mean
    tensor([0.2500])
    """
    torch._foreach_lerp_(means, values, 1 - kept)


def follow_squares(means: list[Tensor], values: list[Tensor], kept: float) -> None:
    """`v' = kept v + (1 - kept) x**2`, in place.

    >>> mean = torch.zeros(1)
    >>> follow_squares([mean], [torch.full((1,), 2.0)], 0.75)
    >>> mean
    tensor([1.])
    """
    torch._foreach_mul_(means, kept)
    torch._foreach_addcmul_(means, values, values, value=1 - kept)
