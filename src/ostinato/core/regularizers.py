"""Penalties on weights and activities, by Keras's names and formulas."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.ops.tensors import tensor


class Regularizer:
    """Base: a callable from a tensor to a scalar penalty, with a config.

    A subclass has `__call__(x)`, and `get_config()` with its constructor's arguments where it is to be saved.

    >>> class Mean(Regularizer):
    ...     def __call__(self, x):
    ...         return x.mean()
    >>> Mean()(torch.tensor([1.0, 3.0]))
    tensor(2.)
    """

    def __call__(self, x: Any) -> Tensor:
        """The penalty on `x`, a scalar; 0 in this class."""
        return tensor(x).new_zeros(())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments. Raises NotImplementedError in a subclass that does not say."""
        raise NotImplementedError(f"{type(self).__name__} must define get_config() to be saved.")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The regularizer that `get_config` described.

        >>> L1.from_config({"l1": 0.5}).l1
        0.5
        """
        return cls(**config)


registry.builtin("regularizers", "regularizer")(Regularizer)


def _factor(value: Any, who: str, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{who}: {name} must be a finite number, 0 or more, got {value!r}.")
    return float(value)


@registry.builtin("regularizers", "l1_l2", "l1l2")
class L1L2(Regularizer):
    """`l1 sum(|x|) + l2 sum(x^2)`.

    l1, l2: factors, 0 or more; None is 0. Raises ValueError otherwise.

    >>> L1L2(l1=1.0, l2=10.0)(torch.tensor([-1.0, 2.0]))
    tensor(53.)
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = _factor(0.0 if l1 is None else l1, type(self).__name__, "l1")
        self.l2 = _factor(0.0 if l2 is None else l2, type(self).__name__, "l2")

    def __call__(self, x: Any) -> Tensor:
        x = tensor(x)
        penalty = x.new_zeros(())
        if self.l1:
            penalty = penalty + self.l1 * x.abs().sum()
        if self.l2:
            penalty = penalty + self.l2 * x.square().sum()
        return penalty

    def get_config(self) -> dict[str, Any]:
        """The factors."""
        return {"l1": self.l1, "l2": self.l2}


@registry.builtin("regularizers", "l1")
class L1(Regularizer):
    """`l1 sum(|x|)`.

    l1: the factor, 0 or more; None is 0.01. Raises ValueError otherwise.

    >>> L1(0.5)(torch.tensor([-1.0, 2.0]))
    tensor(1.5000)
    """

    def __init__(self, l1: float | None = 0.01) -> None:
        self.l1 = _factor(0.01 if l1 is None else l1, type(self).__name__, "l1")

    def __call__(self, x: Any) -> Tensor:
        return self.l1 * tensor(x).abs().sum()

    def get_config(self) -> dict[str, Any]:
        """The factor."""
        return {"l1": self.l1}


@registry.builtin("regularizers", "l2")
class L2(Regularizer):
    """`l2 sum(x^2)`.

    l2: the factor, 0 or more; None is 0.01. Raises ValueError otherwise.

    >>> L2(0.5)(torch.tensor([-1.0, 2.0]))
    tensor(2.5000)
    """

    def __init__(self, l2: float | None = 0.01) -> None:
        self.l2 = _factor(0.01 if l2 is None else l2, type(self).__name__, "l2")

    def __call__(self, x: Any) -> Tensor:
        return self.l2 * tensor(x).square().sum()

    def get_config(self) -> dict[str, Any]:
        """The factor."""
        return {"l2": self.l2}


@registry.builtin("regularizers", "orthogonal_regularizer")
class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean of `|cos|` of the angles between different rows (or columns) of a matrix.

    factor: 0 or more. mode: "rows" or "columns". Raises ValueError otherwise, and for what is no matrix.
    Of a single row there are no angles: NaN, as in Keras.

    >>> OrthogonalRegularizer(factor=1.0)(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    tensor(0.7071)
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        if mode not in ("rows", "columns"):
            raise ValueError(f"OrthogonalRegularizer: mode must be 'rows' or 'columns', got {mode!r}.")
        self.factor, self.mode = _factor(factor, type(self).__name__, "factor"), mode

    def __call__(self, inputs: Any) -> Tensor:
        x = tensor(inputs)
        if x.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer: expected a matrix, got shape {tuple(x.shape)}.")
        rows = torch.nn.functional.normalize(x if self.mode == "rows" else x.t(), dim=1, eps=_EPSILON)
        count = rows.shape[0]
        between = (rows @ rows.t()).abs() * (1 - torch.eye(count, dtype=x.dtype, device=x.device))
        return self.factor * between.sum() / torch.as_tensor(count * (count - 1), dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Factor and mode."""
        return {"factor": self.factor, "mode": self.mode}


_EPSILON = 1e-7


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer


def get(identifier: Any) -> Any:
    """The regularizer for a name, a config, a class or a callable; None stays None.

    Raises ValueError for an unknown name, with the nearest known one.

    >>> get("l2").l2, get({"class_name": "L1", "config": {"l1": 0.5}}).l1
    (0.01, 0.5)
    """
    return registry.resolve("regularizers", identifier)


def serialize(regularizer: Any) -> Any:
    """The config of a regularizer.

    >>> serialize(L1(0.5))["config"]
    {'l1': 0.5}
    """
    return registry.serialize_keras_object(regularizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The regularizer that `serialize` described.

    custom_objects: name to class or function, beside what is registered.

    >>> deserialize(serialize(L1(0.5))).l1
    0.5
    """
    return registry.resolve("regularizers", config, custom_objects)


__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]
