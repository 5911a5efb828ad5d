"""What a layer around another layer or torch module asks of it."""

from __future__ import annotations

import itertools

import torch

from ostinato.core.layer import Layer
from ostinato.core.masks import unwrapped


def dtype_of(module: torch.nn.Module) -> torch.dtype | None:
    """The dtype of a layer, or of a torch module's first floating weight; None if it has none.

    >>> dtype_of(torch.nn.Linear(2, 2).double())
    torch.float64
    """
    inner = unwrapped(module)
    if isinstance(inner, Layer):
        return inner.dtype
    tensors = itertools.chain(inner.parameters(), inner.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)


_DIFFER = (torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._BatchNorm)


def differs_in_training(module: torch.nn.Module) -> bool:
    """Whether a layer or torch module is known to compute something else in training."""
    inner = unwrapped(module)
    if isinstance(inner, Layer):
        return inner._differs_in_training()
    return any(isinstance(each, _DIFFER) for each in inner.modules())
