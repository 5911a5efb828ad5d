"""`Wrapper`: the base of layers around another."""

from __future__ import annotations

from typing import Any

import torch

from ostinato.core.layer import Layer
from ostinato.core.masks import unwrapped
from ostinato.layers.inner import differs_in_training, dtype_of


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
