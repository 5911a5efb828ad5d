"""Means of hinge losses."""

from __future__ import annotations

from typing import Any

from ostinato.core import registry
from ostinato.training import losses
from ostinato.training.metrics.reduction import FunctionMetric


@registry.builtin("metrics", "hinge")
class Hinge(FunctionMetric):
    """The mean of `ostinato.losses.hinge` over all samples.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/hinge_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.Hinge()
        >>> metric.update_state([[0.0], [1.0]], [[0.5], [0.75]])
        >>> metric.result()
        tensor(0.8750)
    """

    higher_is_better = False

    def __init__(self, name: str = "hinge", dtype: Any = None) -> None:
        super().__init__(losses.hinge, name, dtype)


@registry.builtin("metrics", "squared_hinge")
class SquaredHinge(FunctionMetric):
    """The mean of `ostinato.losses.squared_hinge` over all samples.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/hinge_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.SquaredHinge()
        >>> metric.update_state([[0.0], [1.0]], [[0.5], [0.5]])
        >>> metric.result()
        tensor(1.2500)
    """

    higher_is_better = False

    def __init__(self, name: str = "squared_hinge", dtype: Any = None) -> None:
        super().__init__(losses.squared_hinge, name, dtype)


@registry.builtin("metrics", "categorical_hinge")
class CategoricalHinge(FunctionMetric):
    """The mean of `ostinato.losses.categorical_hinge` over all samples.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/hinge_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.CategoricalHinge()
        >>> metric.update_state([[0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5], [1.0, 0.0]])
        >>> metric.result()
        tensor(0.5000)
    """

    higher_is_better = False

    def __init__(self, name: str = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__(losses.categorical_hinge, name, dtype)
