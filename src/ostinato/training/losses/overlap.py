"""Losses of overlap: how much of a region that was to be marked was not, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.losses.base import EPSILON, FunctionLoss
from ostinato.training.losses.traits import has
from ostinato.training.tensors import fitted, paired, same_shape

Axis = int | Sequence[int] | None


def _unmarked_apart(
    y_true: Tensor, y_pred: Tensor, mask: Tensor, who: str, *, axis: Axis = None, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """`Traits.absent`: what is masked is marked on neither side; a value counts if anything of it does."""
    y_true, y_pred = same_shape(y_true, y_pred, who)
    keep, y_pred = fitted(mask, y_pred, who, "mask")
    keep = keep.expand_as(y_pred)
    counted = keep.any() if axis is None else keep.any(_axes(axis))
    return y_true.masked_fill(~keep, 0), y_pred.masked_fill(~keep, 0), counted


def _anything(y_true: Tensor, y_pred: Tensor, **options: Any) -> Tensor | None:
    """`Traits.counted`: nothing counts where there is nothing, though 0 / 0 is no overlap."""
    return None if y_pred.numel() else torch.ones_like(y_pred, dtype=torch.bool)


def _axes(axis: Axis) -> Any:
    """Axes as torch takes them; a list, in which a config on disk holds them, as a tuple."""
    return axis if axis is None or isinstance(axis, int) else tuple(axis)


@registry.builtin("losses")
@has(absent=_unmarked_apart, counted=_anything, whole=True)
def dice(y_true: Any, y_pred: Any, axis: Axis = None) -> Tensor:
    """`1 - 2 sum(y_true y_pred) / (sum(y_true) + sum(y_pred))`: 0 if both are the same 0s and 1s, 1 without overlap.

    Args:
        y_true: marks from 0 to 1, of the shape of `y_pred`; either may lack a last axis of size 1.
        y_pred: tensor or array `(batch, ...)` from 0 to 1.
        axis: an axis or several to sum along; all by default, which gives one value for the whole batch.

    Returns:
        What remains of the shape, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`; 1e-7 is added to the divisor.

    Example:
        >>> import ostinato
        >>> ostinato.losses.dice([[1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
        tensor(0.3333)
        >>> ostinato.losses.dice([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]], axis=1)
        tensor([0., 1.])
    """
    y_true, y_pred = paired(y_true, y_pred, "dice")
    both, true, pred = (each.sum(_axes(axis)) for each in (y_true * y_pred, y_true, y_pred))
    return 1 - 2 * both / (true + pred + EPSILON)


@registry.builtin("losses")
@has(absent=_unmarked_apart, counted=_anything, whole=True)
def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Axis = None) -> Tensor:
    """`1 - both / (both + alpha missed + beta false)`, sums of what is marked in both, in y_true only, in y_pred only.

    Args:
        y_true, y_pred, axis: as for `dice`, which this is for the default weights.
        alpha: weight of what was missed, `sum(y_true (1 - y_pred))`.
        beta: weight of false alarms, `sum(y_pred (1 - y_true))`.

    Returns:
        What remains of the shape, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`; Salehi and others, arXiv:1706.05721, whose alpha is of false alarms.

    Example:
        >>> import ostinato
        >>> ostinato.losses.tversky([[1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]], alpha=1.0)
        tensor(0.5000)
    """
    y_true, y_pred = paired(y_true, y_pred, "tversky")
    both, missed, false = (
        each.sum(_axes(axis)) for each in (y_true * y_pred, (1 - y_pred) * y_true, y_pred * (1 - y_true))
    )
    return 1 - both / (both + missed * alpha + false * beta + EPSILON)


@registry.builtin("losses")
class Dice(FunctionLoss):
    """The loss of `dice`.

    What is masked is marked on neither side. One value for the whole batch is multiplied with the mean of the sample
    weights; to weigh samples, give `axis` all axes but the first.

    Args:
        axis: as for `dice`.
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`. There what is masked takes part in the sums.

    Example:
        >>> import ostinato, torch
        >>> y_true, y_pred = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
        >>> ostinato.losses.Dice()(y_true, y_pred)
        tensor(0.3333)
        >>> ostinato.losses.Dice()(y_true, y_pred, mask=torch.tensor([[True, False, True]]))
        tensor(0.)
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "dice",
        axis: Axis = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(dice, reduction, name, dtype, axis=_axes(axis))


@registry.builtin("losses")
class Tversky(FunctionLoss):
    """The loss of `tversky`.

    Masks and sample weights are as for `Dice`.

    Args:
        alpha, beta, axis: as for `tversky`.
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`. There what is masked takes part in the sums.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.Tversky(alpha=1.0)(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
        tensor(0.5000)
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "tversky",
        axis: Axis = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(tversky, reduction, name, dtype, alpha=alpha, beta=beta, axis=_axes(axis))
