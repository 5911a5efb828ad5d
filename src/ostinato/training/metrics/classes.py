"""Metrics by Keras's names: what is reported of a run, over many batches."""

from __future__ import annotations

from typing import Any

from ostinato.core import registry
from ostinato.training import losses
from ostinato.training.metrics.base import MeanMetricWrapper, Metric


@registry.builtin("metrics", "mean_squared_error", "mse", "MSE")
class MeanSquaredError(MeanMetricWrapper):
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

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return Metric.get_config(self)


class _Crossentropy(MeanMetricWrapper):
    """The mean of a crossentropy, with its options."""

    higher_is_better = False

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**Metric.get_config(self), **self._fn_kwargs}


@registry.builtin("metrics", "binary_crossentropy", "bce", "BCE")
class BinaryCrossentropy(_Crossentropy):
    """The mean of `ostinato.losses.binary_crossentropy` over all samples.

    Args:
        name, dtype: as for `Metric`.
        from_logits, label_smoothing: as for the function.

    Source:
        Keras, `metrics/probabilistic_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.BinaryCrossentropy(from_logits=True)
        >>> metric.update_state([[0], [1]], [[0.0], [0.0]])
        >>> metric.result()
        tensor(0.6931)
    """

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing}
        super().__init__(losses.binary_crossentropy, name, dtype, **options)


@registry.builtin("metrics", "categorical_crossentropy")
class CategoricalCrossentropy(_Crossentropy):
    """The mean of `ostinato.losses.categorical_crossentropy` over all samples.

    Args:
        name, dtype: as for `Metric`.
        from_logits, label_smoothing, axis: as for the function.

    Source:
        Keras, `metrics/probabilistic_metrics.py`.

    Example:
        >>> import ostinato, torch
        >>> metric = ostinato.metrics.CategoricalCrossentropy(from_logits=True)
        >>> metric.update_state(torch.eye(2), torch.zeros(2, 2))
        >>> metric.result()
        tensor(0.6931)
    """

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(losses.categorical_crossentropy, name, dtype, **options)


@registry.builtin("metrics", "sparse_categorical_crossentropy")
class SparseCategoricalCrossentropy(_Crossentropy):
    """The mean of `ostinato.losses.sparse_categorical_crossentropy` over all samples.

    Args:
        name, dtype: as for `Metric`.
        from_logits, axis: as for the function.
        ignore_class: a label that does not count.

    Source:
        Keras, `metrics/probabilistic_metrics.py`. There labels that are ignored count as zeros.

    Example:
        >>> import ostinato, torch
        >>> metric = ostinato.metrics.SparseCategoricalCrossentropy(from_logits=True)
        >>> metric.update_state([0, 1], torch.zeros(2, 2))
        >>> metric.result()
        tensor(0.6931)
    """

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(losses.sparse_categorical_crossentropy, name, dtype, **options)
        self._loss = losses.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis, name=self.name)
