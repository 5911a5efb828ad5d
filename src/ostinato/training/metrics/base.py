"""What all metrics share: Keras's manners on torchmetrics, states in Keras's form included."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import torch
import torchmetrics
from torch import Tensor

from ostinato.core import initializers, registry
from ostinato.core.context import CONTEXT
from ostinato.core.dtypes import as_dtype
from ostinato.training.metrics.variables import AGGREGATIONS, MetricVariable
from ostinato.training.tensors import as_float_dtype, snake_case

T = TypeVar("T")


def _counting(update_state: Callable[..., None]) -> Callable[..., None]:
    """An `update_state` that counts nothing while shapes are found: a layer that has a metric is called for them."""

    @functools.wraps(update_state)
    def counting(self: Any, *args: Any, **kwargs: Any) -> None:
        if not CONTEXT.inferring:
            update_state(self, *args, **kwargs)

    return counting


class Metric(torchmetrics.Metric):
    """Base of all metrics: a torchmetrics metric with Keras's manners.

    A subclass makes its states in its constructor, with Keras's `add_variable` or torchmetrics' `add_state`, changes
    them in `update_state`, and tells of them in `result`. `update` and `compute` are torchmetrics' names for these two;
    `compute` adds the states of all processes up first. Calling the metric updates it and returns the result so far.
    A metric that is an attribute of another is moved and reset with it.

    Args:
        name: of the metric; by default its class's, in snake case.
        dtype: floating dtype of its states, float32 (torch's default) by default.

    Raises:
        ValueError: if `dtype` is not floating.

    Source:
        Keras, `metrics/metric.py`. There the mask hangs on the predictions; here it is an argument, and a metric that
        does not take it is given it as sample weights in `fit`.

    Example:
        >>> import ostinato, torch
        >>> class TruePositives(ostinato.metrics.Metric):
        ...     def __init__(self, name="true_positives", **kwargs):
        ...         super().__init__(name=name, **kwargs)
        ...         self.count = self.add_variable(shape=(), initializer="zeros", name="count")
        ...     def update_state(self, y_true, y_pred, sample_weight=None):
        ...         hits = torch.logical_and(y_true > 0, y_pred > 0.5).to(self.dtype)
        ...         if sample_weight is not None:
        ...             hits = hits * sample_weight
        ...         self.count.assign_add(hits.sum())
        ...     def result(self):
        ...         return self.count.value
        >>> TruePositives()(torch.ones(3), torch.tensor([0.9, 0.8, 0.1]))
        tensor(2.)
    """

    full_state_update = False
    is_differentiable = False
    name: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update_state" in cls.__dict__:
            cls.update_state = _counting(cls.update_state)  # type: ignore[method-assign]

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(compute_with_cache=False)  # `update_state` would leave a cached result as it is
        self.name = name or snake_case(type(self).__name__)
        self._dtype = torch.get_default_dtype() if dtype is None else as_float_dtype(dtype, str(self))
        self._variables: dict[str, MetricVariable] = {}

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

    def __setattr__(self, name: str, value: Any) -> None:
        variable = self.__dict__.get("_variables", {}).get(name)
        if variable is None or value is variable:
            super().__setattr__(name, value)
        else:  # torchmetrics resets, moves or synchronizes a state; the subclass holds on to the variable
            variable._set(value)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        dtype = self._dtype
        super()._apply(fn, exclude_state)
        if not self._dtype_convert:
            self._dtype = dtype  # torchmetrics takes torch's default dtype for the metric's, once it is moved
        return self

    # -- states -------------------------------------------------------------------------------------------------------

    def add_variable(
        self,
        shape: Sequence[int],
        initializer: Any = "zeros",
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> MetricVariable:
        """A new state that is assigned to; 0 after a reset, as in Keras, whatever it began with.

        shape: of the state. initializer: a name, an object, or a callable of (shape, dtype). dtype: any dtype, torch's
        default by default. aggregation: what makes one state of those of several processes: "sum", "mean" or
        "only_first_replica". name: of the variable.
        Raises RuntimeError before `super().__init__()`, and ValueError for an unknown initializer, dtype or
        aggregation.
        """
        if "_variables" not in self.__dict__:
            raise RuntimeError(f"{type(self).__name__}: call super().__init__() in __init__ before adding variables.")
        if aggregation not in AGGREGATIONS:
            hint = registry.nearest(str(aggregation), AGGREGATIONS)
            raise ValueError(f"{self}: aggregation {aggregation!r} is not one of {list(AGGREGATIONS)}.{hint}")
        name = name or "variable"
        key = f"variables/{name}"  # not an identifier, so that no attribute of a subclass is in the way
        while key in self._defaults:
            key += "'"
        with torch.inference_mode(False), torch.no_grad():
            zeros = torch.zeros(tuple(shape), dtype=as_dtype(dtype))
            initial = initializers.get("zeros" if initializer is None else initializer)(tuple(shape), dtype=zeros.dtype)
            variable = MetricVariable(torch.as_tensor(initial).to(zeros, copy=True), name)
            self.add_state(key, zeros, dist_reduce_fx=AGGREGATIONS[aggregation])
        self._variables[key] = variable
        self.__dict__[key] = variable
        return variable

    def add_weight(
        self, shape: Sequence[int] = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> MetricVariable:
        """Keras's older name for `add_variable`."""
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def variables(self) -> list[Tensor]:
        """The states, in the order in which they were made, those of metrics inside this one last."""
        own = [state for state in self.metric_state.values() if isinstance(state, Tensor)]
        for each in self.children():
            if isinstance(each, torchmetrics.Metric):
                inner = each.variables if isinstance(each, Metric) else each.metric_state.values()
                own.extend(state for state in inner if isinstance(state, Tensor))
        return own

    def _over_processes(self, value: Callable[[], T]) -> T:
        """`value()` with the states of all processes brought together, unless they are so already."""
        if torch.distributed.is_available() and torch.distributed.is_initialized() and not self._is_synced:
            with self.sync_context(dist_sync_fn=self.dist_sync_fn):
                return value()
        return value()

    # -- Keras's methods, and torchmetrics' names for them ------------------------------------------------------------

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

    @property
    def update_called(self) -> bool:
        """Whether there is a result: always, for a metric of Keras's has one before the first batch."""
        return True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Update, and return the result so far (torchmetrics would return the batch's)."""
        self.update_state(*args, **kwargs)
        return self.result()

    def reset(self) -> None:
        """Torchmetrics' name for `reset_state`."""
        super().reset()
        for each in self.children():
            if isinstance(each, Metric):
                each.reset_state()
            elif isinstance(each, torchmetrics.Metric):
                each.reset()

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
