"""F-scores: precision and recall in one number, for each class or over all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.metrics.unweighted import Unweighted

_EPSILON = 1e-7
_AVERAGES = (None, "micro", "macro", "weighted")
_STATES = ("true_positives", "false_positives", "false_negatives", "intermediate_weights")


@registry.builtin("metrics", "f_beta_score")
class FBetaScore(Unweighted):
    """`(1 + beta^2) * precision * recall / (beta^2 * precision + recall)`.

    Args:
        average: None for a score of each class; "macro" for their mean, "weighted" for their mean weighted by how many
            targets each class has, "micro" for the score of all predictions together.
        beta: how much more recall counts than precision; a positive float.
        threshold: above it a prediction is positive, a float in (0, 1]; None makes the highest of a row positive.
        name, dtype: as for `Metric`.

    Raises:
        ValueError: for another average, a `beta` or `threshold` that is no float or out of range; in `update_state` for
            sample weights, and for shapes that are not the same `(batch, ..., classes)`.

    Source:
        Keras, `metrics/f_score_metrics.py`. There sample weights are taken, masks are lost, and shapes are `(batch,
        classes)`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.FBetaScore(beta=2.0, threshold=0.5)
        >>> y_true = [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
        >>> metric.update_state(y_true, [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]])
        >>> metric.result()
        tensor([0.3846, 0.9091, 0.8333])
    """

    higher_is_better = True

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        who = type(self).__name__
        if average not in _AVERAGES:
            hint = registry.nearest(str(average), [each for each in _AVERAGES if each])
            raise ValueError(f"{who}: average {average!r} is not one of {_AVERAGES}.{hint}")
        if not isinstance(beta, float) or beta <= 0:
            raise ValueError(f"{who}: beta must be a float above 0, got {beta!r}.")
        if threshold is not None and (not isinstance(threshold, float) or not 0 < threshold <= 1):
            raise ValueError(f"{who}: threshold must be a float, above 0 and at most 1, or None, got {threshold!r}.")
        super().__init__(name, dtype)
        self.average, self.beta, self.threshold = average, beta, threshold

    def _enter(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None) -> None:
        y_true, y_pred, mask = self._rows(y_true.to(y_pred.dtype), y_pred, mask)
        self._begin(y_pred)
        if self.threshold is None:
            positive = (y_pred >= y_pred.amax(-1, keepdim=True)) & (y_pred.abs() > 1e-9)
        else:
            positive = y_pred > self.threshold
        if mask is not None:
            positive, y_true = positive & mask, torch.where(mask, y_true, 0)
            negative_true = torch.where(mask, 1 - y_true, 0)
        else:
            negative_true = 1 - y_true
        found = (positive * y_true, positive * negative_true, ~positive * y_true, y_true)
        for name, values in zip(_STATES, found, strict=True):
            total = values.sum() if self.average == "micro" else values.sum(0)
            setattr(self, name, getattr(self, name) + total)

    def _begin(self, y_pred: Tensor) -> None:
        """Make the states at the first batch; later ones must have as many classes."""
        classes = y_pred.shape[-1]
        if "true_positives" not in self._defaults:
            self._classes = classes
            for name in _STATES:
                zeros = y_pred.new_zeros(() if self.average == "micro" else classes)
                self.add_state(name, zeros, dist_reduce_fx="sum")
        if classes != self._classes:
            raise ValueError(f"{self}: y_pred has {classes} classes, and those before had {self._classes}.")

    def _value(self) -> Tensor:
        if "true_positives" not in self._defaults:  # no batch yet to tell how many classes there are
            return torch.zeros((), dtype=self._wide, device=self.device)
        right, false, missed, weights = (getattr(self, name) for name in _STATES)
        precision = right / (right + false + _EPSILON)
        recall = right / (right + missed + _EPSILON)
        square = self.beta**2
        score = (1 + square) * (precision * recall / (square * precision + recall + _EPSILON))
        if self.average == "weighted":
            return (score * (weights / (weights.sum() + _EPSILON))).sum()
        return score if self.average is None else score.mean()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"average": self.average, "beta": self.beta, "threshold": self.threshold}
        return {**super().get_config(), **own}


@registry.builtin("metrics", "f1_score")
class F1Score(FBetaScore):
    """`2 * precision * recall / (precision + recall)`.

    Args:
        average, threshold, name, dtype: as for `FBetaScore`.

    Raises:
        ValueError: as for `FBetaScore`.

    Source:
        Keras, `metrics/f_score_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.F1Score(threshold=0.5)
        >>> y_true = [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
        >>> metric.update_state(y_true, [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]])
        >>> metric.result()
        tensor([0.5000, 0.8000, 0.6667])
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: value for key, value in super().get_config().items() if key != "beta"}
