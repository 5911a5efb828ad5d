"""Means of errors of regression."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ostinato.core import registry
from ostinato.training import losses
from ostinato.training.metrics.base import Metric
from ostinato.training.metrics.reduction import FunctionMetric, MeanMetricWrapper
from ostinato.training.tensors import paired


@registry.builtin("metrics", "mean_squared_error", "mse", "MSE")
class MeanSquaredError(FunctionMetric):
    """The mean of `ostinato.losses.mean_squared_error` over all samples.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/regression_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.MeanSquaredError()
        >>> metric.update_state([[0.0], [0.0]], [[1.0], [3.0]])
        >>> metric.result()
        tensor(5.)
    """

    higher_is_better = False

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name, dtype)


@registry.builtin("metrics", "mean_absolute_error", "mae", "MAE")
class MeanAbsoluteError(FunctionMetric):
    """The mean of `ostinato.losses.mean_absolute_error` over all samples.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/regression_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.MeanAbsoluteError()
        >>> metric.update_state([[0.0], [0.0]], [[1.0], [3.0]])
        >>> metric.result()
        tensor(2.)
    """

    higher_is_better = False

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_error, name, dtype)


@registry.builtin("metrics", "mean_absolute_percentage_error", "mape", "MAPE")
class MeanAbsolutePercentageError(FunctionMetric):
    """The mean of `ostinato.losses.mean_absolute_percentage_error` over all samples.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/regression_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.MeanAbsolutePercentageError()
        >>> metric.update_state([[1.0], [2.0]], [[2.0], [1.0]])
        >>> metric.result()
        tensor(75.)
    """

    higher_is_better = False

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_percentage_error, name, dtype)


@registry.builtin("metrics", "mean_squared_logarithmic_error", "msle", "MSLE")
class MeanSquaredLogarithmicError(FunctionMetric):
    """The mean of `ostinato.losses.mean_squared_logarithmic_error` over all samples.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/regression_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.MeanSquaredLogarithmicError()
        >>> metric.update_state([[0.0], [1.0]], [[1.0], [1.0]])
        >>> metric.result()
        tensor(0.2402)
    """

    higher_is_better = False

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_logarithmic_error, name, dtype)


@registry.builtin("metrics", "log_cosh_error", "log_cosh", "logcosh")
class LogCoshError(FunctionMetric):
    """The mean of `ostinato.losses.log_cosh` over all samples.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/regression_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.LogCoshError()
        >>> metric.update_state([[0.0], [1.0]], [[1.0], [1.0]])
        >>> metric.result()
        tensor(0.2169)
    """

    higher_is_better = False

    def __init__(self, name: str = "logcosh", dtype: Any = None) -> None:
        super().__init__(losses.log_cosh, name, dtype)


@registry.builtin("metrics", "root_mean_squared_error")
class RootMeanSquaredError(MeanMetricWrapper):
    """`sqrt(sum(w * (y_true - y_pred)^2) / sum(w))` over all that it was given.

    Weights may be given for each number, not only for each sample or step.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/regression_metrics.py`. There the mask of the predictions is lost.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.RootMeanSquaredError()
        >>> metric.update_state([[0.0], [0.0]], [[1.0], [7.0]])
        >>> metric.result()
        tensor(5.)
    """

    higher_is_better = False

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(_squares, name, dtype)

    def _value(self) -> Tensor:
        return super()._value().sqrt()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return Metric.get_config(self)


def _squares(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The square of each difference."""
    y_true, y_pred = paired(y_true, y_pred, "root_mean_squared_error")
    return (y_pred - y_true).square()


@registry.builtin("metrics", "cosine_similarity")
class CosineSimilarity(FunctionMetric):
    """The mean of `cos(y_true, y_pred)` over all samples: 1 for vectors of one direction, -1 for opposite ones.

    Args:
        name, dtype: as for `Metric`.
        axis: along which the vectors lie.

    Source:
        Keras, `metrics/regression_metrics.py`; its config forgets the axis. The loss of this name has the other sign.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.CosineSimilarity()
        >>> metric.update_state([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]])
        >>> metric.result()
        tensor(0.5000)
    """

    higher_is_better = True
    axis: int

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(_cosine, name, dtype, axis=axis)


def _cosine(y_true: Tensor, y_pred: Tensor, axis: int) -> Tensor:
    """The cosine of the angle between each target and its prediction."""
    return -losses.cosine_similarity(y_true, y_pred, axis)
