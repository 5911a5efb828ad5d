"""Torch's schedulers of the learning rate in `fit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ostinato.training.callbacks.base import Callback, Logs, asked, lazy_logs
from ostinato.training.callbacks.rates import learning_rate


class TorchScheduler(Callback):
    """Steps a scheduler of `torch.optim.lr_scheduler`.

    Adds `learning_rate`, as it was at the end of the epoch, to the logs.

    Args:
        scheduler: a scheduler of the model's optimizer; or what makes one from an optimizer, which is done each time
            that `fit` begins.
        interval: "epoch" or "batch": when it is stepped.
        monitor: name in the logs of what `scheduler.step` takes, as `ReduceLROnPlateau` does; of batches the means
            since the epoch began.

    Raises:
        ValueError: for another interval; for a `ReduceLROnPlateau` without a monitor; from `fit`, for a scheduler of
            another optimizer, for an optimizer that is yet to be made since the model is not built, and for a monitor
            that is not in the logs.
        TypeError: for what is no scheduler, and makes none.

    Example:
        >>> import ostinato, torch
        >>> model = ostinato.Sequential([ostinato.Input((2,)), ostinato.layers.Dense(1)])
        >>> model.compile(torch.optim.SGD(model.parameters(), lr=1.0), "mse")
        >>> scheduler = torch.optim.lr_scheduler.ExponentialLR(model.optimizer, gamma=0.5)
        >>> ostinato.callbacks.TorchScheduler(scheduler).interval
        'epoch'
        >>> ostinato.callbacks.TorchScheduler(lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
        ...     optimizer, max_lr=0.1, total_steps=100), interval="batch").interval
        'batch'
    """

    def __init__(
        self,
        scheduler: LRScheduler | Callable[[torch.optim.Optimizer], Any],
        interval: str = "epoch",
        monitor: str | None = None,
    ) -> None:
        if interval not in ("epoch", "batch"):
            raise ValueError(f"TorchScheduler: interval must be 'epoch' or 'batch', got {interval!r}.")
        made = isinstance(scheduler, LRScheduler)
        if not made and not callable(scheduler):
            raise TypeError(
                f"TorchScheduler: expected a scheduler of torch.optim.lr_scheduler, or a function that makes one from "
                f"an optimizer, got {scheduler!r}."
            )
        self.interval, self.monitor = interval, monitor
        self.scheduler: Any = scheduler if made else None
        self._make: Any = None if made else scheduler
        if made:
            self._check_monitor()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        if not hasattr(optimizer, "param_groups"):
            raise ValueError(
                f"TorchScheduler: the optimizer {optimizer!r} has no parameters yet. Build the model before fit: begin "
                f"it with an Input, or call it on a batch."
            )
        if self._make is not None:
            self.scheduler = self._make(optimizer)
            if not hasattr(self.scheduler, "step"):
                raise TypeError(f"TorchScheduler: {self._make!r} made {self.scheduler!r}, which is no scheduler.")
            self._check_monitor()
        elif self.scheduler.optimizer is not optimizer:
            raise ValueError(
                f"TorchScheduler: this {type(self.scheduler).__name__} has another optimizer than the model was "
                f"compiled with. Make it from model.optimizer, or pass a function that makes it from an optimizer."
            )

    @lazy_logs
    def on_train_batch_end(self, batch: int, logs: Logs | Callable[[], Logs] | None = None) -> None:
        if self.interval == "batch":
            self._step(logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = learning_rate(self.model.optimizer, "TorchScheduler")
        if self.interval == "epoch":
            self._step(logs)

    def _step(self, logs: Logs | Callable[[], Logs] | None) -> None:
        if self.monitor is None:
            self.scheduler.step()
            return
        numbers = asked(logs)
        if self.monitor not in numbers:
            raise ValueError(
                f"TorchScheduler: {self.monitor!r} is not in the logs; there are: {', '.join(numbers) or 'none'}."
            )
        self.scheduler.step(numbers[self.monitor])

    def _check_monitor(self) -> None:
        if self.monitor is None and isinstance(self.scheduler, ReduceLROnPlateau):
            raise ValueError("TorchScheduler: a ReduceLROnPlateau needs a number to watch: pass monitor='val_loss'.")
