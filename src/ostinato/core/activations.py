"""Activations by Keras's names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.recurrence.activations import KNOWN, Activation, hard_sigmoid, linear

for _name, _function in KNOWN.items():
    registry.builtin("activations", _name)(_function)

tanh, sigmoid, relu = KNOWN["tanh"], KNOWN["sigmoid"], KNOWN["relu"]


@registry.builtin("activations")
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """`exp(x) / sum(exp(x))` along `axis`."""
    return torch.softmax(x, axis)


@registry.builtin("activations")
def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """`log(softmax(x))` along `axis`."""
    return torch.log_softmax(x, axis)


@registry.builtin("activations")
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """`x` above 0, `alpha (exp(x) - 1)` below."""
    return torch.nn.functional.elu(x, alpha)


@registry.builtin("activations")
def selu(x: Tensor) -> Tensor:
    """The self-normalising elu (Klambauer et al., 2017)."""
    return torch.selu(x)


@registry.builtin("activations")
def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """`x Phi(x)` (Hendrycks & Gimpel, 2016)."""
    return torch.nn.functional.gelu(x, approximate="tanh" if approximate else "none")


@registry.builtin("activations")
def softplus(x: Tensor) -> Tensor:
    """`log(1 + exp(x))`."""
    return torch.nn.functional.softplus(x)


@registry.builtin("activations")
def softsign(x: Tensor) -> Tensor:
    """`x / (1 + |x|)`."""
    return torch.nn.functional.softsign(x)


@registry.builtin("activations", "silu", "swish")
def silu(x: Tensor) -> Tensor:
    """`x sigmoid(x)`."""
    return torch.nn.functional.silu(x)


@registry.builtin("activations")
def exponential(x: Tensor) -> Tensor:
    """`exp(x)`."""
    return torch.exp(x)


def get(identifier: Any) -> Activation:
    """The activation for a name, a config or a callable; None is `linear`.

    Raises ValueError for an unknown name, with the nearest known one.

    >>> get("tanh") is torch.tanh, get(None) is linear
    (True, True)
    """
    return linear if identifier is None else registry.resolve("activations", identifier)


def serialize(activation: Activation) -> Any:
    """The name of an activation, or its config."""
    return registry.serialize_keras_object(activation)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Activation:
    """The activation that `serialize` described."""
    return linear if config is None else registry.resolve("activations", config, custom_objects)


__all__ = [
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "hard_sigmoid",
    "linear",
    "log_softmax",
    "relu",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]
