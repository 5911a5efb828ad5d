"""Accuracies: the share of predictions that match their targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.metrics.reduction import FunctionMetric
from ostinato.training.tensors import as_tensor, same_rank


@registry.builtin("metric_functions")
def accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 where `y_true == y_pred`, else 0.

    Args:
        y_true, y_pred: tensors or arrays of one shape; either may lack a last axis of size 1.

    Returns:
        That shape, float32.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> from ostinato.training.metrics.accuracy import accuracy
        >>> accuracy([1, 2, 3], [1, 2, 4])
        tensor([1., 1., 0.])
    """
    return _equal(*_pair(y_true, y_pred)).to(torch.get_default_dtype())


@registry.builtin("metric_functions")
def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """1 where `y_true == (y_pred > threshold)`, else 0.

    Args:
        y_true: labels 0 and 1, of the shape of `y_pred`; either may lack a last axis of size 1.
        y_pred: tensor or array of probabilities.
        threshold: above it a prediction is 1.

    Returns:
        That shape, float32.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato
        >>> ostinato.metrics.binary_accuracy([1, 0, 1], [0.9, 0.2, 0.4])
        tensor([1., 1., 0.])
    """
    return _binary(*_pair(y_true, y_pred), threshold).to(torch.get_default_dtype())


@registry.builtin("metric_functions")
def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 where `argmax(y_true) == argmax(y_pred)` along the last axis, else 0.

    Args:
        y_true, y_pred: tensors or arrays of one shape `(batch, ..., classes)`.

    Returns:
        `(batch, ...)`, float32.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato
        >>> ostinato.metrics.categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])
        tensor([1., 0.])
    """
    return _categorical(*_pair(y_true, y_pred)).to(torch.get_default_dtype())


@registry.builtin("metric_functions")
def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 where `y_true == argmax(y_pred)` along the last axis, else 0.

    Args:
        y_true: numbers of classes: `(batch, ...)`, or with a last axis of size 1.
        y_pred: tensor or array `(batch, ..., classes)`.

    Returns:
        `(batch, ...)`, float32.

    Raises:
        ValueError: if the shapes do not fit.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato
        >>> ostinato.metrics.sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.4, 0.6]])
        tensor([1., 0.])
    """
    return _sparse(*_pair(y_true, y_pred)).to(torch.get_default_dtype())


def _pair(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    y_pred = as_tensor(y_pred)
    return as_tensor(y_true).to(y_pred.device), y_pred


def _equal(y_true: Tensor, y_pred: Tensor) -> Tensor:
    y_true, y_pred = _same_shape(y_true, y_pred, "accuracy")
    return y_true.to(y_pred.dtype) == y_pred


def _binary(y_true: Tensor, y_pred: Tensor, threshold: float) -> Tensor:
    y_true, y_pred = _same_shape(y_true, y_pred, "binary_accuracy")
    return y_true == (y_pred > threshold)


def _categorical(y_true: Tensor, y_pred: Tensor) -> Tensor:
    y_true, y_pred = _same_shape(y_true, y_pred, "categorical_accuracy")
    if not y_pred.dim():
        raise ValueError("categorical_accuracy: y_pred is a scalar; it must be (batch, ..., classes).")
    return y_true.argmax(-1) == y_pred.argmax(-1)


def _sparse(y_true: Tensor, y_pred: Tensor) -> Tensor:
    shape = y_true.shape
    narrow = y_true.dim() == y_pred.dim() and shape[-1:] == (1,)
    if narrow:
        y_true = y_true.squeeze(-1)
    if not y_pred.dim() or y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"sparse_categorical_accuracy: y_true has shape {tuple(shape)} and y_pred {tuple(y_pred.shape)}; each "
            f"prediction needs one whole number, so y_true must have shape {tuple(y_pred.shape[:-1])}. For one-hot "
            f"labels there is categorical_accuracy."
        )
    matches = y_pred.argmax(-1) == y_true
    return matches if narrow or matches.dim() < 2 else matches.squeeze(-1)


def _same_shape(y_true: Tensor, y_pred: Tensor, who: str) -> tuple[Tensor, Tensor]:
    shapes = tuple(y_true.shape), tuple(y_pred.shape)
    y_true, y_pred = same_rank(y_true, y_pred)
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"{who}: y_true has shape {shapes[0]} and y_pred {shapes[1]}; they must be the same, but for a last axis "
            f"of size 1."
        )
    return y_true, y_pred


@registry.builtin("metrics", "accuracy")
class Accuracy(FunctionMetric):
    """The share of predictions that equal their targets, as `accuracy` has it.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato, torch
        >>> metric = ostinato.metrics.Accuracy()
        >>> metric.update_state([1, 2, 3, 4], [0, 2, 3, 4])
        >>> metric.result()
        tensor(0.7500)
    """

    higher_is_better = True
    _values = staticmethod(_equal)  # booleans, which need no cast before they are added up

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, dtype)


@registry.builtin("metrics", "binary_accuracy")
class BinaryAccuracy(FunctionMetric):
    """The share of probabilities on the right side of a threshold, as `binary_accuracy` has it.

    Args:
        threshold: above it a prediction is 1.
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato, torch
        >>> metric = ostinato.metrics.BinaryAccuracy()
        >>> metric.update_state([[1], [1], [0], [0]], [[0.98], [1.0], [0.0], [0.6]])
        >>> metric.result()
        tensor(0.7500)
    """

    higher_is_better = True
    threshold: float

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)

    def _values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return _binary(y_true, y_pred, self.threshold)


@registry.builtin("metrics", "categorical_accuracy")
class CategoricalAccuracy(FunctionMetric):
    """The share of most probable classes that are right, for one-hot targets, as `categorical_accuracy` has it.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato, torch
        >>> metric = ostinato.metrics.CategoricalAccuracy()
        >>> metric.update_state(torch.eye(2), torch.tensor([[0.9, 0.1], [0.6, 0.4]]))
        >>> metric.result()
        tensor(0.5000)
    """

    higher_is_better = True
    _values = staticmethod(_categorical)  # booleans, which need no cast before they are added up

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


@registry.builtin("metrics", "sparse_categorical_accuracy")
class SparseCategoricalAccuracy(FunctionMetric):
    """The share of most probable classes that are right, as `sparse_categorical_accuracy` has it.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato, torch
        >>> metric = ostinato.metrics.SparseCategoricalAccuracy()
        >>> metric.update_state([0, 1], [[0.9, 0.1], [0.6, 0.4]])
        >>> metric.result()
        tensor(0.5000)
    """

    higher_is_better = True
    _values = staticmethod(_sparse)  # booleans, which need no cast before they are added up

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)
