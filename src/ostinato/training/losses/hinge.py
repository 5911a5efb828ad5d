"""Hinge losses: predictions on the right side by a margin of 1 cost nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.losses.base import FunctionLoss
from ostinato.training.losses.traits import by_element
from ostinato.training.tensors import paired


@registry.builtin("losses")
@by_element
def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(max(1 - y y_pred, 0))` along the last axis.

    Args:
        y_true: labels y, -1 or 1, of the shape of `y_pred`; either may lack a last axis of size 1. If all of them are
            0 or 1, 0 means -1.
        y_pred: tensor or array `(batch, ..., labels)`.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato
        >>> ostinato.losses.hinge([[0.0, 1.0]], [[-2.0, 0.5]])
        tensor([0.2500])
    """
    return _short(y_true, y_pred, "hinge").mean(-1)


@registry.builtin("losses")
@by_element
def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(max(1 - y y_pred, 0)**2)` along the last axis.

    Args:
        y_true, y_pred: as for `hinge`.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato
        >>> ostinato.losses.squared_hinge([[-1.0, 1.0]], [[-2.0, 0.5]])
        tensor([0.1250])
    """
    return _short(y_true, y_pred, "squared_hinge").square().mean(-1)


@registry.builtin("losses")
@by_element
def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """`max(1 + max((1 - y) y_pred) - sum(y y_pred), 0)` along the last axis: the best wrong class against the right.

    Args:
        y_true: labels y, one-hot, of the shape of `y_pred`; either may lack a last axis of size 1.
        y_pred: tensor or array `(batch, ..., classes)`.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato
        >>> ostinato.losses.categorical_hinge([[0, 1, 0]], [[0.5, 1.0, -1.0]])
        tensor([0.5000])
    """
    y_true, y_pred = paired(y_true, y_pred, "categorical_hinge")
    right, wrong = (y_true * y_pred).sum(-1), ((1 - y_true) * y_pred).amax(-1)
    return _positive(wrong - right + 1)


def _short(y_true: Any, y_pred: Any, who: str) -> Tensor:
    """By how much each prediction falls short of the margin."""
    y_true, y_pred = paired(y_true, y_pred, who)
    binary = ((y_true == 0) | (y_true == 1)).all()
    return _positive(1 - torch.where(binary, 2 * y_true - 1, y_true) * y_pred)


def _positive(values: Tensor) -> Tensor:
    """`max(values, 0)`, with half a gradient at 0, as in Keras; relu has none there."""
    return torch.maximum(values, values.new_zeros(()))


@registry.builtin("losses")
class Hinge(FunctionLoss):
    """The loss of `hinge`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.Hinge()(torch.tensor([[0.0, 1.0]]), torch.tensor([[-2.0, 0.5]]))
        tensor(0.2500)
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "hinge", dtype: Any = None) -> None:
        super().__init__(hinge, reduction, name, dtype)


@registry.builtin("losses")
class SquaredHinge(FunctionLoss):
    """The loss of `squared_hinge`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.SquaredHinge()(torch.tensor([[-1.0, 1.0]]), torch.tensor([[-2.0, 0.5]]))
        tensor(0.1250)
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "squared_hinge", dtype: Any = None
    ) -> None:
        super().__init__(squared_hinge, reduction, name, dtype)


@registry.builtin("losses")
class CategoricalHinge(FunctionLoss):
    """The loss of `categorical_hinge`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.CategoricalHinge()(torch.tensor([[0, 1, 0]]), torch.tensor([[0.5, 1.0, -1.0]]))
        tensor(0.5000)
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "categorical_hinge", dtype: Any = None
    ) -> None:
        super().__init__(categorical_hinge, reduction, name, dtype)
