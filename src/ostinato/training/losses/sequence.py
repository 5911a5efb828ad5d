"""The loss of sequences of labels that nobody has aligned with the steps of their predictions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.core import registry
from ostinato.recurrence.masks import compact
from ostinato.training.losses.base import FunctionLoss
from ostinato.training.losses.traits import has
from ostinato.training.tensors import as_floating, as_targets, fitted, whole_numbers

_BLANK = 0


def _blanks_at_the_end(y_true: Tensor, y_pred: Tensor, mask: Tensor, who: str) -> tuple[Tensor, Tensor, Tensor]:
    """`Traits.absent`: the used steps first, and after them blanks that are certain, which no alignment feels.

    A sample without any used step does not count.
    """
    if y_pred.dim() != 3:
        return y_true, y_pred, mask  # the function tells of it better
    keep = fitted(mask, y_pred[..., 0], who, "mask")[0].expand(y_pred.shape[:2])
    used = compact(y_pred.transpose(0, 1), keep.transpose(0, 1))
    padding = torch.arange(y_pred.shape[1], device=y_pred.device) >= used.lengths[:, None]
    classes = torch.arange(y_pred.shape[2], device=y_pred.device)
    certain = y_pred.new_zeros(y_pred.shape[2]).masked_fill(classes != _BLANK, -torch.inf)
    y_pred = torch.where(padding.unsqueeze(-1), certain, used.inputs.transpose(0, 1))
    return y_true, y_pred, used.lengths > 0


@registry.builtin("losses")
@has(absent=_blanks_at_the_end)
def ctc(y_true: Any, y_pred: Any) -> Tensor:
    """`-log(p)`, p the probability of all alignments that spell the labels (connectionist temporal classification).

    An alignment has a class for each step; it spells what is left when repetitions are merged and then blanks, class 0,
    dropped.

    Args:
        y_true: whole numbers from 1 to classes - 1, of any dtype, `(batch, length)`; 0 is padding.
        y_pred: tensor or array `(batch, time, classes)`: logits.

    Returns:
        `(batch,)`, in the dtype of `y_pred`, but at least float32; inf for labels that need more steps than there are
        (one for each, and one between equal neighbours).

    Raises:
        ValueError: if the shapes do not fit, or a label is not a whole number from 0 to classes - 1. (The last is told
            on the CPU; elsewhere and in compiled code the value of such a sample is NaN.)

    Source:
        Keras, `losses/losses.py`, where padding must be at the end; Graves and others, "Connectionist Temporal
        Classification" (2006).

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.ctc([[1, 2], [2, 0]], torch.zeros(2, 4, 3))
        tensor([1.6864, 2.0919])
    """
    y_pred = as_floating(y_pred)
    y_true = as_targets(y_true, y_pred)
    if y_true.dim() != 2 or y_pred.dim() != 3 or len(y_true) != len(y_pred):
        raise ValueError(
            f"ctc: y_true has shape {tuple(y_true.shape)} and y_pred {tuple(y_pred.shape)}; labels must be "
            f"(batch, length) and logits (batch, time, classes)."
        )
    y_pred = y_pred.to(torch.promote_types(y_pred.dtype, torch.float32))
    wanted, wrong = _labels(y_true, y_pred.shape[2])
    if not y_pred.numel():  # torch refuses a batch of 0
        return y_pred.sum((1, 2))
    values = functional.ctc_loss(
        y_pred.transpose(0, 1).log_softmax(-1),
        wanted,
        torch.full((len(y_pred),), y_pred.shape[1], dtype=torch.int64),
        (wanted != _BLANK).sum(1),
        blank=_BLANK,
        reduction="none",
    )
    return values.masked_fill(wrong, torch.nan)


def _labels(y_true: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Labels as int64, padding at the end, and which rows `(batch,)` have one out of range, replaced by padding."""
    wanted = whole_numbers(y_true, "ctc")
    out = (wanted < 0) | (wanted >= classes)
    if wanted.device.type == "cpu" and not torch.compiler.is_compiling() and out.any():
        low, high = (int(each) for each in wanted.aminmax())
        raise ValueError(
            f"ctc: y_pred has {classes} classes, so labels must be from 1 to {classes - 1}, and 0 where there is none; "
            f"got labels from {low} to {high}. More classes need a wider last layer."
        )
    wanted = wanted.masked_fill(out, _BLANK)
    order = (wanted == _BLANK).to(torch.uint8).argsort(dim=1, stable=True)
    return wanted.gather(1, order), out.any(1)


@registry.builtin("losses")
class CTC(FunctionLoss):
    """The loss of `ctc`: for labels in order, at steps that nobody knows.

    A mask `(batch, time)` says which steps of the predictions there are, as that of a layer before them does.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`. There all steps take part, and a mask for each step does not fit.

    Example:
        >>> import ostinato, torch
        >>> loss, logits = ostinato.losses.CTC(), torch.zeros(1, 4, 3)
        >>> loss(torch.tensor([[1, 2]]), logits)
        tensor(1.6864)
        >>> loss(torch.tensor([[1, 2]]), logits, mask=torch.tensor([[True, True, False, False]]))
        tensor(2.1972)
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "ctc", dtype: Any = None) -> None:
        super().__init__(ctc, reduction, name, dtype)
