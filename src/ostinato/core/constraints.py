"""Projections of weights after each optimizer step, by Keras's names and formulas."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry

_EPSILON = 1e-7


class Constraint:
    """Base: a callable from a weight to the nearest allowed one, with a config."""

    def __call__(self, w: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(w).")

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


@registry.builtin("constraints", "max_norm")
class MaxNorm(Constraint):
    """Norms along `axis` at most `max_value`."""

    def __init__(self, max_value: float = 2, axis: int = 0) -> None:
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Tensor) -> Tensor:
        norms = w.square().sum(self.axis, keepdim=True).sqrt()
        return w * (norms.clamp(0, self.max_value) / (_EPSILON + norms))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


@registry.builtin("constraints", "non_neg")
class NonNeg(Constraint):
    """No value below 0."""

    def __call__(self, w: Tensor) -> Tensor:
        return w * (w >= 0)


@registry.builtin("constraints", "unit_norm")
class UnitNorm(Constraint):
    """Norms along `axis` of 1."""

    def __init__(self, axis: int = 0) -> None:
        self.axis = axis

    def __call__(self, w: Tensor) -> Tensor:
        return w / (_EPSILON + w.square().sum(self.axis, keepdim=True).sqrt())

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


@registry.builtin("constraints", "min_max_norm")
class MinMaxNorm(Constraint):
    """Norms along `axis` drawn towards the range `[min_value, max_value]`, by the share `rate`."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int = 0) -> None:
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Tensor) -> Tensor:
        norms = w.square().sum(self.axis, keepdim=True).sqrt()
        desired = self.rate * norms.clamp(self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (desired / (_EPSILON + norms))

    def get_config(self) -> dict[str, Any]:
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


def get(identifier: Any) -> Any:
    """The constraint for a name, a config, a class or a callable; None stays None."""
    return registry.resolve("constraints", identifier)


@torch.no_grad()
def apply(constraint: Any, weight: Tensor) -> None:
    """Put a weight back among the allowed ones, in place."""
    weight.copy_(constraint(weight))


__all__ = ["Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "get"]
