"""The area under the ROC curve, the precision-recall curve, or the curve of their gains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.metrics.counts import CountedMetric, Counts, EvenThresholds, Thresholds, even_inside, is_even
from ostinato.training.metrics.unweighted import share
from ostinato.training.tensors import fitted, same_shape

_EPSILON = 1e-7


def _roc(counts: Counts) -> tuple[Tensor, Tensor]:
    """(false positive rate, true positive rate)."""
    return counts.false_positive_rate, counts.recall


def _precision_recall(counts: Counts) -> tuple[Tensor, Tensor]:
    """(recall, precision)."""
    return counts.recall, counts.precision


def _gains(counts: Counts) -> tuple[Tensor, Tensor]:
    """(recall gain, precision gain), with their values 0 and 1 where nothing is found, and no recall gain below 0."""
    right = counts.true_positives
    odds = share(right + counts.false_negatives, counts.true_negatives + counts.false_positives)
    recall = torch.where(right == 0, 0, 1 - odds * share(counts.false_negatives, right)).clamp(min=0)
    precision = torch.where(right == 0, 1, 1 - odds * share(counts.false_positives, right))
    return recall, precision


def _middle(first: Tensor, second: Tensor) -> Tensor:
    return (first + second) / 2


_CURVES: dict[str, Callable[[Counts], tuple[Tensor, Tensor]]] = {
    "ROC": _roc,
    "PR": _precision_recall,
    "PRGAIN": _gains,
}
_HEIGHTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "interpolation": _middle,
    "majoring": torch.maximum,
    "minoring": torch.minimum,
}


def _interpolated_precision_recall(counts: Counts) -> Tensor:
    """The area under the precision-recall curve with the counts, not the precision, interpolated between thresholds.

    Source: J. Davis and M. Goadrich, "The Relationship Between Precision-Recall and ROC Curves", 2006.
    """
    right = counts.true_positives
    positive = right + counts.false_positives
    found, spread = right[:-1] - right[1:], positive[:-1] - positive[1:]
    slope = share(found, spread.clamp(min=0))
    intercept = right[1:] - slope * positive[1:]
    ratio = torch.where((positive[:-1] > 0) & (positive[1:] > 0), share(positive[:-1], positive[1:].clamp(min=0)), 1)
    area = slope * (found + intercept * ratio.log())
    return share(area, (right[1:] + counts.false_negatives[1:]).clamp(min=0)).sum(0)


@registry.builtin("metrics", "auc")
class AUC(CountedMetric):
    """The area under a curve over thresholds, as a Riemann sum: the ROC curve, or precision over recall.

    ::

        sum_i (x_i - x_{i+1}) * height(y_i, y_{i+1})

    Args:
        num_thresholds: how many thresholds, evenly from 0 to 1; 2 or more. Too few make a poor approximation.
        curve: "ROC", true over false positive rate; "PR", precision over recall; or "PRGAIN", of their gains.
        summation_method: "interpolation" takes heights in the middle, and interpolates the counts for "PR";
            "minoring" and "majoring" take the lower and the higher end.
        name, dtype: as for `Metric`.
        thresholds: numbers in [0, 1] to use instead; 0 and 1 are added to them.
        multi_label: whether the last axis are labels, whose areas are averaged; else all predictions are one.
        num_labels: the number of labels with `multi_label`; the first batch tells by default.
        label_weights: one for each label: of its area in the average with `multi_label`, else of its counts.
        from_logits: whether predictions are logits and not probabilities.

    Raises:
        ValueError: for an unknown curve or method, too few thresholds, some outside of [0, 1], `num_labels` without
            `multi_label` or another number of label weights; in `update_state` for sample weights, and shapes that
            differ.

    Source:
        Keras, `metrics/confusion_metrics.py`. There sample weights are taken, and masks are lost.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.AUC(num_thresholds=3)
        >>> metric.update_state([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
        >>> metric.result()
        tensor(0.7500)
    """

    higher_is_better = True

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        if num_labels and not multi_label:
            raise ValueError("AUC: num_labels is of use only with multi_label=True.")
        weights = None if label_weights is None else [float(each) for each in label_weights]
        if weights is not None and num_labels and len(weights) != num_labels:
            raise ValueError(f"AUC: there are {len(weights)} label_weights for num_labels={num_labels}.")
        labels = num_labels or (len(weights) if weights is not None else None if multi_label else 1)
        super().__init__(_grid(num_thresholds, thresholds), labels, name, dtype)
        self.curve = _one_of(curve, _CURVES, str.upper, "curve")
        self.summation_method = _one_of(summation_method, _HEIGHTS, str.lower, "summation_method")
        self.num_thresholds = len(self._thresholds)
        self.multi_label, self.num_labels, self.label_weights = multi_label, num_labels, weights
        self.from_logits = from_logits
        self._given = None if thresholds is None else sorted(float(each) for each in thresholds)

    def _enter(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None) -> None:
        if self.from_logits:
            y_pred = y_pred.sigmoid()
        if self.multi_label or self.label_weights is not None:
            y_true, y_pred, mask = self._rows(y_true, y_pred, mask)
            if "between" not in self._defaults:
                self._begin(y_pred.shape[-1])
            if y_pred.shape[-1] != len(self.between):
                raise ValueError(
                    f"{self}: y_pred has {y_pred.shape[-1]} labels on its last axis, expected {len(self.between)}: as "
                    f"many as num_labels, label_weights or the first batch."
                )
        else:
            if mask is not None:
                mask, y_pred = fitted(mask, y_pred, str(self), "mask")
                mask = mask.expand_as(y_pred).reshape(-1, 1)
            y_true, y_pred = same_shape(y_true, y_pred, str(self))
            y_true, y_pred = y_true.reshape(-1, 1), y_pred.reshape(-1, 1)
        self._count(y_true != 0, y_pred, mask)

    def _value(self) -> Tensor:
        if "between" not in self._defaults:  # several labels, and no batch yet to tell how many
            return torch.zeros((), dtype=self._wide, device=self.device)
        counts = self._counts()
        weights = None if self.label_weights is None else counts[0].new_tensor(self.label_weights)
        if not self.multi_label:
            return self._area(Counts(*(each.sum(-1) if weights is None else each @ weights for each in counts)))
        areas = self._area(counts)
        return areas.mean() if weights is None else share((areas * weights).sum(), weights.sum())

    def _area(self, counts: Counts) -> Tensor:
        """The area under the curve, for each label if there are several."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated_precision_recall(counts)
        x, y = _CURVES[self.curve](counts)
        return ((x[:-1] - x[1:]) * _HEIGHTS[self.summation_method](y[:-1], y[1:])).sum(0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": self.label_weights,
            "from_logits": self.from_logits,
        }
        given = {} if self._given is None else {"thresholds": self._given}
        return {**super().get_config(), **config, **given}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The metric that `get_config` described."""
        weights = config.get("label_weights")
        if isinstance(weights, dict):  # Keras writes a tensor
            config = {**config, "label_weights": weights["config"]["value"]}
        return cls(**config)


def _grid(num_thresholds: int, given: Sequence[float] | None) -> Thresholds:
    """The thresholds, with one below 0 and one above 1, so that predictions of 0 and 1 are between two."""
    if given is None and num_thresholds < 2:
        raise ValueError(f"AUC: num_thresholds must be 2 or more, got {num_thresholds!r}.")
    inside = even_inside(num_thresholds) if given is None else sorted(float(each) for each in given)
    if any(not 0 <= each <= 1 for each in inside):
        raise ValueError(f"AUC: thresholds must be in [0, 1], got {list(given or ())!r}.")
    kind = EvenThresholds if given is None or is_even([0.0, *inside, 1.0]) else Thresholds
    return kind([-_EPSILON, *inside, 1 + _EPSILON])


def _one_of(given: str, known: dict[str, Any], folded: Callable[[str], str], what: str) -> str:
    """A known name in the spelling that is known. Raises ValueError for another, with the nearest known one."""
    name = folded(str(given))
    if name not in known:
        raise ValueError(f"AUC: {what} {given!r} is not one of {list(known)}.{registry.nearest(str(given), known)}")
    return name
