"""`Masking`: padding by value."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ostinato.core.layer import Layer
from ostinato.core.registry import builtin


@builtin("layers")
class Masking(Layer):
    """Masks the steps whose features all equal a value, and zeroes them.

    mask_value: the value. Called with `(batch, time, ...)`; returns the same shape, with a mask `(batch, time)` for the
    layers that follow.

    >>> import torch, ostinato
    >>> x = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    >>> ostinato.layers.Masking().compute_mask(x)
    tensor([[ True, False]])
    """

    supports_masking = True
    steps_independent = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = mask_value

    def compute_mask(self, inputs: Tensor, mask: Any = None) -> Tensor:
        """True where any feature differs from mask_value."""
        return (inputs != self.mask_value).any(-1)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.masked_fill(~self.compute_mask(inputs).unsqueeze(-1), 0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return tuple(input_shape)
