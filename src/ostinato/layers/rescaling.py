"""`Rescaling`: another range."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core.layer import Layer
from ostinato.core.registry import builtin


@builtin("layers")
class Rescaling(Layer):
    """`x * scale + offset`, say from 0..255 to 0..1.

    scale, offset: numbers, or lists or arrays of them that broadcast over the input.

    Called with numbers of any shape and dtype; returns them in the layer's dtype. The mask is passed on.
    Raises ValueError for a scale or offset that is no number and no array of numbers.
    Source: keras/src/layers/preprocessing/rescaling.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Rescaling(1 / 255)(torch.tensor([0, 51, 255]))
    tensor([0.0000, 0.2000, 1.0000])
    """

    supports_masking = True
    steps_independent = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = _numbers("scale", scale), _numbers("offset", offset)

    def call(self, inputs: Tensor) -> Tensor:
        scale, offset = (self._on(each, inputs.device) for each in (self.scale, self.offset))
        return inputs.to(self._dtype) * scale + offset

    def _on(self, value: Any, device: torch.device) -> Any:
        return torch.as_tensor(value, dtype=self._dtype, device=device) if isinstance(value, np.ndarray) else value

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return tuple(input_shape)


def _numbers(what: str, value: Any) -> Any:
    """A number as it is, a list of numbers as an array. Raises ValueError for anything else."""
    kind = None if isinstance(value, Tensor) or value is None else np.asarray(value).dtype.kind
    if kind not in ("i", "u", "f"):
        raise ValueError(f"Rescaling: {what} must be a number, or a list or NumPy array of numbers, got {value!r}.")
    return value if isinstance(value, (int, float)) else np.asarray(value)
