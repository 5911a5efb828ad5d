"""Losses between numbers: how far what was predicted is from what came."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn import functional

from ostinato.core import registry
from ostinato.training.losses.base import EPSILON, FunctionLoss
from ostinato.training.losses.traits import by_element, has, steps_apart
from ostinato.training.tensors import paired, same_shape


def _squared_mean(y_true: Tensor, y_pred: Tensor) -> Tensor:
    y_true, y_pred = same_shape(y_true, y_pred, "mean_squared_error")
    return functional.mse_loss(y_pred, y_true)


def _absolute_mean(y_true: Tensor, y_pred: Tensor) -> Tensor:
    y_true, y_pred = same_shape(y_true, y_pred, "mean_absolute_error")
    return functional.l1_loss(y_pred, y_true)


def _huber_mean(y_true: Tensor, y_pred: Tensor, delta: float = 1.0) -> Tensor:
    y_true, y_pred = same_shape(y_true, y_pred, "huber")
    return functional.huber_loss(y_pred, y_true, delta=delta)


@registry.builtin("losses", "mean_squared_error", "mse", "MSE")
@has(absent=steps_apart, mean=_squared_mean)
def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean((y_true - y_pred)**2)` along the last axis.

    Args:
        y_true, y_pred: tensors or arrays of one shape `(batch, ..., features)`; either may lack a last axis of size 1.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`. There other shapes are broadcast.

    Example:
        >>> import ostinato
        >>> ostinato.losses.mean_squared_error([[0.0, 1.0]], [[0.5, 1.0]])
        tensor([0.1250])
    """
    y_true, y_pred = paired(y_true, y_pred, "mean_squared_error")
    return functional.mse_loss(y_pred, y_true, reduction="none").mean(-1)


@registry.builtin("losses", "mean_absolute_error", "mae", "MAE")
@has(absent=steps_apart, mean=_absolute_mean)
def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(abs(y_true - y_pred))` along the last axis.

    Args:
        y_true, y_pred: as for `mean_squared_error`.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`. There other shapes are broadcast.

    Example:
        >>> import ostinato
        >>> ostinato.losses.mean_absolute_error([[0.0, 1.0]], [[0.5, 1.0]])
        tensor([0.2500])
    """
    y_true, y_pred = paired(y_true, y_pred, "mean_absolute_error")
    return functional.l1_loss(y_pred, y_true, reduction="none").mean(-1)


@registry.builtin("losses", "mean_absolute_percentage_error", "mape", "MAPE")
@by_element
def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """`100 mean(abs((y_true - y_pred) / y_true))` along the last axis, in percent.

    Args:
        y_true, y_pred: as for `mean_squared_error`; a target nearer to 0 than 1e-7 is divided by as if it were 1e-7.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`. There other shapes are broadcast.

    Example:
        >>> import ostinato
        >>> ostinato.losses.mean_absolute_percentage_error([[2.0, 10.0]], [[1.0, 11.0]])
        tensor([30.0000])
    """
    y_true, y_pred = paired(y_true, y_pred, "mean_absolute_percentage_error")
    return 100 * ((y_true - y_pred) / y_true.abs().clamp(min=EPSILON)).abs().mean(-1)


@registry.builtin("losses", "mean_squared_logarithmic_error", "msle", "MSLE")
@by_element
def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean((log(1 + y_true) - log(1 + y_pred))**2)` along the last axis.

    Args:
        y_true, y_pred: as for `mean_squared_error`; what is below 1e-7 counts as 1e-7.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`. There other shapes are broadcast.

    Example:
        >>> import ostinato
        >>> ostinato.losses.mean_squared_logarithmic_error([[0.0, 3.0]], [[0.0, 1.0]])
        tensor([0.2402])
    """
    y_true, y_pred = paired(y_true, y_pred, "mean_squared_logarithmic_error")
    wanted, found = ((each.clamp(min=EPSILON) + 1).log() for each in (y_true, y_pred))
    return (found - wanted).square().mean(-1)


@registry.builtin("losses")
@has(absent=steps_apart, mean=_huber_mean)
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """`mean(e**2 / 2 if abs(e) <= delta else delta (abs(e) - delta / 2))` along the last axis, e the error.

    Args:
        y_true, y_pred: as for `mean_squared_error`.
        delta: the error, in units of the targets, from which on the loss grows linearly.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ, or `delta` is not above 0.

    Source:
        Keras, `losses/losses.py`; Huber, "Robust estimation of a location parameter" (1964).

    Example:
        >>> import ostinato
        >>> ostinato.losses.huber([[0.0, 0.0]], [[1.0, 3.0]])
        tensor([1.5000])
    """
    check_delta(delta, "huber")
    y_true, y_pred = paired(y_true, y_pred, "huber")
    return functional.huber_loss(y_pred, y_true, reduction="none", delta=delta).mean(-1)


@registry.builtin("losses", "log_cosh", "logcosh")
@by_element
def log_cosh(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(log(cosh(y_pred - y_true)))` along the last axis: near 0 half the square, far from it the distance.

    Args:
        y_true, y_pred: as for `mean_squared_error`.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`. There other shapes are broadcast.

    Example:
        >>> import ostinato
        >>> ostinato.losses.log_cosh([[0.0, 0.0]], [[0.0, 1.0]])
        tensor([0.2169])
    """
    y_true, y_pred = paired(y_true, y_pred, "log_cosh")
    error = y_pred - y_true
    return (error + functional.softplus(-2 * error) - math.log(2)).mean(-1)


def check_delta(delta: float, who: str) -> None:
    """Raise ValueError unless `delta` is above 0."""
    if not delta > 0:
        raise ValueError(f"{who}: delta must be above 0, got {delta!r}.")


@registry.builtin("losses")
class MeanSquaredError(FunctionLoss):
    """The loss of `mean_squared_error`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.MeanSquaredError()(torch.zeros(2, 3), torch.full((2, 3), 2.0))
        tensor(4.)
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "mean_squared_error", dtype: Any = None
    ) -> None:
        super().__init__(mean_squared_error, reduction, name, dtype)


@registry.builtin("losses")
class MeanAbsoluteError(FunctionLoss):
    """The loss of `mean_absolute_error`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.MeanAbsoluteError()(torch.zeros(2, 3), torch.full((2, 3), 2.0))
        tensor(2.)
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "mean_absolute_error", dtype: Any = None
    ) -> None:
        super().__init__(mean_absolute_error, reduction, name, dtype)


@registry.builtin("losses")
class MeanAbsolutePercentageError(FunctionLoss):
    """The loss of `mean_absolute_percentage_error`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.MeanAbsolutePercentageError()(torch.full((2, 1), 4.0), torch.full((2, 1), 3.0))
        tensor(25.)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_percentage_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_absolute_percentage_error, reduction, name, dtype)


@registry.builtin("losses")
class MeanSquaredLogarithmicError(FunctionLoss):
    """The loss of `mean_squared_logarithmic_error`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.MeanSquaredLogarithmicError()(torch.full((2, 1), 3.0), torch.full((2, 1), 1.0))
        tensor(0.4805)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_logarithmic_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_squared_logarithmic_error, reduction, name, dtype)


@registry.builtin("losses")
class Huber(FunctionLoss):
    """The loss of `huber`.

    Args:
        delta: as for `huber`.
        reduction, name, dtype: as for `Loss`.

    Raises:
        ValueError: if `delta` is not above 0.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.Huber()(torch.zeros(2, 1), torch.tensor([[1.0], [3.0]]))
        tensor(1.5000)
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: Any = None,
    ) -> None:
        check_delta(delta, f"{type(self).__name__} {name!r}")
        super().__init__(huber, reduction, name, dtype, delta=delta)


@registry.builtin("losses")
class LogCosh(FunctionLoss):
    """The loss of `log_cosh`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.LogCosh()(torch.zeros(2, 1), torch.ones(2, 1))
        tensor(0.4338)
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "log_cosh", dtype: Any = None
    ) -> None:
        super().__init__(log_cosh, reduction, name, dtype)
