"""Penalties on weights and activities, by Keras's names and formulas."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ostinato.core import registry


class Regularizer:
    """Base: a callable from a tensor to a scalar penalty, with a config."""

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(x).")

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} must define get_config().")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


@registry.builtin("regularizers", "l1_l2", "L1L2")
class L1L2(Regularizer):
    """`l1 sum(|x|) + l2 sum(x^2)`."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1, self.l2 = float(l1 or 0.0), float(l2 or 0.0)

    def __call__(self, x: Tensor) -> Tensor:
        penalty = x.new_zeros(())
        if self.l1:
            penalty = penalty + self.l1 * x.abs().sum()
        if self.l2:
            penalty = penalty + self.l2 * x.square().sum()
        return penalty

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


@registry.builtin("regularizers", "l1", "L1")
class L1(L1L2):
    """`l1 sum(|x|)`."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


@registry.builtin("regularizers", "l2", "L2")
class L2(L1L2):
    """`l2 sum(x^2)`."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


def get(identifier: Any) -> Any:
    """The regularizer for a name, a config, a class or a callable; None stays None."""
    return registry.resolve("regularizers", identifier)


__all__ = ["L1", "L1L2", "L2", "Regularizer", "get"]
