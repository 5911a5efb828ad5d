"""What losses and metrics are given, as tensors: targets, predictions, and weights and masks that fit them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.layers.masked import finite

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)  # torch neither compares these with int64 nor indexes by them


def snake_case(name: str) -> str:
    """A class name as an automatic name: `MeanSquaredError` to `mean_squared_error`.

    >>> snake_case("MyLoss")
    'my_loss'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def task_of(y_true_shape: Sequence[int], y_pred_shape: Sequence[int]) -> str:
    """ "binary", "sparse_categorical" or "categorical": what targets and predictions of these shapes are, to Keras.

    >>> task_of((32,), (32, 1)), task_of((32,), (32, 10)), task_of((32, 10), (32, 10))
    ('binary', 'sparse_categorical', 'categorical')
    """
    if tuple(y_pred_shape[-1:]) == (1,):
        return "binary"
    sparse = len(y_true_shape) < len(y_pred_shape) or tuple(y_true_shape[-1:]) == (1,)
    return "sparse_categorical" if sparse else "categorical"


def as_float_dtype(dtype: Any, who: str) -> torch.dtype:
    """A floating torch dtype from itself or its name. Raises ValueError for anything else."""
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"{who}: dtype must be a floating dtype such as 'float32', got {dtype!r}.")
    return found


def as_tensor(value: Any) -> Tensor:
    """A tensor as it is; arrays, lists and numbers as a tensor, their floating values in torch's default dtype."""
    if isinstance(value, Tensor):
        return value.long() if value.dtype in _UNSIGNED else value
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"expected numbers, got an array of dtype {array.dtype}.")
    if array.dtype.kind == "u" and array.itemsize > 1:
        array = array.astype(np.int64)
    tensor = torch.as_tensor(np.require(array, requirements=["C", "W"]))
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def as_floating(value: Any) -> Tensor:
    """A floating tensor: what floats already as it is, whole numbers in torch's default dtype."""
    tensor = as_tensor(value)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def as_predictions(value: Any, dtype: torch.dtype | None) -> Tensor:
    """Predictions in `dtype`; None leaves float64 as it is and makes torch's default dtype (float32) of all else."""
    tensor = as_tensor(value)
    if dtype is None:
        dtype = tensor.dtype if tensor.dtype is torch.float64 else torch.get_default_dtype()
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


def as_targets(value: Any, y_pred: Tensor) -> Tensor:
    """Targets where the predictions are; floating and boolean ones in their dtype, whole numbers as they are."""
    tensor = as_tensor(value)
    if tensor.is_floating_point() or tensor.dtype is torch.bool:
        return tensor.to(y_pred)
    return tensor if tensor.device == y_pred.device else tensor.to(y_pred.device)


def whole_numbers(labels: Tensor, who: str) -> Tensor:
    """Labels as int64. Raises ValueError on the CPU if one is not a whole number; a GPU is not waited for."""
    wanted = labels.long()
    if labels.is_floating_point() and labels.device.type == "cpu" and not torch.equal(wanted.to(labels), labels):
        wrong = labels[wanted.to(labels) != labels][0].item()
        raise ValueError(f"{who}: labels must be whole numbers, got {wrong}.")
    return wanted


def as_mask(value: Any, device: torch.device) -> Tensor:
    """A mask as a boolean tensor on `device`: True is a value that counts."""
    return as_tensor(value).to(device=device, dtype=torch.bool)


def same_rank(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors whose ranks differ by a last axis of size 1, with the same rank.

    A tensor of rank 1 gains the axis, else the other one loses it (Keras's `squeeze_or_expand_to_same_rank`).

    >>> [tuple(each.shape) for each in same_rank(torch.zeros(4), torch.zeros(4, 1))]
    [(4, 1), (4, 1)]
    """
    if first.dim() == second.dim() + 1 and first.shape[-1] == 1:
        return (first, second.unsqueeze(-1)) if second.dim() == 1 else (first.squeeze(-1), second)
    if second.dim() == first.dim() + 1 and second.shape[-1] == 1:
        return (first.unsqueeze(-1), second) if first.dim() == 1 else (first, second.squeeze(-1))
    return first, second


def same_shape(y_true: Tensor, y_pred: Tensor, who: str, hint: str = "") -> tuple[Tensor, Tensor]:
    """Targets and predictions in the dtype of the predictions and in one shape `(batch, ...)`.

    Either may lack a last axis of size 1. Nothing else is broadcast: that hides targets of a wrong shape.
    Raises ValueError, naming both shapes, if they differ; `hint` ends the message.
    """
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


def paired(y_true: Any, y_pred: Any, who: str, hint: str = "") -> tuple[Tensor, Tensor]:
    """Targets and predictions, tensors or arrays, as floating tensors of one dtype and shape; see `same_shape`."""
    y_pred = as_floating(y_pred)
    return same_shape(as_targets(y_true, y_pred), y_pred, who, hint)


def fitted(given: Tensor, values: Tensor, who: str, what: str) -> tuple[Tensor, Tensor]:
    """(given, values), so that weights or a mask, aligned with the values from the batch on, broadcast to them.

    given: scalar, `(batch,)`, or the leading axes of `values`; an axis may have size 1.
    Raises ValueError, naming both shapes, if it does not fit.
    """
    shape = tuple(given.shape)
    if shape and not values.dim():
        raise ValueError(
            f"{who}: {what} has shape {shape}, and there is one value for the whole batch. Predictions must be "
            f"(batch, ...), and a function of one's own must return a value for each sample."
        )
    if given.dim() == values.dim() + 1 and shape[-1] == 1:
        given, values = same_rank(given, values)
    elif given.dim() and given.dim() < values.dim():
        given = given.reshape(shape + (1,) * (values.dim() - given.dim()))
    sizes = zip(given.shape, values.shape, strict=False)
    if given.dim() > values.dim() or any(mine not in (1, size) for mine, size in sizes):
        raise ValueError(
            f"{who}: {what} has shape {shape}, and there is one value for each of {tuple(values.shape)}: pass shape "
            f"{tuple(values.shape[:1])} (one for a sample) or {tuple(values.shape)}."
        )
    return given, values


def cleared(values: Tensor, mask: Tensor) -> Tensor:
    """Targets or predictions with 0 for what is not finite where the mask is False, as `layers.masked.finite` has it.

    For functions of one's own, of which nobody knows what counts for nothing. A mask that is not one of the leading
    axes of the values leaves them as they are.

    >>> cleared(torch.tensor([[1.0, torch.nan], [torch.inf, 2.0]]), torch.tensor([True, False]))
    tensor([[1., nan],
            [0., 2.]])
    """
    sizes = zip(mask.shape, values.shape, strict=False)
    if mask.dim() > values.dim() or any(mine not in (1, size) for mine, size in sizes):
        return values
    return finite(values, mask.reshape(mask.shape + (1,) * (values.dim() - mask.dim())))


def neutral(y_true: Tensor, y_pred: Tensor, mask: Tensor, axis: int, who: str) -> tuple[Tensor, Tensor]:
    """Targets 0 and predictions 1 wherever the mask is False, so that what stands there reaches no gradient.

    mask: for the leading axes of `y_pred` without `axis`; `y_true` with or without that axis.
    """
    each = y_pred.select(axis, 0)
    keep, values = fitted(mask, each, who, "mask")
    dropped = ~keep.expand(values.shape).reshape(each.shape)
    wide = dropped.unsqueeze(axis if axis >= 0 else axis + y_pred.dim())
    there = wide if y_true.dim() == y_pred.dim() else dropped
    # Targets that do not fit stay as they are: the loss tells of them better.
    if y_true.dim() == there.dim() and all(m in (1, n) for m, n in zip(there.shape, y_true.shape, strict=True)):
        y_true = y_true.masked_fill(there, 0)
    return y_true, y_pred.masked_fill(wide, 1)
