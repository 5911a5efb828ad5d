"""Crossentropies: how surprising the labels are under the predicted probabilities."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor
from torch.nn import functional

from ostinato.core import registry
from ostinato.training.losses.base import EPSILON, FunctionLoss
from ostinato.training.losses.traits import has, steps_apart
from ostinato.training.tensors import as_floating, as_targets, paired, same_shape, whole_numbers

_NO_CLASS = -(2**62) - 1  # torch leaves one label out, -100 if nobody says otherwise; here one that nobody means
FOR_WHOLE_NUMBERS = " For whole numbers as labels there is sparse_categorical_crossentropy."


def _binary(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
    reduction: str = "mean",
) -> Tensor:
    """The values of `binary_crossentropy`, their mean or ("none") each."""
    check_smoothing(label_smoothing, "binary_crossentropy")
    y_true, y_pred = same_shape(y_true, y_pred, "binary_crossentropy")
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / 2
    if from_logits:
        values = functional.binary_cross_entropy_with_logits(y_pred, y_true, reduction=reduction)
    else:
        values = functional.binary_cross_entropy(y_pred.clamp(EPSILON, 1 - EPSILON), y_true, reduction=reduction)
    return values if reduction == "mean" else values.mean(axis)


def _categorical(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
    reduction: str = "mean",
) -> Tensor:
    """The values of `categorical_crossentropy`, their mean or ("none") each."""
    check_smoothing(label_smoothing, "categorical_crossentropy")
    y_true, y_pred = same_shape(y_true, y_pred, "categorical_crossentropy", FOR_WHOLE_NUMBERS)
    y_true, y_pred = axis_last(y_true, axis), axis_last(y_pred, axis)
    classes = y_pred.shape[-1]
    warn_of_one_class(y_pred, "categorical_crossentropy")
    if from_logits:
        rows, targets = _rows(y_pred), _rows(y_true)
        values = functional.cross_entropy(rows, targets, reduction=reduction, label_smoothing=label_smoothing)
        return values if reduction == "mean" else values.reshape(y_pred.shape[:-1])
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / classes
    share = y_pred / y_pred.sum(-1, keepdim=True)
    values = -(y_true * share.clamp(EPSILON, 1 - EPSILON).log()).sum(-1)
    return values.mean() if reduction == "mean" else values


def _sparse(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
    reduction: str = "mean",
) -> Tensor:
    """The values of `sparse_categorical_crossentropy`, their mean or ("none") each."""
    who = "sparse_categorical_crossentropy"
    wanted, y_pred = labels(y_true, y_pred, axis, who)
    ignored = None
    if ignore_class is not None:
        ignored = wanted == ignore_class
        wanted, y_pred = wanted.masked_fill(ignored, 0), y_pred.masked_fill(ignored.unsqueeze(-1), 1)
    if not from_logits:
        values = -(probability(wanted, y_pred, who) / y_pred.sum(-1)).clamp(EPSILON, 1 - EPSILON).log()
        values = values.mean() if reduction == "mean" else values
    else:
        rows = _rows(y_pred), wanted.reshape(-1)
        try:
            values = functional.cross_entropy(*rows, ignore_index=_NO_CLASS, reduction=reduction)
        except (IndexError, RuntimeError) as error:
            _tell_labels(wanted, y_pred.shape[-1], who, error)
            raise
        values = values if reduction == "mean" else values.reshape(wanted.shape)
    return values if ignored is None else values.masked_fill(ignored, 0)


def _not_ignored(
    y_true: Tensor, y_pred: Tensor, *, ignore_class: int | None = None, axis: int = -1, **options: Any
) -> Tensor | None:
    """`Traits.counted`: what `ignore_class` leaves out does not count."""
    if ignore_class is None:
        return None
    return labels(y_true, y_pred, axis, "sparse_categorical_crossentropy")[0] != ignore_class


@registry.builtin("losses", "binary_crossentropy", "bce", "BCE")
@has(absent=steps_apart, mean=_binary)
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
    y_true, y_pred = paired(y_true, y_pred, "binary_crossentropy")
    return _binary(y_true, y_pred, from_logits, label_smoothing, axis, "none")


@registry.builtin("losses")
@has(absent=steps_apart, mean=_categorical)
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
    y_true, y_pred = paired(y_true, y_pred, "categorical_crossentropy", FOR_WHOLE_NUMBERS)
    return _categorical(y_true, y_pred, from_logits, label_smoothing, axis, "none")


@registry.builtin("losses")
@has(absent=steps_apart, counted=_not_ignored, mean=_sparse)
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
    y_pred = as_floating(y_pred)
    return _sparse(as_targets(y_true, y_pred), y_pred, from_logits, ignore_class, axis, "none")


def check_smoothing(label_smoothing: float, who: str) -> None:
    """Raise ValueError unless `label_smoothing` is in [0, 1]."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{who}: label_smoothing must be in [0, 1], got {label_smoothing!r}.")


def warn_of_one_class(y_pred: Tensor, who: str) -> None:
    """Warn if predictions, classes last, have one class: nothing is learned of it."""
    if y_pred.shape[-1] == 1:
        warnings.warn(
            f"{who} of one class is always 0 (y_pred has shape {tuple(y_pred.shape)}): for two classes in one number "
            f"there is binary_crossentropy.",
            stacklevel=4,
        )


def labels(y_true: Tensor, y_pred: Tensor, axis: int, who: str) -> tuple[Tensor, Tensor]:
    """Labels as int64 without the axis of the classes, and predictions with that axis last."""
    shapes = tuple(y_true.shape), tuple(y_pred.shape)
    if not y_pred.dim():
        raise ValueError(f"{who}: y_pred is a scalar; it must be (batch, ..., classes).")
    if len(shapes[0]) == len(shapes[1]) and shapes[0][axis] == 1:
        y_true = y_true.squeeze(axis)
    y_pred = axis_last(y_pred, axis)
    if y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"{who}: y_true has shape {shapes[0]} and y_pred {shapes[1]}; each prediction needs one whole number, so "
            f"y_true must have shape {tuple(y_pred.shape[:-1])}. For one-hot labels there is categorical_crossentropy."
        )
    return whole_numbers(y_true, who), y_pred


def probability(wanted: Tensor, y_pred: Tensor, who: str) -> Tensor:
    """The probability of the right class, of predictions with the classes last. Raises ValueError for other labels."""
    try:
        return y_pred.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
    except (IndexError, RuntimeError) as error:
        _tell_labels(wanted, y_pred.shape[-1], who, error)
        raise


def axis_last(tensor: Tensor, axis: int) -> Tensor:
    """The tensor with `axis` last."""
    return tensor if axis in (-1, tensor.dim() - 1) else tensor.movedim(axis, -1)


def _rows(tensor: Tensor) -> Tensor:
    """The tensor as a matrix, its last axis kept."""
    return tensor if tensor.dim() == 2 else tensor.unsqueeze(0).flatten(0, -2)


def _tell_labels(labels: Tensor, classes: int, who: str, error: Exception) -> None:
    """Raise ValueError if labels out of range are what torch's error is about."""
    if labels.device.type == "cpu" and labels.numel():
        low, high = (int(each) for each in labels.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f"{who}: y_pred has {classes} classes, so labels must be from 0 to {classes - 1}; got labels from "
                f"{low} to {high}. A mask or ignore_class leaves labels out; more classes need a wider last layer."
            ) from error


@registry.builtin("losses")
class BinaryCrossentropy(FunctionLoss):
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
        check_smoothing(label_smoothing, f"{type(self).__name__} {name!r}")
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(binary_crossentropy, reduction, name, dtype, **options)


@registry.builtin("losses")
class CategoricalCrossentropy(FunctionLoss):
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
        check_smoothing(label_smoothing, f"{type(self).__name__} {name!r}")
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(categorical_crossentropy, reduction, name, dtype, **options)


@registry.builtin("losses")
class SparseCategoricalCrossentropy(FunctionLoss):
    """The loss of `sparse_categorical_crossentropy`, for whole numbers as labels.

    Args:
        from_logits, axis: as for `sparse_categorical_crossentropy`.
        ignore_class: a label, one out of range too, that does not count: as if it were masked.
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> loss = ostinato.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> loss(torch.tensor([1, 0]), torch.zeros(2, 10))
        tensor(2.3026)
        >>> loss(torch.tensor([[1, 0]]), torch.zeros(1, 2, 10), mask=torch.tensor([[True, False]]))
        tensor(2.3026)
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(sparse_categorical_crossentropy, reduction, name, dtype, **options)
