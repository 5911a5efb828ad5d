"""Projections of weights after each optimizer step, by Keras's names and formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.ops.dtypes import floating
from ostinato.ops.tensors import tensor

_EPSILON = 1e-7

Axis = int | Sequence[int]


class Constraint:
    """Base: a callable from a weight to the allowed one in its place, with a config.

    A subclass has `__call__(w)`, and `get_config()` with its constructor's arguments if it takes any.

    >>> class Small(Constraint):
    ...     def __call__(self, w):
    ...         return w.clamp(-1, 1)
    >>> Small()(torch.tensor([0.5, 2.0]))
    tensor([0.5000, 1.0000])
    """

    def __call__(self, w: Any) -> Tensor:
        """The allowed weight, of the shape of `w`; `w` itself in this class."""
        return w

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The constraint that `get_config` described.

        >>> UnitNorm.from_config({"axis": 1}).axis
        1
        """
        return cls(**config)


registry.builtin("constraints", "constraint")(Constraint)


def _norms(w: Tensor, axis: Axis) -> Tensor:
    """Norms along the axes, which are kept with size 1."""
    return w.square().sum(axis if isinstance(axis, int) else tuple(axis), keepdim=True).sqrt()


@registry.builtin("constraints", "max_norm")
class MaxNorm(Constraint):
    """`w` scaled down where its norm along `axis` is above `max_value`.

    axis: one or several; 0 takes the weights into each unit of a dense kernel `(features, units)`, (0, 1, 2) those into
    each filter of a kernel `(rows, columns, channels, filters)`.

    >>> MaxNorm(2.5)(torch.tensor([[3.0], [4.0]]))
    tensor([[1.5000], [2.0000]])
    """

    def __init__(self, max_value: float = 2, axis: Axis = 0) -> None:
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Any) -> Tensor:
        w = floating(tensor(w))
        norms = _norms(w, self.axis)
        return w * (norms.clamp(0, self.max_value) / (_EPSILON + norms))

    def get_config(self) -> dict[str, Any]:
        """Bound and axis."""
        return {"max_value": self.max_value, "axis": self.axis}


@registry.builtin("constraints", "non_neg")
class NonNeg(Constraint):
    """`max(w, 0)`.

    >>> NonNeg()(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def __call__(self, w: Any) -> Tensor:
        w = tensor(w)
        return torch.maximum(w, torch.zeros_like(w))


@registry.builtin("constraints", "unit_norm")
class UnitNorm(Constraint):
    """`w` scaled to a norm of 1 along `axis`.

    axis: as that of `MaxNorm`.

    >>> UnitNorm()(torch.tensor([[3.0], [4.0]]))
    tensor([[0.6000], [0.8000]])
    """

    def __init__(self, axis: Axis = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Tensor:
        w = floating(tensor(w))
        return w / (_EPSILON + _norms(w, self.axis))

    def get_config(self) -> dict[str, Any]:
        """The axis."""
        return {"axis": self.axis}


@registry.builtin("constraints", "min_max_norm")
class MinMaxNorm(Constraint):
    """`w` scaled to the norm `rate clip(norm, min_value, max_value) + (1 - rate) norm` along `axis`.

    rate: 1 enforces the range at once, less draws the weights towards it. axis: as that of `MaxNorm`.

    >>> MinMaxNorm(min_value=1.0, max_value=2.0, rate=0.5)(torch.tensor([[3.0], [4.0]]))
    tensor([[2.1000], [2.8000]])
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axis = 0) -> None:
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Any) -> Tensor:
        w = floating(tensor(w))
        norms = _norms(w, self.axis)
        desired = self.rate * norms.clamp(self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (desired / (_EPSILON + norms))

    def get_config(self) -> dict[str, Any]:
        """Bounds, rate and axis."""
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm


def get(identifier: Any) -> Any:
    """The constraint for a name, a config, a class or a callable; None stays None.

    Raises ValueError for an unknown name, with the nearest known one.

    >>> get("max_norm").max_value, get({"class_name": "UnitNorm", "config": {"axis": 1}}).axis
    (2, 1)
    """
    return registry.resolve("constraints", identifier)


def serialize(constraint: Any) -> Any:
    """The config of a constraint.

    >>> serialize(MaxNorm(3))["config"]
    {'max_value': 3, 'axis': 0}
    """
    return registry.serialize_keras_object(constraint)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The constraint that `serialize` described.

    custom_objects: name to class or function, beside what is registered.

    >>> deserialize(serialize(MaxNorm(3))).max_value
    3
    """
    return registry.resolve("constraints", config, custom_objects)


@torch.no_grad()
def apply(constraint: Any, weight: Tensor) -> None:
    """Put a weight back among the allowed ones, in place.

    >>> weight = torch.tensor([-1.0, 2.0])
    >>> apply(NonNeg(), weight)
    >>> weight
    tensor([0., 2.])
    """
    weight.copy_(constraint(weight))


__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]
