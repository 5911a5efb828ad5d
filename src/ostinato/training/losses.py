"""Losses by Keras's names: how far predictions are from what they should be."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.core import registry
from ostinato.training.loss_base import Loss, LossFunctionWrapper, by_element
from ostinato.training.tensors import as_predictions, as_targets, same_rank

_EPSILON = 1e-7  # probabilities are kept this far from 0 and 1, as in Keras
_NO_CLASS = -(2**62) - 1  # torch ignores one label, -100 if nobody says; here none: this one nobody can mean


@registry.builtin("losses", "mean_squared_error", "mse", "MSE")
@by_element
def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """`mean((y_true - y_pred)**2)` along the last axis.

    Args:
        y_true, y_pred: tensors or arrays of one shape `(batch, ..., features)`; either may lack a last axis of size 1.

    Returns:
        `(batch, ...)`, float32, or float64 for float64 predictions.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`. There other shapes are broadcast.

    Example:
        >>> import ostinato
        >>> ostinato.losses.mean_squared_error([[0.0, 1.0]], [[0.5, 1.0]])
        tensor([0.1250])
    """
    y_true, y_pred = _same_shape(y_true, y_pred, "mean_squared_error")
    return (y_true - y_pred).square().mean(-1)


@registry.builtin("losses", "binary_crossentropy", "bce", "BCE")
@by_element
def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """`mean(-y log(p) - (1 - y) log(1 - p))` along `axis`, p the predicted probability of 1.

    Args:
        y_true: labels, 0, 1 or between, of the shape of `y_pred`; either may lack a last axis of size 1.
        y_pred: tensor or array `(batch, ..., labels)`: probabilities, or with `from_logits` their logits.
        from_logits: whether p is `sigmoid(y_pred)`.
        label_smoothing: s in [0, 1]; labels become `y (1 - s) + s / 2`.
        axis: along which to take the mean.

    Returns:
        `(batch, ...)`, float32, or float64 for float64 predictions.

    Raises:
        ValueError: if the shapes differ, or `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`; probabilities are kept 1e-7 away from 0 and 1.

    Example:
        >>> import ostinato
        >>> ostinato.losses.binary_crossentropy([[0.0, 1.0]], [[0.4, 0.6]])
        tensor([0.5108])
    """
    return _binary(y_true, y_pred, from_logits, label_smoothing, "none").mean(axis)


@registry.builtin("losses")
@by_element
def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """`-sum(y log(p))` along `axis`, p the predicted probabilities of the classes.

    Args:
        y_true: tensor or array of the shape of `y_pred`: one-hot labels, or probabilities.
        y_pred: tensor or array `(batch, ..., classes)`: probabilities, which are divided by their sum, or with
            `from_logits` their logits.
        from_logits: whether p is `softmax(y_pred)`.
        label_smoothing: s in [0, 1]; labels become `y (1 - s) + s / classes`.
        axis: of the classes.

    Returns:
        `(batch, ...)`, float32, or float64 for float64 predictions.

    Raises:
        ValueError: if the shapes differ, or `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`; probabilities are kept 1e-7 away from 0 and 1.

    Example:
        >>> import ostinato
        >>> ostinato.losses.categorical_crossentropy([[0, 1], [1, 0]], [[0.1, 0.9], [0.5, 0.5]])
        tensor([0.1054, 0.6931])
    """
    return _categorical(y_true, y_pred, from_logits, label_smoothing, axis, "none")


@registry.builtin("losses")
@by_element
def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """`-log(p[y])`, p the predicted probabilities of the classes and y the number of the right one.

    Args:
        y_true: whole numbers from 0 to classes - 1, of any dtype: `(batch, ...)`, or with a last axis of size 1.
        y_pred: tensor or array `(batch, ..., classes)`: probabilities, which are divided by their sum, or with
            `from_logits` their logits.
        from_logits: whether p is `softmax(y_pred)`.
        ignore_class: a label, one out of range too, whose value is 0.
        axis: of the classes.

    Returns:
        `(batch, ...)`, float32, or float64 for float64 predictions.

    Raises:
        ValueError: if the shapes do not fit, or a label is not a whole number from 0 to classes - 1. (The last is told
            on the CPU; a GPU has its own way, a failed device-side assertion.)

    Source:
        Keras, `losses/losses.py`; probabilities are kept 1e-7 away from 0 and 1.

    Example:
        >>> import ostinato
        >>> ostinato.losses.sparse_categorical_crossentropy([1, 0], [[0.1, 0.9], [0.5, 0.5]])
        tensor([0.1054, 0.6931])
    """
    y_pred = as_predictions(y_pred, None)
    labels, y_pred = _labels(as_targets(y_true, y_pred), y_pred, axis)
    if ignore_class is None:
        return _sparse(labels, y_pred, from_logits, "none")
    ignored = labels == ignore_class
    values = _sparse(
        labels.masked_fill(ignored, 0), y_pred.masked_fill(ignored.unsqueeze(-1), 1), from_logits, "none"
    )
    return values.masked_fill(ignored, 0)


@registry.builtin("losses")
class MeanSquaredError(LossFunctionWrapper):
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

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """As in `Loss`, in one operation."""
        y_true, y_pred = _same_shape(y_true, y_pred, str(self))
        return functional.mse_loss(y_pred, y_true)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return Loss.get_config(self)


class _Crossentropy(LossFunctionWrapper):
    """A crossentropy with Keras's options of one for dense labels."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**Loss.get_config(self), **self._fn_kwargs}


@registry.builtin("losses")
class BinaryCrossentropy(_Crossentropy):
    """The loss of `binary_crossentropy`.

    Args:
        from_logits, label_smoothing, axis: as for `binary_crossentropy`.
        reduction, name, dtype: as for `Loss`.

    Raises:
        ValueError: if `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.BinaryCrossentropy(from_logits=True)(torch.tensor([0, 1]), torch.zeros(2, 1))
        tensor(0.6931)
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        _check_smoothing(label_smoothing, f"{type(self).__name__} {name!r}")
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(binary_crossentropy, reduction, name, dtype, **options)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """As in `Loss`, in one operation."""
        return _binary(y_true, y_pred, self.from_logits, self.label_smoothing, "mean")


@registry.builtin("losses")
class CategoricalCrossentropy(_Crossentropy):
    """The loss of `categorical_crossentropy`, for one-hot labels.

    Args:
        from_logits, label_smoothing, axis: as for `categorical_crossentropy`.
        reduction, name, dtype: as for `Loss`.

    Raises:
        ValueError: if `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.CategoricalCrossentropy(from_logits=True)(torch.eye(2), torch.zeros(2, 2))
        tensor(0.6931)
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        _check_smoothing(label_smoothing, f"{type(self).__name__} {name!r}")
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(categorical_crossentropy, reduction, name, dtype, **options)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """As in `Loss`, in one operation."""
        return _categorical(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis, "mean")
