"""Activations by Keras's names: those of `ostinato.ops`, and what Keras's layers call otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.core import registry
from ostinato.ops import activations as ops
from ostinato.ops.activations import (
    celu,
    elu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    swish,
    tanh,
    tanh_shrink,
    threshold,
)
from ostinato.ops.dtypes import floating
from ostinato.ops.overrides import operation
from ostinato.ops.tensors import tensor
from ostinato.recurrence import activations as known
from ostinato.recurrence.activations import KNOWN, Activation, linear

# torch's own functions may be named in configs too: an activation of torch.tanh is written "tanh".
for _name, _plain in KNOWN.items():
    registry.builtin("activations", _name)(_plain)

_NAMED: tuple[Callable[..., Tensor], ...] = (
    celu,
    elu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    linear,
    log_sigmoid,
    log_softmax,
    relu6,
    selu,
    sigmoid,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    tanh,
    tanh_shrink,
    threshold,
)
for _function in _NAMED:
    registry.builtin("activations")(_function)
registry.builtin("activations", "silu", "swish")(silu)
registry.builtin("activations", "hard_silu", "hard_swish")(hard_silu)


@registry.builtin("activations")
@known.also("relu")
@operation
def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """`x` where it is above `threshold`, at most `max_value`; elsewhere `negative_slope (x - threshold)`.

    x: a tensor, an array or numbers, of any shape, which the result has too.

    >>> relu([-1.0, 2.0]), relu([-1.0, 8.0], negative_slope=0.5, max_value=6)
    (tensor([0., 2.]), tensor([-0.5000,  6.0000]))
    """
    x = tensor(x)
    if not threshold and max_value is None:
        return functional.leaky_relu(floating(x), negative_slope) if negative_slope else torch.relu(x)
    above = torch.where(x > threshold, x, torch.zeros_like(x)) if threshold else torch.relu(x)
    if max_value is not None:
        above = torch.clip(above, 0, max_value)
    return above - negative_slope * torch.relu(threshold - x) if negative_slope else above


@registry.builtin("activations")
@operation
def gelu(x: Any, approximate: bool = False) -> Tensor:
    """`x Phi(x)`, Phi the normal distribution function, or its approximation by tanh (Hendrycks & Gimpel, 2016).

    >>> gelu([1.0]), gelu([1.0], approximate=True)
    (tensor([0.8413]), tensor([0.8412]))
    """
    return ops.gelu(x, approximate)


@registry.builtin("activations")
@operation
def exponential(x: Any) -> Tensor:
    """`exp(x)`.

    >>> exponential([0.0])
    tensor([1.])
    """
    return torch.exp(tensor(x))


@registry.builtin("activations")
@operation
def mish(x: Any) -> Tensor:
    """`x tanh(log(1 + exp(x)))` (Misra, 2019).

    >>> mish([1.0])
    tensor([0.8651])
    """
    return functional.mish(floating(tensor(x)))


def get(identifier: Any) -> Activation:
    """The activation for a name, a config or a callable; None is `linear`.

    Raises ValueError for an unknown name, with the nearest known one.

    >>> get("tanh") is tanh, get(None) is linear, get(torch.sin) is torch.sin
    (True, True, True)
    """
    return linear if identifier is None else registry.resolve("activations", identifier)


def serialize(activation: Activation) -> Any:
    """The name of an activation, or its config if it has one.

    >>> serialize(silu), serialize(torch.tanh)
    ('silu', 'tanh')
    """
    return registry.serialize_keras_object(activation)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Activation:
    """The activation that `serialize` described.

    custom_objects: name to function, beside what is registered.

    >>> deserialize("swish") is silu, deserialize("sine", {"sine": torch.sin}) is torch.sin
    (True, True)
    """
    return linear if config is None else registry.resolve("activations", config, custom_objects)


__all__ = [
    "celu",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
]
