"""What metrics that are no means share: they take masks, and refuse sample weights by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.training.metrics.base import Metric
from ostinato.training.tensors import as_mask, as_predictions, as_tensor, fitted


def refuse_weights(metric: Any, sample_weight: Any) -> None:
    """Raise ValueError, naming the metric, if there are sample weights."""
    if sample_weight is not None:
        raise ValueError(
            f"{metric}: it takes no sample_weight, for it is no mean over samples. Leave sample_weight out; in compile "
            f"put it among metrics, which get none, and not among weighted_metrics."
        )


def share(part: Tensor, whole: Tensor) -> Tensor:
    """`part / whole`, and 0 where the whole is 0.

    >>> share(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 0.0]))
    tensor([0.5000, 0.0000])
    """
    return torch.where(whole == 0, 0, part / whole)


class Unweighted(Metric):
    """Base of metrics that are no means: `_enter` takes in a batch, `_value` tells of the states."""

    @property
    def _wide(self) -> torch.dtype:
        """The dtype to compare and to count in: the metric's, float32 at least."""
        return torch.promote_types(self._dtype, torch.float32)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        """Take in a batch.

        y_true, y_pred: tensors or arrays. sample_weight: must be None. mask: boolean, of the leading axes of `y_pred`;
        what stands where it is False is left out, as if it had not been given.
        Raises ValueError for sample weights, and if shapes do not fit each other.
        """
        refuse_weights(self, sample_weight)
        with torch.no_grad():
            y_pred = as_predictions(y_pred, self._wide)
            if y_pred.device != self.device:
                self.to(y_pred.device)
            mask = None if mask is None else as_mask(mask, y_pred.device)
            self._enter(as_tensor(y_true).to(y_pred.device), y_pred, mask)

    def _enter(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None) -> None:
        raise NotImplementedError

    def result(self) -> Tensor:
        """The value so far; over all processes if there are several; 0 before the first batch."""
        return self._over_processes(self._value)

    def _value(self) -> Tensor:
        raise NotImplementedError

    def _rows(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Targets and predictions `(batch, ..., features)` as `(rows, features)`, and the mask as `(rows, 1)`.

        Raises ValueError if the shapes differ, or there is no axis of features.
        """
        if y_pred.dim() < 2 or y_true.shape != y_pred.shape:
            raise ValueError(
                f"{self}: y_true has shape {tuple(y_true.shape)} and y_pred {tuple(y_pred.shape)}; they must be the "
                f"same, (batch, features) or (batch, ..., features)."
            )
        if mask is not None:
            mask, _ = fitted(mask, y_pred[..., 0], str(self), "mask")
            mask = mask.expand(y_pred.shape[:-1]).reshape(-1, 1)
        width = y_pred.shape[-1]
        return y_true.reshape(-1, width), y_pred.reshape(-1, width), mask
