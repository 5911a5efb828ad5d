"""What metrics share: Keras's manners on torchmetrics, and the weighted mean that most of them are."""

from __future__ import annotations

from typing import Any, Self

import torch
import torchmetrics
from torch import Tensor

from ostinato.core import registry
from ostinato.training.losses.base import Loss, LossFunctionWrapper, goes_by_element
from ostinato.training.tensors import as_float_dtype, as_mask, as_tensor, fitted, snake_case


class Metric(torchmetrics.Metric):
    """Base of all metrics: a torchmetrics metric with Keras's manners.

    A subclass makes its states with torchmetrics' `add_state` in its constructor, changes them in `update_state`, and
    tells of them in `result`. `update` and `compute` are torchmetrics' names for these two; `compute` adds the states
    of all processes up first. Calling the metric updates it and returns the result so far.

    Args:
        name: of the metric; by default its class's, in snake case.
        dtype: floating dtype of its states, float32 (torch's default) by default.

    Raises:
        ValueError: if `dtype` is not floating.

    Source:
        Keras, `metrics/metric.py`. There states are made by `add_variable`, and the mask hangs on the predictions; here
        it is an argument.

    Example:
        >>> import ostinato, torch
        >>> class Largest(ostinato.metrics.Metric):
        ...     def __init__(self, name="largest", dtype=None):
        ...         super().__init__(name, dtype)
        ...         self.add_state("most", torch.tensor(0.0), dist_reduce_fx="max")
        ...     def update_state(self, y_true, y_pred, sample_weight=None, mask=None):
        ...         self.most = torch.maximum(self.most, (y_true - y_pred).abs().max())
        ...     def result(self):
        ...         return self.most
        >>> Largest()(torch.zeros(2), torch.tensor([1.0, -3.0]))
        tensor(3.)
    """

    full_state_update = False
    is_differentiable = False
    name: str

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__()
        self.name = name or snake_case(type(self).__name__)
        self._dtype = torch.get_default_dtype() if dtype is None else as_float_dtype(dtype, str(self))

    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        # torchmetrics would make a metric of the comparison, and every metric would be in every list.
        return self is other

    def __ne__(self, other: object) -> bool:  # type: ignore[override]
        return self is not other

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take in a batch: (y_true, y_pred, sample_weight=None, mask=None).

        Raises NotImplementedError unless a subclass defines it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update_state(y_true, y_pred, ...).")

    def result(self) -> Any:
        """The value so far. Raises NotImplementedError unless a subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} must define result().")

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Torchmetrics' name for `update_state`."""
        self.update_state(*args, **kwargs)

    def compute(self) -> Any:
        """Torchmetrics' name for `result`; over all processes."""
        return self.result()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Update, and return the result so far (torchmetrics would return the batch's)."""
        self.update_state(*args, **kwargs)
        return self.result()

    def reset_state(self) -> None:
        """Start again."""
        self.reset()

    def reset_states(self) -> None:
        """Keras 2's name for `reset_state`."""
        self.reset_state()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name, "dtype": registry.serialize_keras_object(self._dtype)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The metric that `get_config` described."""
        return cls(**config)


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

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Take in values.

        values: tensor, array or number. sample_weight: scalar, `(batch,)`, or the leading axes of `values`.
        Raises ValueError if the weights do not fit the values.
        """
        with torch.no_grad():
            self._add(as_tensor(values), sample_weight, None)

    def _add(self, values: Tensor, sample_weight: Any, mask: Tensor | None) -> None:
        """Take in values as a tensor, gradients disabled. Nothing here waits for a GPU."""
        attributes = self.__dict__  # what follows is done at every step, and torch's attributes are slow
        attributes["_update_count"] += 1
        attributes["_computed"] = None
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
        if not weights.dim() and mask is None:
            values = values.mean()
        weights, values = fitted(weights, values, str(self), "sample_weight")
        if mask is not None and values.dim():  # one value: the function has done its own masking
            mask, values = fitted(mask, values, str(self), "mask")
            weights = weights * mask
            values = values.masked_fill(~mask, 0)  # not only weight 0: NaN * 0 is NaN
        weights = weights.expand_as(values)
        share = len(values) / max(values.numel(), 1) if values.dim() else 1.0
        self.total.add_((values * weights).sum(), alpha=share)
        self.count.add_(weights.sum(), alpha=share)

    def result(self) -> Tensor:
        """The mean so far, a scalar tensor; over all processes if there are several; 0 before the first value."""
        if torch.distributed.is_available() and torch.distributed.is_initialized() and not self._is_synced:
            with self.sync_context(dist_sync_fn=self.dist_sync_fn):
                return self._divided()
        return self._divided()

    def _divided(self) -> Tensor:
        return torch.where(self.count == 0, 0, self.total / self.count)

    def reset(self) -> None:
        """Start again; torchmetrics' name for it."""
        self._update_count, self._computed, self._forward_cache = 0, None, None
        self._cache, self._is_synced = None, False
        with torch.no_grad():  # in place: in inference mode new tensors could not be added to outside of it
            self.total.zero_()
            self.count.zero_()


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
                f"and keeps states of its own. Put it inside a subclass of ostinato.metrics.Metric."
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


def _function(name: str) -> Any:
    """A function of the library by name: one that counts matches, or a loss."""
    known = registry.builtin_names("metric_functions")
    return registry.find("metric_functions" if name in known else "losses", name)
