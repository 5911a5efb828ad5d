"""Counts of right and wrong predictions, and precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ostinato.core import registry
from ostinato.training.metrics.counts import NOWHERE, Counts, FlatCountedMetric, thresholds_of


class _AtThresholds(FlatCountedMetric):
    """A value for each threshold, a scalar for a single one."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None,
        name: str | None,
        dtype: Any,
        class_id: int | None = None,
        top_k: int | None = None,
    ) -> None:
        default = 0.5 if top_k is None else NOWHERE
        super().__init__(thresholds_of(thresholds, default, type(self).__name__), name, dtype, class_id, top_k)
        self.init_thresholds = self.thresholds if hasattr(thresholds, "__iter__") else thresholds

    def _value(self) -> Tensor:
        value = self._of(self._flat_counts())
        return value[0] if len(value) == 1 else value

    def _of(self, counts: Counts) -> Tensor:
        """The value for each threshold."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "thresholds": self.init_thresholds}


class _Count(_AtThresholds):
    """A count for each threshold."""

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(thresholds, name, dtype)


@registry.builtin("metrics", "true_positives")
class TruePositives(_Count):
    """How many positives are predicted to be positive: `y_true != 0` and `y_pred > threshold`.

    Targets and predictions are of one shape, but for a last axis of size 1.

    Args:
        thresholds: a number in [0, 1] or a list of them, which gives a value for each; 0.5 by default.
        name, dtype: as for `Metric`.

    Raises:
        ValueError: for thresholds outside of [0, 1]; in `update_state` for sample weights, and shapes that differ.

    Source:
        Keras, `metrics/confusion_metrics.py`. There sample weights are added up, and masks are lost.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.TruePositives()
        >>> metric.update_state([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])
        >>> metric.result()
        tensor(2.)
    """

    def _of(self, counts: Counts) -> Tensor:
        return counts.true_positives


@registry.builtin("metrics", "true_negatives")
class TrueNegatives(_Count):
    """How many negatives are predicted to be negative: `y_true == 0` and `y_pred <= threshold`.

    Args:
        thresholds, name, dtype: as for `TruePositives`.

    Raises:
        ValueError: as for `TruePositives`.

    Source:
        Keras, `metrics/confusion_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.TrueNegatives()
        >>> metric.update_state([0, 1, 0, 0], [1.0, 1.0, 0.0, 0.0])
        >>> metric.result()
        tensor(2.)
    """

    def _of(self, counts: Counts) -> Tensor:
        return counts.true_negatives


@registry.builtin("metrics", "false_positives")
class FalsePositives(_Count):
    """How many negatives are predicted to be positive: `y_true == 0` and `y_pred > threshold`.

    Args:
        thresholds, name, dtype: as for `TruePositives`.

    Raises:
        ValueError: as for `TruePositives`.

    Source:
        Keras, `metrics/confusion_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.FalsePositives()
        >>> metric.update_state([0, 1, 0, 0], [0.0, 0.0, 1.0, 1.0])
        >>> metric.result()
        tensor(2.)
    """

    def _of(self, counts: Counts) -> Tensor:
        return counts.false_positives


@registry.builtin("metrics", "false_negatives")
class FalseNegatives(_Count):
    """How many positives are predicted to be negative: `y_true != 0` and `y_pred <= threshold`.

    Args:
        thresholds, name, dtype: as for `TruePositives`.

    Raises:
        ValueError: as for `TruePositives`.

    Source:
        Keras, `metrics/confusion_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.FalseNegatives()
        >>> metric.update_state([0, 1, 1, 1], [0.0, 1.0, 0.0, 0.0])
        >>> metric.result()
        tensor(2.)
    """

    def _of(self, counts: Counts) -> Tensor:
        return counts.false_negatives


class _Retrieval(_AtThresholds):
    """Precision or recall: of all predictions, of those for one class, of the top k."""

    higher_is_better = True

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, name, dtype, class_id, top_k)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "top_k": self.top_k, "class_id": self.class_id}


@registry.builtin("metrics", "precision")
class Precision(_Retrieval):
    """The share of the predicted positives that are positive: `tp / (tp + fp)`, 0 if nothing is predicted positive.

    Targets and predictions are of one shape, but for a last axis of size 1.

    Args:
        thresholds: a number in [0, 1] or a list of them, which gives a value for each; above it a prediction is
            positive. 0.5 by default, or none with `top_k`.
        top_k: only the k highest predictions of a row, along the last axis, may be positive.
        class_id: count predictions for this class only, an index into the last axis.
        name, dtype: as for `Metric`.

    Raises:
        ValueError: for thresholds outside of [0, 1]; in `update_state` for sample weights, shapes that differ, and a
            `top_k` or `class_id` that the classes do not have.

    Source:
        Keras, `metrics/confusion_metrics.py`. There sample weights are taken, and masks are lost.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.Precision()
        >>> metric.update_state([0, 1, 1, 1], [0.9, 0.2, 0.8, 0.7])
        >>> metric.result()
        tensor(0.6667)
    """

    def _of(self, counts: Counts) -> Tensor:
        return counts.precision


@registry.builtin("metrics", "recall")
class Recall(_Retrieval):
    """The share of the positives that are predicted to be positive: `tp / (tp + fn)`, 0 if there are none.

    Args:
        thresholds, top_k, class_id, name, dtype: as for `Precision`.

    Raises:
        ValueError: as for `Precision`.

    Source:
        Keras, `metrics/confusion_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.Recall(thresholds=[0.1, 0.75])
        >>> metric.update_state([0, 1, 1, 1], [0.9, 0.2, 0.8, 0.7])
        >>> metric.result()
        tensor([1.0000, 0.3333])
    """

    def _of(self, counts: Counts) -> Tensor:
        return counts.recall
