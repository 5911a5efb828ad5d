"""The states of a metric in Keras's form: tensors that are assigned to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ostinato.core.weights import Variable


def _first(states: Tensor) -> Tensor:
    """Of the states of all processes, stacked, that of the first."""
    return states[0]


AGGREGATIONS: dict[str, str | Callable[[Tensor], Tensor]] = {
    "sum": "sum",
    "mean": "mean",
    "only_first_replica": _first,
}
"""Keras's names for how the states of several processes become one, as torchmetrics' `dist_reduce_fx`."""


class MetricVariable(Variable):
    """A state of a metric, as `Metric.add_variable` makes it: a tensor with Keras's ways of changing it.

    It stays the same object for as long as its metric lives, on whatever device; what is computed from it is a plain
    tensor.

    Args:
        value: its first value; the tensor itself is taken, not a copy.
        name: of the variable.

    Example:
        >>> import torch
        >>> from ostinato.training.metrics.variables import MetricVariable
        >>> total = MetricVariable(torch.zeros(2), "total")
        >>> total.assign_add([1.0, 2.0]).value
        tensor([1., 2.])
        >>> total + 1
        tensor([2., 3.])
    """

    _name: str

    def __new__(cls, value: Tensor, name: str) -> MetricVariable:
        made = torch.Tensor._make_subclass(cls, value.detach())
        made._name = name
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> MetricVariable:
        made = memo[id(self)] = MetricVariable(self.detach().clone(), self._name)
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return MetricVariable, (self.value.clone(), self._name)

    @property
    def described(self) -> str:
        return f"variable {self._name!r}"

    @property
    def name(self) -> str:
        """The variable's name."""
        return self._name

    @property
    def value(self) -> Tensor:
        """What it holds now, as a plain tensor."""
        return self.detach()

    def _misfit(self, shape: tuple[int, ...]) -> str:
        return (
            f"{self.described}: it has shape {tuple(self.shape)}, and the value to assign has shape {shape}; they must "
            f"be the same."
        )

    def _together(self, value: Tensor) -> tuple[Tensor, Tensor]:
        return self.to(value.device), value

    def _hold(self, value: Tensor) -> None:
        """Hold a tensor's value; on the tensor's device from now on."""
        self._set(value.to(self.dtype))

    def _set(self, value: Tensor) -> MetricVariable:
        """Hold a tensor, of whatever device, dtype and shape."""
        with torch.no_grad():
            if value.device == self.device and value.dtype is self.dtype and value.shape == self.shape:
                self.copy_(value)  # in place: what inference mode makes could not be changed outside of it
            else:
                self.data = value.detach()
        return self
