"""Weights: torch parameters with Keras's conveniences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Weight(torch.nn.Parameter):
    """A parameter that also answers to Keras's `assign`, `value` and `numpy`.

    These are conveniences: `load_state_dict(assign=True)` and `.to("meta")` put plain parameters in its place, and
    nothing in the library asks for more than a parameter. What must last is in the layer, under the weight's name.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def value(self) -> Tensor:
        """The tensor itself."""
        return self

    def assign(self, value: Any) -> Weight:
        """Write `value` (array or tensor of the same shape) into the weight."""
        write(self, value, "weight")
        return self

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """A copy of the values as a NumPy array."""
        return to_numpy(self)


class WeightInfo(NamedTuple):
    """What a layer remembers of a weight under its name: attributes of a parameter itself do not survive torch.

    number: counts all weights as they are made, which is Keras's order of them.
    """

    number: int
    trainable: bool
    regularizer: Callable[[Tensor], Tensor] | None
    constraint: Callable[[Tensor], Tensor] | None


def to_numpy(weight: Tensor) -> np.ndarray:
    """A copy of a tensor's values as a NumPy array; bfloat16, which NumPy lacks, as float32."""
    values = weight.detach().cpu()
    values = values.float() if values.dtype is torch.bfloat16 else values
    return Tensor.numpy(values).copy()


def write(weight: Tensor, value: Any, name: str) -> None:
    """Write `value` into a weight in place. Raises ValueError if the shapes differ."""
    if not isinstance(value, Tensor):
        value = torch.as_tensor(np.asarray(value))
    if tuple(value.shape) != tuple(weight.shape):
        raise ValueError(f"{name}: expected shape {tuple(weight.shape)}, got {tuple(value.shape)}.")
    with torch.no_grad():
        weight.copy_(value)
