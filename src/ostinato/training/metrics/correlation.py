"""Correlations between targets and predictions, for each sample."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ostinato.core import registry
from ostinato.training.metrics.reduction import FunctionMetric
from ostinato.training.tensors import paired

_EPSILON = 1e-7


@registry.builtin("metric_functions")
def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """`cov(y_true, y_pred) / (std(y_true) * std(y_pred))` along an axis; NaN where one of the two is constant.

    Args:
        y_true, y_pred: tensors or arrays of one shape.
        axis: along which the values that correlate lie.

    Returns:
        The shape without that axis.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `metrics/correlation_metrics.py`.

    Example:
        >>> import ostinato
        >>> ostinato.metrics.pearson_correlation([[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]])
        tensor([1.0000, 0.9934])
    """
    y_true, y_pred = paired(y_true, y_pred, "pearson_correlation")
    y_true = y_true - y_true.mean(axis, keepdim=True)
    y_pred = y_pred - y_pred.mean(axis, keepdim=True)
    y_true = y_true / y_true.std(axis, correction=0, keepdim=True)
    y_pred = y_pred / y_pred.std(axis, correction=0, keepdim=True)
    return (y_true * y_pred).mean(axis)


@registry.builtin("metric_functions")
def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """`2 cov(y_true, y_pred) / (var(y_true) + var(y_pred) + (mean(y_true) - mean(y_pred))^2)` along an axis.

    Args:
        y_true, y_pred: tensors or arrays of one shape.
        axis: along which the values that agree lie.

    Returns:
        The shape without that axis.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `metrics/correlation_metrics.py`; L. Lin, "A concordance correlation coefficient to evaluate
        reproducibility", 1989.

    Example:
        >>> import ostinato
        >>> ostinato.metrics.concordance_correlation([[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]])
        tensor([0.9756, 0.9877])
    """
    y_true, y_pred = paired(y_true, y_pred, "concordance_correlation")
    true_mean, pred_mean = y_true.mean(axis, keepdim=True), y_pred.mean(axis, keepdim=True)
    products = (y_true - true_mean) * (y_pred - pred_mean)
    variances = y_true.var(axis, correction=0, keepdim=True) + y_pred.var(axis, correction=0, keepdim=True)
    return (2 * products / (variances + (true_mean - pred_mean).square() + _EPSILON)).mean(axis)


@registry.builtin("metrics", "pearson_correlation")
class PearsonCorrelation(FunctionMetric):
    """The mean of `pearson_correlation` over all samples.

    Args:
        name, dtype: as for `Metric`.
        axis: along which the values that correlate lie.

    Source:
        Keras, `metrics/correlation_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.PearsonCorrelation(axis=-1)
        >>> metric.update_state([[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]])
        >>> metric.result()
        tensor(0.9967)
    """

    higher_is_better = True
    axis: int

    def __init__(self, name: str = "pearson_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, name, dtype, axis=axis)


@registry.builtin("metrics", "concordance_correlation")
class ConcordanceCorrelation(FunctionMetric):
    """The mean of `concordance_correlation` over all samples.

    Args:
        name, dtype: as for `Metric`.
        axis: along which the values that agree lie.

    Source:
        Keras, `metrics/correlation_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.ConcordanceCorrelation(axis=-1)
        >>> metric.update_state([[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]])
        >>> metric.result()
        tensor(0.9816)
    """

    higher_is_better = True
    axis: int

    def __init__(self, name: str = "concordance_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(concordance_correlation, name, dtype, axis=axis)
