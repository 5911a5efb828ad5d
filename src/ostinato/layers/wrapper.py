"""`Wrapper`: the base of layers around another."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from ostinato.core.layer import Layer
from ostinato.core.masks import unwrapped


class Wrapper(Layer):
    """A layer around another, to be subclassed with a `call` that uses `self.layer`.

    layer: any layer or torch module. It is built for the shape that the wrapper is built for, and the wrapper takes its
    dtype where none is given. Raises ValueError for anything else.

    >>> import torch, ostinato
    >>> class Twice(ostinato.layers.Wrapper):
    ...     def call(self, inputs):
    ...         return self.layer(self.layer(inputs))
    >>> Twice(ostinato.layers.Dense(4, kernel_initializer="ones"))(torch.ones(1, 4))
    tensor([[16., 16., 16., 16.]], ...)
    """

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        if not isinstance(layer, torch.nn.Module):
            raise ValueError(f"{type(self).__name__}: layer must be a layer or a torch module, got {layer!r}.")
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = dtype_of(layer)
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        """Build the layer inside, if it is one and not built yet."""
        inner = unwrapped(self.layer)
        if isinstance(inner, Layer) and not inner.built:
            inner._build_device = self._build_device
            inner.build(input_shape)

    def _differs_in_training(self) -> bool:
        return differs_in_training(self.layer)


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
