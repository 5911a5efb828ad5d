"""Metrics by Keras's names: what is reported of a run, over many batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostinato.core import registry
from ostinato.training import losses
from ostinato.training.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
)
from ostinato.training.metric_base import Mean, MeanMetricWrapper, Metric
from ostinato.training.tensors import task_of


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


def get(identifier: Any) -> Any:
    """The metric for a name, a config, a class or a callable; None stays None.

    Args:
        identifier: a name ("mse", "BinaryAccuracy"), a config, a `Metric`, its class, or a function of
            (y_true, y_pred).

    Returns:
        A `Metric` or the function.

    Raises:
        ValueError: for an unknown name, with the nearest known one, and for what is no metric.

    Source:
        Keras, `metrics/__init__.py`.

    Example:
        >>> import ostinato
        >>> ostinato.metrics.get("binary_accuracy")
        <BinaryAccuracy 'binary_accuracy'>
    """
    return registry.resolve("metrics", identifier)


def serialize(metric: Any) -> Any:
    """The config of a metric: of a function of the library, its name."""
    return registry.serialize_keras_object(metric)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The metric that `serialize` described. Raises ValueError for an unknown name."""
    return registry.resolve("metrics", config, custom_objects)


def resolve_accuracy(y_true_shape: Sequence[int], y_pred_shape: Sequence[int], name: str = "accuracy") -> Metric:
    """The metric that "accuracy" means for targets and predictions of these shapes.

    Binary for predictions of one number, sparse categorical for targets of a lower rank or of one number, categorical
    else.

    Args:
        y_true_shape, y_pred_shape: with the batch.
        name: "accuracy", "acc", or "crossentropy", "ce" for the crossentropy of that kind; it names the metric.

    Returns:
        A new metric.

    Raises:
        ValueError: for another name.

    Source:
        Keras, `trainers/compile_utils.py`, `get_metric`.

    Example:
        >>> from ostinato.training.metrics import resolve_accuracy
        >>> resolve_accuracy((32,), (32, 10), "acc")
        <SparseCategoricalAccuracy 'acc'>
    """
    kinds = {"accuracy": "accuracy", "acc": "accuracy", "crossentropy": "crossentropy", "ce": "crossentropy"}
    if name.lower() not in kinds:
        raise ValueError(f"resolve_accuracy: {name!r} is not one of {list(kinds)}.{registry.nearest(name, kinds)}")
    return registry.find("metrics", f"{task_of(y_true_shape, y_pred_shape)}_{kinds[name.lower()]}")(name=name)


def resolve_metric(identifier: Any, y_true_shape: Sequence[int], y_pred_shape: Sequence[int]) -> Metric:
    """The `Metric` that `compile(metrics=[identifier])` means for targets and predictions of these shapes.

    Args:
        identifier: as for `get`; a `Loss`; or what `resolve_accuracy` knows.
        y_true_shape, y_pred_shape: with the batch.

    Returns:
        A `Metric`; one asked for by a name has that name.

    Raises:
        ValueError: as `get`, and for None.

    Source:
        Keras, `trainers/compile_utils.py`, `get_metric`.

    Example:
        >>> from ostinato.training.metrics import resolve_metric
        >>> resolve_metric("mse", (32, 1), (32, 1))
        <MeanSquaredError 'mse'>
    """
    if isinstance(identifier, str) and identifier.lower() in ("accuracy", "acc", "crossentropy", "ce"):
        return resolve_accuracy(y_true_shape, y_pred_shape, identifier)
    found = get(identifier)
    if found is None:
        raise ValueError("metrics: expected a name, a config or a callable, got None.")
    metric = found if isinstance(found, Metric) else MeanMetricWrapper(found)
    if isinstance(identifier, str):
        metric.name = identifier
    return metric


__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "Mean",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "deserialize",
    "get",
    "resolve_accuracy",
    "resolve_metric",
    "serialize",
    "sparse_categorical_accuracy",
]
