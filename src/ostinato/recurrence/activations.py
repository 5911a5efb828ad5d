"""Activations that recurrences use, under the names by which engines know them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Activation = Callable[[Tensor], Tensor]


def linear(x: Tensor) -> Tensor:
    """`x`."""
    return x


def hard_sigmoid(x: Tensor) -> Tensor:
    """`clip(x / 6 + 1/2, 0, 1)`, as in Keras 3 (Keras 2 had `0.2 x + 0.5`)."""
    # Not torch's hardsigmoid: its derivative is 1/6 to single precision only, in float64 too.
    return torch.nn.functional.relu6(x + 3) / 6


KNOWN: dict[str, Activation] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "hard_sigmoid": hard_sigmoid,
    "linear": linear,
}
_NAMES = {function: name for name, function in KNOWN.items()}


def activation_name(function: Any) -> str:
    """The name under which engines know `function`, or "custom"."""
    return _NAMES.get(function, "custom")
