"""Counts of right and wrong predictions above and below thresholds, gathered in one pass over the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.training.metrics.unweighted import Unweighted, share
from ostinato.training.tensors import fitted, same_shape

NOWHERE = -1e10
"""The prediction, and the threshold, of a class that is not among the top k."""

_EPSILON = 1e-7


class Thresholds(torch.nn.Module):
    """Thresholds in any order. A prediction is positive for a threshold if it is above it.

    >>> Thresholds([0.8, 0.2]).below(torch.tensor([0.1, 0.2, 0.5, 0.9]))
    tensor([0, 0, 1, 2])
    """

    rising: Tensor
    places: Tensor

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.values = [float(each) for each in values]
        self.register_buffer(
            "places", torch.tensor(self.values, dtype=torch.float64).argsort().argsort(), persistent=False
        )
        self.hold(torch.float32)

    def __len__(self) -> int:
        return len(self.values)

    def hold(self, dtype: torch.dtype) -> None:
        """Hold the thresholds in the dtype of the predictions that they will be compared with."""
        self.register_buffer("rising", torch.tensor(sorted(self.values), dtype=dtype), persistent=False)

    def below(self, y_pred: Tensor) -> Tensor:
        """How many of the thresholds each prediction is above: from 0 to all of them."""
        return torch.bucketize(y_pred, self.rising)

    def in_order(self, rising: Tensor) -> Tensor:
        """What was found for rising thresholds, on the last axis, in the order in which they were given."""
        return rising.index_select(-1, self.places)


class EvenThresholds(Thresholds):
    """Thresholds `0, 1/(n-1), ..., 1`; predictions are held within [0, 1].

    As in Keras the place of a prediction is computed, which for one right on a threshold may round another way than a
    comparison. With a first threshold below 0 every prediction is above it.
    """

    def below(self, y_pred: Tensor) -> Tensor:
        """How many of the thresholds each prediction is above: from 0 to all of them."""
        places = (y_pred.clamp(0, 1) * (len(self) - 1)).ceil().long()
        return places.clamp(min=1) if min(self.values) < 0 else places


def thresholds_of(given: Any, default: float, who: str) -> Thresholds:
    """Thresholds from what a constructor was given: a number, several, or None for the default.

    Raises ValueError for one outside of [0, 1], or none at all.
    """
    if given is None:
        return Thresholds([default])
    values = list(given) if hasattr(given, "__iter__") else [given]
    wrong = [each for each in values if each is None or not 0 <= each <= 1]
    if wrong or not values:
        raise ValueError(f"{who}: thresholds must be one or more numbers in [0, 1], got {given!r}.")
    return EvenThresholds(values) if is_even(values) else Thresholds(values)


def is_even(values: Sequence[float]) -> bool:
    """Whether these are evenly from 0 to 1, three at least.

    >>> is_even([0.0, 0.5, 1.0]), is_even([0.0, 1.0]), is_even([0.5, 0.0, 1.0])
    (True, False, False)
    """
    count = len(values)
    given = torch.tensor(list(values), dtype=torch.float64)
    return count > 2 and torch.allclose(given, torch.linspace(0, 1, count, dtype=torch.float64), atol=_EPSILON)


def even_inside(count: int) -> list[float]:
    """The thresholds strictly between 0 and 1 of `count` that go evenly from 0 to 1."""
    return [each / (count - 1) for each in range(1, count - 1)]


class Counts(NamedTuple):
    """How many predictions are right and wrong, for each threshold; each `(thresholds,)` or `(thresholds, labels)`."""

    true_positives: Tensor
    false_positives: Tensor
    true_negatives: Tensor
    false_negatives: Tensor

    @property
    def precision(self) -> Tensor:
        """The share of the predicted positives that are positive; like all of these, 0 if there are none."""
        return share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> Tensor:
        """The share of the positives that are predicted to be positive; the sensitivity, or true positive rate."""
        return share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> Tensor:
        """The share of the negatives that are predicted to be negative."""
        return share(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def false_positive_rate(self) -> Tensor:
        """The share of the negatives that are predicted to be positive."""
        return share(self.false_positives, self.false_positives + self.true_negatives)


class CountedMetric(Unweighted):
    """Base of metrics made from counts of right and wrong predictions above and below thresholds.

    Its one state is how many positives and negatives lie between neighbouring thresholds, for each label: whole
    numbers, so that no count is ever rounded.

    thresholds: of the metric. labels: how many there are to count apart, None if the first batch will tell.
    """

    between: Tensor

    def __init__(self, thresholds: Thresholds, labels: int | None, name: str | None, dtype: Any) -> None:
        super().__init__(name, dtype)
        thresholds.hold(self._wide)
        self._thresholds = thresholds
        if labels is not None:
            self._begin(labels)

    @property
    def thresholds(self) -> list[float]:
        """The thresholds, in the order in which they were given."""
        return list(self._thresholds.values)

    def _begin(self, labels: int) -> None:
        """Make the state for a number of labels."""
        zeros = torch.zeros(
            labels, 2, len(self._thresholds) + 1, dtype=torch.int64, device=self._thresholds.places.device
        )
        self.add_state("between", zeros, dist_reduce_fx="sum")

    def _count(self, positive: Tensor, y_pred: Tensor, mask: Tensor | None) -> None:
        """Count `(rows, labels)`: whether each is positive, what was predicted, and whether it counts."""
        labels, _, bins = self.between.shape
        places = self._thresholds.below(y_pred.nan_to_num(NOWHERE, posinf=None, neginf=None))
        columns = torch.arange(labels, device=y_pred.device)
        cells = (columns * 2 + positive) * bins + places
        if mask is not None:
            cells = torch.where(mask, cells, self.between.numel())  # one more cell, which is thrown away
        found = self.between.new_zeros(self.between.numel() + 1)
        found.scatter_add_(0, cells.reshape(-1), torch.ones_like(cells).reshape(-1))
        self.between = self.between + found[:-1].view_as(self.between)

    def _counts(self) -> Counts:
        """The counts, floating, of `(thresholds, labels)`."""
        above = self.between.flip(-1).cumsum(-1).flip(-1)
        total, above = above[..., :1], self._thresholds.in_order(above[..., 1:])
        both = torch.stack((above, total - above)).to(self._wide).permute(2, 0, 3, 1)
        return Counts(both[1, 0], both[0, 0], both[0, 1], both[1, 1])

    def _flat_counts(self) -> Counts:
        """The counts over all labels, each `(thresholds,)`."""
        return Counts(*(each.sum(-1) for each in self._counts()))


class FlatCountedMetric(CountedMetric):
    """Base of those that count all predictions alike, or those of one class, or of the top k."""

    def __init__(
        self,
        thresholds: Thresholds,
        name: str | None,
        dtype: Any,
        class_id: int | None = None,
        top_k: int | None = None,
    ) -> None:
        super().__init__(thresholds, 1, name, dtype)
        self.class_id, self.top_k = class_id, top_k

    def _enter(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None) -> None:
        if mask is not None:
            mask, y_pred = fitted(mask, y_pred, str(self), "mask")
            mask = mask.expand_as(y_pred)
        y_true, y_pred = same_shape(y_true, y_pred, str(self))
        if self.top_k is not None:
            y_pred = self._only_top(y_pred, self.top_k)
        if self.class_id is not None:
            chosen = self._one_class(y_pred, self.class_id)
            y_true, y_pred = y_true[chosen], y_pred[chosen]
            mask = None if mask is None else mask[chosen]
        column = (-1, 1)
        self._count(
            (y_true != 0).reshape(column), y_pred.reshape(column), None if mask is None else mask.reshape(column)
        )

    def _only_top(self, y_pred: Tensor, top_k: int) -> Tensor:
        """Predictions, but for the k highest of each row far below any threshold."""
        if not 1 <= top_k <= y_pred.shape[-1]:
            raise ValueError(
                f"{self}: top_k is {top_k}, and y_pred has shape {tuple(y_pred.shape)}; it must be from 1 to the "
                f"number of classes, {y_pred.shape[-1]}."
            )
        highest = y_pred.topk(top_k)
        return torch.full_like(y_pred, NOWHERE).scatter(-1, highest.indices, highest.values)

    def _one_class(self, y_pred: Tensor, class_id: int) -> Any:
        """An index of all predictions for one class."""
        if y_pred.dim() < 2 or not -y_pred.shape[-1] <= class_id < y_pred.shape[-1]:
            raise ValueError(
                f"{self}: class_id is {class_id}, and y_pred has shape {tuple(y_pred.shape)}; it must be (batch, ..., "
                f"classes), with class_id one of the classes."
            )
        return (..., class_id)
