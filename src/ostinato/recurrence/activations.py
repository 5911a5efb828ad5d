"""Activations that recurrences use, under the names by which engines know them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Activation = Callable[[Tensor], Tensor]


def linear(x: Tensor) -> Tensor:
    """`x`.

    >>> linear(torch.tensor([-1.0, 2.0]))
    tensor([-1.,  2.])
    """
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


def also(name: str) -> Callable[[Activation], Activation]:
    """Let engines know another function that gives the same values by the name of a known activation.

    >>> @also("tanh")
    ... def by_another_name(x):
    ...     return torch.tanh(x)
    >>> activation_name(by_another_name)
    'tanh'
    """

    def enter(function: Activation) -> Activation:
        _NAMES[function] = name
        return function

    return enter


def activation_name(function: Any) -> str:
    """The name under which engines know `function`, or "custom"."""
    return _NAMES.get(function, "custom")


def plain(function: Activation) -> Activation:
    """The torch function behind another name of a known activation; any other function as it is.

    A loop calls it at every step, where looking at what it is called with would cost as much as computing it.

    >>> plain(torch.tanh) is torch.tanh, plain(torch.sin) is torch.sin
    (True, True)
    """
    return KNOWN.get(_NAMES.get(function, ""), function)
