"""Metrics by name, by config, and as `compile` means them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torchmetrics

from ostinato.core import registry
from ostinato.training.metrics.base import Metric
from ostinato.training.metrics.foreign import torch_metric
from ostinato.training.metrics.reduction import MeanMetricWrapper
from ostinato.training.tensors import task_of


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
    """The config of a metric: of a function of the library, its name.

    >>> import ostinato
    >>> ostinato.metrics.serialize(ostinato.metrics.BinaryAccuracy(threshold=0.3))["class_name"]
    'BinaryAccuracy'
    """
    return registry.serialize_keras_object(metric)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The metric that `serialize` described. Raises ValueError for an unknown name.

    >>> import ostinato
    >>> config = ostinato.metrics.serialize(ostinato.metrics.BinaryAccuracy(threshold=0.3))
    >>> ostinato.metrics.deserialize(config).threshold
    0.3
    """
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
        >>> from ostinato.training.metrics.named import resolve_accuracy
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
        identifier: as for `get`; a `Loss`; any metric of torchmetrics; or what `resolve_accuracy` knows.
        y_true_shape, y_pred_shape: with the batch.

    Returns:
        A `Metric`; one asked for by a name has that name, and one of torchmetrics is inside a `TorchMetric`.

    Raises:
        ValueError: as `get`, and for None.
        TypeError: for a collection of metrics, and for one of torchmetrics that takes no predictions and targets.

    Source:
        Keras, `trainers/compile_utils.py`, `get_metric`.

    Example:
        >>> from ostinato.training.metrics.named import resolve_metric
        >>> resolve_metric("mse", (32, 1), (32, 1))
        <MeanSquaredError 'mse'>
    """
    if isinstance(identifier, str) and identifier.lower() in ("accuracy", "acc", "crossentropy", "ce"):
        return resolve_accuracy(y_true_shape, y_pred_shape, identifier)
    found = get(identifier)
    if found is None:
        raise ValueError("metrics: expected a name, a config or a callable, got None.")
    if isinstance(found, (torchmetrics.MetricCollection, torchmetrics.MetricTracker)):
        raise TypeError(
            f"metrics: {type(found).__name__} is many metrics in one; pass them one by one, as in "
            f"metrics=list(collection.values())."
        )
    if isinstance(found, torchmetrics.Metric) and not isinstance(found, Metric):
        return torch_metric(found)
    metric = found if isinstance(found, Metric) else MeanMetricWrapper(found)
    if isinstance(identifier, str):
        metric.name = identifier
    return metric
