"""Watching a number from epoch to epoch: which way is better, and whether it got better."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ostinato.training.callbacks.base import Callback, Logs


class MonitorCallback(Callback):
    """Base of the callbacks that watch a number in the logs.

    A value is an improvement if value - min_delta > best, where more is better, or value + min_delta < best, where less
    is. As in Keras both sides are compared as float32, which is what losses usually are: 0.7 is no improvement by 0.1
    on 0.8, although 0.7 + 0.1 is a little less than 0.8 in float64.

    Args:
        monitor: name in the logs of epochs.
        mode: "min" or "max": which way is better; "auto" to go by the metric of that name.
        baseline: the first value to improve on; by default anything is an improvement at first.
        min_delta: the least change that counts; its sign does not matter.

    Source:
        Keras, `callbacks/monitor_callback.py`.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None, min_delta: float = 0
    ) -> None:
        if mode not in ("auto", "min", "max"):
            warnings.warn(f"{type(self).__name__}: mode {mode!r} is unknown; going on with 'auto'.", stacklevel=3)
            mode = "auto"
        self.monitor, self.mode = monitor, mode
        self.best = baseline
        self.min_delta = abs(min_delta)
        self.monitor_op: Callable[[Any, Any], Any] | None = None
        self._warned = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._warned = False

    def value_in(self, logs: Logs) -> Any:
        """The number to watch, None if it is not there, of which there is one warning per training."""
        value = logs.get(self.monitor)
        if value is None and not self._warned:
            self._warned = True
            warnings.warn(
                f"{type(self).__name__}: {self.monitor!r} is not in the logs, so nothing is decided. There are: "
                f"{', '.join(logs) or 'none'}.",
                stacklevel=3,
            )
        return value

    def _set_monitor_op(self) -> None:
        """Find out which way is better, once the model has its metrics. Raises ValueError where nobody can tell."""
        if self.monitor_op is not None:
            return
        upwards = self.mode == "max" if self.mode != "auto" else _higher_is_better(self.monitor, self.model)
        if upwards is None:
            raise ValueError(
                f"{type(self).__name__}: nothing says whether {self.monitor!r} should be high or low. Pass mode='max' "
                f"or mode='min'."
            )
        self.monitor_op = operator.gt if upwards else operator.lt

    def _is_improvement(self, value: Any, reference: Any) -> bool:
        if reference is None:
            return True
        assert self.monitor_op is not None
        margin = self.min_delta if self.monitor_op is operator.gt else -self.min_delta
        return bool(self.monitor_op(np.float32(value - margin), np.float32(reference)))


def _higher_is_better(monitor: str, model: Any) -> bool | None:
    """What the metric of this name says of itself; None if there is none, or it does not say."""
    name = monitor.removeprefix("val_")
    if name in ("loss", *(f"{output}_loss" for output in getattr(model, "output_names", ()))):
        return False
    for known, metric in _named_metrics(model):
        if known == name and getattr(metric, "higher_is_better", None) is not None:
            return bool(metric.higher_is_better)
    return None


def _named_metrics(model: Any) -> Iterator[tuple[str, Any]]:
    """The metrics of a model under their names in the logs."""
    for metric in getattr(model, "metrics", None) or ():
        # What compile was given is one metric of many numbers.
        yield from ((each.name, each.metric) for each in getattr(metric, "reported", ()))
        yield getattr(metric, "name", ""), metric
