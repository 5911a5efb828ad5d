"""The best of one rate where another is good enough: points on the curves that `AUC` sums up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.metrics.counts import Counts, EvenThresholds, FlatCountedMetric, Thresholds, even_inside


class _OperatingPoint(FlatCountedMetric):
    """The highest of one rate over all thresholds at which another rate is at least a given value."""

    higher_is_better = True
    _constraint: str

    def __init__(self, value: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any) -> None:
        who = type(self).__name__
        if not 0 <= value <= 1:
            raise ValueError(f"{who}: {self._constraint} must be in [0, 1], got {value!r}.")
        if num_thresholds < 1:
            raise ValueError(f"{who}: num_thresholds must be 1 or more, got {num_thresholds!r}.")
        single = num_thresholds == 1
        grid = Thresholds([0.5]) if single else EvenThresholds([0.0, *even_inside(num_thresholds), 1.0])
        super().__init__(grid, name, dtype, class_id)
        self.value, self.num_thresholds = value, num_thresholds
        setattr(self, self._constraint, value)

    def _value(self) -> Tensor:
        constrained, wanted = self._rates(self._flat_counts())
        return torch.where(constrained >= self.value, wanted, 0).max()

    def _rates(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """The rate that must be good enough, and the one that is wanted, for each threshold."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"class_id": self.class_id, "num_thresholds": self.num_thresholds, self._constraint: self.value}
        return {**super().get_config(), **own}


@registry.builtin("metrics", "sensitivity_at_specificity")
class SensitivityAtSpecificity(_OperatingPoint):
    """The highest `tp / (tp + fn)` over all thresholds at which `tn / (tn + fp)` is at least `specificity`.

    Args:
        specificity: a number in [0, 1].
        num_thresholds: how many thresholds, evenly from 0 to 1, are tried.
        class_id: count predictions for this class only, an index into the last axis.
        name, dtype: as for `Metric`.

    Raises:
        ValueError: for a `specificity` or a `num_thresholds` out of range; in `update_state` as for `Precision`.

    Source:
        Keras, `metrics/confusion_metrics.py`. There sample weights are taken, and masks are lost.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.SensitivityAtSpecificity(0.5)
        >>> metric.update_state([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
        >>> metric.result()
        tensor(0.5000)
    """

    _constraint = "specificity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)

    def _rates(self, counts: Counts) -> tuple[Tensor, Tensor]:
        return counts.specificity, counts.recall


@registry.builtin("metrics", "specificity_at_sensitivity")
class SpecificityAtSensitivity(_OperatingPoint):
    """The highest `tn / (tn + fp)` over all thresholds at which `tp / (tp + fn)` is at least `sensitivity`.

    Args:
        sensitivity: a number in [0, 1].
        num_thresholds, class_id, name, dtype: as for `SensitivityAtSpecificity`.

    Raises:
        ValueError: as for `SensitivityAtSpecificity`.

    Source:
        Keras, `metrics/confusion_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.SpecificityAtSensitivity(0.5)
        >>> metric.update_state([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
        >>> metric.result()
        tensor(0.6667)
    """

    _constraint = "sensitivity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)

    def _rates(self, counts: Counts) -> tuple[Tensor, Tensor]:
        return counts.recall, counts.specificity


@registry.builtin("metrics", "precision_at_recall")
class PrecisionAtRecall(_OperatingPoint):
    """The highest `tp / (tp + fp)` over all thresholds at which `tp / (tp + fn)` is at least `recall`.

    Args:
        recall: a number in [0, 1].
        num_thresholds, class_id, name, dtype: as for `SensitivityAtSpecificity`.

    Raises:
        ValueError: as for `SensitivityAtSpecificity`.

    Source:
        Keras, `metrics/confusion_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.PrecisionAtRecall(0.5)
        >>> metric.update_state([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
        >>> metric.result()
        tensor(0.5000)
    """

    _constraint = "recall"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)

    def _rates(self, counts: Counts) -> tuple[Tensor, Tensor]:
        return counts.recall, counts.precision


@registry.builtin("metrics", "recall_at_precision")
class RecallAtPrecision(_OperatingPoint):
    """The highest `tp / (tp + fn)` over all thresholds at which `tp / (tp + fp)` is at least `precision`.

    Args:
        precision: a number in [0, 1].
        num_thresholds, class_id, name, dtype: as for `SensitivityAtSpecificity`.

    Raises:
        ValueError: as for `SensitivityAtSpecificity`.

    Source:
        Keras, `metrics/confusion_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.RecallAtPrecision(0.8)
        >>> metric.update_state([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
        >>> metric.result()
        tensor(0.5000)
    """

    _constraint = "precision"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)

    def _rates(self, counts: Counts) -> tuple[Tensor, Tensor]:
        return counts.precision, counts.recall
