"""The weighted mean that most metrics are, of values or of a function; and the sum."""

from __future__ import annotations

from typing import Any, Self

import torch
import torchmetrics
from torch import Tensor

from ostinato.core import registry
from ostinato.training.losses.base import Loss, LossFunctionWrapper
from ostinato.training.losses.traits import goes_by_element
from ostinato.training.metrics.base import Metric
from ostinato.training.tensors import as_mask, as_tensor, fitted, snake_case


@registry.builtin("metrics", "mean")
class Mean(Metric):
    """`sum(w * values) / sum(w)` over all that it was given.

    The values of a sample (its steps, say) are averaged first, so that a sample without weights counts once.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/reduction_metrics.py`.

    Example:
        >>> import ostinato
        >>> mean = ostinato.metrics.Mean()
        >>> mean.update_state([1.0, 3.0, 5.0, 7.0])
        >>> mean.update_state(0.0, sample_weight=4)
        >>> mean.result()
        tensor(2.)
    """

    total: Tensor
    count: Tensor

    def __init__(self, name: str = "mean", dtype: Any = None) -> None:
        super().__init__(name, dtype)
        with torch.inference_mode(False):
            self.add_state("total", torch.zeros((), dtype=self._dtype), dist_reduce_fx="sum")
            self.add_state("count", torch.zeros((), dtype=self._dtype), dist_reduce_fx="sum")

    def update_state(self, values: Any, sample_weight: Any = None, mask: Any = None) -> None:
        """Take in values.

        values: tensor, array or number. sample_weight: scalar, `(batch,)`, or the leading axes of `values`. mask:
        boolean, of the same shapes; True is a value that counts.
        Raises ValueError if the weights or the mask do not fit the values.
        """
        with torch.no_grad():
            values = as_tensor(values)
            self._add(values, sample_weight, None if mask is None else as_mask(mask, values.device))

    def _add(self, values: Tensor, sample_weight: Any, mask: Tensor | None) -> None:
        """Take in values as a tensor, gradients disabled. Nothing here waits for a GPU."""
        attributes = self.__dict__  # what follows is done at every step, and torch's attributes are slow
        total, count = attributes["total"], attributes["count"]
        if values.device != total.device:
            self.to(values.device)
            total, count = self.total, self.count
        if sample_weight is None and mask is None:
            if not values.dim():
                total.add_(values)
                count.add_(1)
            elif values.numel():
                total.add_(values.sum(dtype=total.dtype), alpha=len(values) / values.numel())
                count.add_(len(values))
        elif isinstance(sample_weight, (int, float)) and mask is None:
            if values.numel():
                total.add_(values.mean(dtype=total.dtype) if values.dim() else values, alpha=sample_weight)
                count.add_(sample_weight)
        else:
            self._add_weighted(values.to(total.dtype), sample_weight, mask)

    def _add_weighted(self, values: Tensor, sample_weight: Any, mask: Tensor | None) -> None:
        weights = torch.ones_like(self.total) if sample_weight is None else as_tensor(sample_weight).to(values)
        if not weights.dim() and mask is None and values.numel():
            values = values.mean()
        values, weights = weighted(values, weights, mask, str(self))
        share = len(values) / max(values.numel(), 1) if values.dim() else 1.0
        self.total.add_((values * weights).sum(), alpha=share)
        self.count.add_(weights.sum(), alpha=share)

    def result(self) -> Tensor:
        """The mean so far, a scalar tensor; over all processes if there are several; 0 before the first value."""
        return self._over_processes(self._value)

    def _value(self) -> Tensor:
        return torch.where(self.count == 0, 0, self.total / self.count)

    def reset(self) -> None:
        """Torchmetrics' name for `reset_state`."""
        self._update_count, self._cache, self._is_synced = 0, None, False
        with torch.no_grad():  # in place: in inference mode new tensors could not be added to outside of it
            self.total.zero_()
            self.count.zero_()


@registry.builtin("metrics", "sum")
class Sum(Metric):
    """`sum(w * values)` over all that it was given.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/reduction_metrics.py`.

    Example:
        >>> import ostinato
        >>> total = ostinato.metrics.Sum()
        >>> total.update_state([1.0, 3.0, 5.0, 7.0], sample_weight=[1, 1, 0, 0])
        >>> total.result()
        tensor(4.)
    """

    total: Tensor

    def __init__(self, name: str = "sum", dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.add_state("total", torch.zeros((), dtype=self._dtype), dist_reduce_fx="sum")

    def update_state(self, values: Any, sample_weight: Any = None, mask: Any = None) -> None:
        """Take in values; as for `Mean`."""
        with torch.no_grad():
            values = as_tensor(values).to(self._dtype)
            if self.total.device != values.device:
                self.to(values.device)
            if sample_weight is not None or mask is not None:
                weights = torch.ones_like(self.total) if sample_weight is None else as_tensor(sample_weight).to(values)
                mask = None if mask is None else as_mask(mask, values.device)
                values, weights = weighted(values, weights, mask, str(self))
                values = values * weights
            self.total = self.total + values.sum()

    def result(self) -> Tensor:
        """The sum so far, a scalar tensor; over all processes if there are several."""
        return self._over_processes(lambda: self.total)


def weighted(values: Tensor, weights: Tensor, mask: Tensor | None, who: str) -> tuple[Tensor, Tensor]:
    """(values, weights) of one shape, both 0 where the mask is False; a scalar has done its own masking.

    Raises ValueError if the weights or the mask do not fit the values.
    """
    weights, values = fitted(weights, values, who, "sample_weight")
    if mask is not None and values.dim():
        mask, values = fitted(mask, values, who, "mask")
        weights = weights * mask
        values = values.masked_fill(~mask, 0)  # not only weight 0: NaN * 0 is NaN
    return values, weights.expand_as(values)


@registry.builtin("metrics", "mean_metric_wrapper")
class MeanMetricWrapper(Mean):
    """The mean of a function `fn(y_true, y_pred, **kwargs)` that gives a value for each sample, or of a loss.

    Args:
        fn: the function, its name if it is one of the library's, or a `Loss`, whose values are taken before they are
            reduced.
        name, dtype: as for `Metric`; the name is that of the function or loss by default.
        **kwargs: passed on to the function.

    Raises:
        ValueError: for an unknown name.
        TypeError: if `fn` cannot be called.

    Source:
        Keras, `metrics/reduction_metrics.py`.

    Example:
        >>> import ostinato, torch
        >>> def distance(y_true, y_pred):
        ...     return (y_true - y_pred).abs()
        >>> metric = ostinato.metrics.MeanMetricWrapper(distance)
        >>> metric.update_state(torch.zeros(3), torch.tensor([1.0, 2.0, 9.0]), mask=torch.tensor([True, True, False]))
        >>> metric.result(), metric.name
        (tensor(1.5000), 'distance')
    """

    def __init__(self, fn: Any, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        fn = _function(fn) if isinstance(fn, str) else fn
        if not callable(fn):
            raise TypeError(f"{type(self).__name__}: fn must be a function of (y_true, y_pred), got {fn!r}.")
        if isinstance(fn, torchmetrics.Metric):
            raise TypeError(
                f"{type(self).__name__}: {type(fn).__name__} is a metric of torchmetrics, which takes (preds, target) "
                f"and keeps states of its own. Give it to compile as it is."
            )
        given = fn.name if isinstance(fn, Loss) else snake_case(getattr(fn, "__name__", type(fn).__name__))
        super().__init__(name or given, dtype)
        self._fn, self._fn_kwargs = fn, kwargs
        self._loss: Loss | None = fn if isinstance(fn, Loss) else None
        if goes_by_element(fn):
            self._loss = LossFunctionWrapper(fn, name=self.name, **kwargs)

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> None:
        """Take in a batch.

        y_true, y_pred: tensors or arrays `(batch, ...)`. sample_weight: scalar, `(batch,)`, or the leading axes of the
        function's values. mask: boolean, of the same shapes; True is a value that counts.
        Raises ValueError if shapes do not fit each other.
        """
        with torch.no_grad():
            if self._loss is not None:
                y_true, y_pred, mask = self._loss.prepare(y_true, y_pred, sample_weight, mask)
                values = self._loss.call(y_true, y_pred)
            else:
                y_pred = as_tensor(y_pred)
                mask = None if mask is None else as_mask(mask, y_pred.device)
                values = as_tensor(self._values(as_tensor(y_true).to(y_pred.device), y_pred))
            self._add(values, sample_weight, mask)

    def _values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """A value for each sample; booleans count as 1 and 0."""
        return self._fn(y_true, y_pred, **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {**super().get_config(), "fn": registry.serialize_keras_object(self._fn)}
        return {**config, **registry.serialize_keras_object(self._fn_kwargs)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The metric that `get_config` described."""
        if isinstance(config.get("fn"), dict):
            config = {**config, "fn": registry.resolve("metric_functions", config["fn"])}
        return cls(**config)


class FunctionMetric(MeanMetricWrapper):
    """A mean of the library: of a function of its own, whose options are the constructor's, attributes, its config."""

    def __init__(self, fn: Any, name: str, dtype: Any, **options: Any) -> None:
        super().__init__(fn, name, dtype, **options)
        vars(self).update(options)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**Metric.get_config(self), **self._fn_kwargs}


def _function(name: str) -> Any:
    """A function of the library by name: one that counts matches, or a loss."""
    known = registry.builtin_names("metric_functions")
    return registry.find("metric_functions" if name in known else "losses", name)
