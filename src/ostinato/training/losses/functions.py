"""Losses as functions: a value for each sample. And the same sums in the fewest operations, for the classes."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.core import registry
from ostinato.training.losses.base import by_element
from ostinato.training.tensors import as_floating, as_targets, same_rank

_EPSILON = 1e-7  # probabilities are kept this far from 0 and 1, as in Keras
_NO_CLASS = -(2**62) - 1  # torch leaves one label out, -100 if nobody says otherwise; here one that nobody means


@registry.builtin("losses", "mean_squared_error", "mse", "MSE")
@by_element
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
    return squared_error(*_tensors(y_true, y_pred), "none").mean(-1)


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
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ, or `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`; probabilities are kept 1e-7 away from 0 and 1.

    Example:
        >>> import ostinato
        >>> ostinato.losses.binary_crossentropy([[0.0, 1.0]], [[0.4, 0.6]])
        tensor([0.5108])
    """
    return binary(*_tensors(y_true, y_pred), from_logits, label_smoothing, "none").mean(axis)


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
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ, or `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`; probabilities are kept 1e-7 away from 0 and 1.

    Example:
        >>> import ostinato
        >>> ostinato.losses.categorical_crossentropy([[0, 1], [1, 0]], [[0.1, 0.9], [0.5, 0.5]])
        tensor([0.1054, 0.6931])
    """
    return categorical(*_tensors(y_true, y_pred), from_logits, label_smoothing, axis, "none")


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
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

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
    return sparse(*_tensors(y_true, y_pred), from_logits, ignore_class, axis, "none")


def squared_error(y_true: Tensor, y_pred: Tensor, reduction: str) -> Tensor:
    """The squares of `mean_squared_error`, each ("none") or their mean."""
    y_true, y_pred = _same_shape(y_true, y_pred, "mean_squared_error", "")
    return functional.mse_loss(y_pred, y_true, reduction=reduction)


def binary(y_true: Tensor, y_pred: Tensor, from_logits: bool, label_smoothing: float, reduction: str) -> Tensor:
    """The values of `binary_crossentropy` before its mean along an axis, each ("none") or their mean."""
    check_smoothing(label_smoothing, "binary_crossentropy")
    y_true, y_pred = _same_shape(y_true, y_pred, "binary_crossentropy", "")
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / 2
    if from_logits:
        return functional.binary_cross_entropy_with_logits(y_pred, y_true, reduction=reduction)
    return functional.binary_cross_entropy(y_pred.clamp(_EPSILON, 1 - _EPSILON), y_true, reduction=reduction)


def categorical(
    y_true: Tensor, y_pred: Tensor, from_logits: bool, label_smoothing: float, axis: int, reduction: str
) -> Tensor:
    """The values of `categorical_crossentropy`, each ("none") or their mean."""
    check_smoothing(label_smoothing, "categorical_crossentropy")
    hint = " For whole numbers as labels there is sparse_categorical_crossentropy."
    y_true, y_pred = _same_shape(y_true, y_pred, "categorical_crossentropy", hint)
    y_true, y_pred = _last(y_true, axis), _last(y_pred, axis)
    classes = y_pred.shape[-1]
    if classes == 1:
        warnings.warn(
            f"categorical_crossentropy of one class is always 0 (y_pred has shape {tuple(y_pred.shape)}): for two "
            f"classes in one number there is binary_crossentropy.",
            stacklevel=3,
        )
    if from_logits:
        rows, targets = _rows(y_pred), _rows(y_true)
        values = functional.cross_entropy(rows, targets, reduction=reduction, label_smoothing=label_smoothing)
        return values if reduction == "mean" else values.reshape(y_pred.shape[:-1])
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / classes
    share = y_pred / y_pred.sum(-1, keepdim=True)
    values = -(y_true * share.clamp(_EPSILON, 1 - _EPSILON).log()).sum(-1)
    return values.mean() if reduction == "mean" else values


def sparse(
    y_true: Tensor, y_pred: Tensor, from_logits: bool, ignore_class: int | None, axis: int, reduction: str
) -> Tensor:
    """The values of `sparse_categorical_crossentropy`, each ("none") or their mean."""
    wanted, y_pred = labels(y_true, y_pred, axis)
    ignored = None
    if ignore_class is not None:
        ignored = wanted == ignore_class
        wanted, y_pred = wanted.masked_fill(ignored, 0), y_pred.masked_fill(ignored.unsqueeze(-1), 1)
    try:
        if from_logits:
            values = functional.cross_entropy(
                _rows(y_pred), wanted.reshape(-1), ignore_index=_NO_CLASS, reduction=reduction
            )
            values = values if reduction == "mean" else values.reshape(wanted.shape)
        else:
            picked = y_pred.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
            values = -(picked / y_pred.sum(-1)).clamp(_EPSILON, 1 - _EPSILON).log()
            values = values.mean() if reduction == "mean" else values
    except (IndexError, RuntimeError) as error:
        _tell_labels(wanted, y_pred.shape[-1], error)
        raise
    return values if ignored is None else values.masked_fill(ignored, 0)


def check_smoothing(label_smoothing: float, who: str) -> None:
    """Raise ValueError unless `label_smoothing` is in [0, 1]."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{who}: label_smoothing must be in [0, 1], got {label_smoothing!r}.")


def labels(y_true: Tensor, y_pred: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Labels as int64 without the axis of the classes, and predictions with that axis last."""
    shapes = tuple(y_true.shape), tuple(y_pred.shape)
    if not y_pred.dim():
        raise ValueError("sparse_categorical_crossentropy: y_pred is a scalar; it must be (batch, ..., classes).")
    if len(shapes[0]) == len(shapes[1]) and shapes[0][axis] == 1:
        y_true = y_true.squeeze(axis)
    y_pred = _last(y_pred, axis)
    if y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"sparse_categorical_crossentropy: y_true has shape {shapes[0]} and y_pred {shapes[1]}; each prediction "
            f"needs one whole number, so y_true must have shape {tuple(y_pred.shape[:-1])}. For one-hot labels there "
            f"is categorical_crossentropy."
        )
    wanted = y_true.long()
    if y_true.is_floating_point() and y_true.device.type == "cpu" and not torch.equal(wanted.to(y_true), y_true):
        wrong = y_true[wanted.to(y_true) != y_true][0].item()
        raise ValueError(f"sparse_categorical_crossentropy: labels must be whole numbers, got {wrong}.")
    return wanted, y_pred


def _last(tensor: Tensor, axis: int) -> Tensor:
    """The tensor with `axis` last."""
    return tensor if axis in (-1, tensor.dim() - 1) else tensor.movedim(axis, -1)


def _rows(tensor: Tensor) -> Tensor:
    """The tensor as a matrix, its last axis kept."""
    return tensor if tensor.dim() == 2 else tensor.unsqueeze(0).flatten(0, -2)


def _tensors(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    y_pred = as_floating(y_pred)
    return as_targets(y_true, y_pred), y_pred


def _same_shape(y_true: Tensor, y_pred: Tensor, who: str, hint: str) -> tuple[Tensor, Tensor]:
    """Targets and predictions in one dtype and shape."""
    y_true = y_true.to(y_pred.dtype)
    if y_true.shape == y_pred.shape and y_pred.dim():
        return y_true, y_pred
    shapes = tuple(y_true.shape), tuple(y_pred.shape)
    y_true, y_pred = same_rank(y_true, y_pred)
    if y_true.shape != y_pred.shape or not y_pred.dim():
        raise ValueError(
            f"{who}: y_true has shape {shapes[0]} and y_pred {shapes[1]}; both must be (batch, ...), and the same, but "
            f"for a last axis of size 1.{hint}"
        )
    return y_true, y_pred


def _tell_labels(labels: Tensor, classes: int, error: Exception) -> None:
    """Raise ValueError if labels out of range are what torch's error is about."""
    if labels.device.type == "cpu" and labels.numel():
        low, high = (int(each) for each in labels.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f"sparse_categorical_crossentropy: y_pred has {classes} classes, so labels must be from 0 to "
                f"{classes - 1}; got labels from {low} to {high}. A mask or ignore_class leaves labels out; more "
                f"classes need a wider last layer."
            ) from error
