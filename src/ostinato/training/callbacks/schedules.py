"""Learning rates that change from epoch to epoch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from ostinato.training.callbacks.base import Callback, Logs
from ostinato.training.callbacks.monitor import MonitorCallback
from ostinato.training.callbacks.rates import learning_rate, set_learning_rate


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of each epoch, to what a function says.

    Adds `learning_rate` to the logs.

    Args:
        schedule: `schedule(epoch, learning_rate)`, or `schedule(epoch)`: the epoch from 0 and the present rate, a
            float; gives the new one, a float.
        verbose: 1 to tell of it.

    Raises:
        TypeError: if `schedule` cannot be called so; from `fit`, if the optimizer's learning rate is a schedule.
        ValueError: from `fit`, if it gives no float, or the optimizer cannot have that.

    Source:
        Keras, `callbacks/learning_rate_scheduler.py`.

    Example:
        >>> import numpy as np, ostinato
        >>> model = ostinato.Sequential([ostinato.layers.Dense(1)])
        >>> model.compile(ostinato.optimizers.SGD(0.5), "mse")
        >>> halve = ostinato.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
        >>> with ostinato.callbacks.CallbackList(halve, model=model).phase("train") as run:
        ...     for epoch in range(3):
        ...         run.epoch_begin(epoch)
        >>> model.optimizer.learning_rate
        0.125
    """

    def __init__(self, schedule: Callable[..., Any], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose
        self._takes_rate = _takes_rate(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        before = learning_rate(optimizer, "LearningRateScheduler")
        rate = self.schedule(epoch, before) if self._takes_rate else self.schedule(epoch)
        floating = isinstance(rate, Tensor) and rate.numel() == 1 and rate.is_floating_point()
        if not floating and not isinstance(rate, (float, np.floating)):
            raise ValueError(f"LearningRateScheduler: schedule must give a float, got {rate!r} for epoch {epoch}.")
        set_learning_rate(optimizer, float(rate), "LearningRateScheduler")
        if self.verbose > 0:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {float(rate)}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = learning_rate(self.model.optimizer, "LearningRateScheduler")


def _takes_rate(schedule: Any) -> bool:
    """Whether a schedule takes the present rate besides the epoch. Raises TypeError if it takes neither."""
    if not callable(schedule):
        raise TypeError(
            f"LearningRateScheduler: schedule must be a function of (epoch, learning_rate), got {schedule!r}."
        )
    try:
        signature = inspect.signature(schedule)
    except ValueError:  # one written in C that does not tell
        return True
    for arguments in ((0, 0.0), (0,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) == 2
    raise TypeError(
        f"LearningRateScheduler: schedule must take (epoch, learning_rate) or (epoch), it takes {signature}."
    )


class ReduceLROnPlateau(MonitorCallback):
    """Reduces the learning rate when a number has not improved for some epochs.

        learning_rate = max(learning_rate * factor, min_lr)

    Adds `learning_rate`, as it was in the epoch, to the logs.

    Args:
        monitor: name in the logs of epochs.
        factor: less than 1.
        patience: epochs without improvement after which the rate is reduced.
        verbose: 1 to tell of it.
        mode: "min" or "max": which way is better; "auto" to go by the metric of that name.
        min_delta: the least change that counts as an improvement.
        cooldown: epochs after a reduction that are not counted.
        min_lr: the rate is not reduced below this.

    Raises:
        ValueError: if factor is 1 or more; after the first epoch, if `mode` is "auto" and nothing says which way is
            better.
        TypeError: from `fit`, if the optimizer's learning rate is a schedule.

    Source:
        Keras, `callbacks/reduce_lr_on_plateau.py`.

    Example:
        >>> import ostinato
        >>> model = ostinato.Sequential([ostinato.layers.Dense(1)])
        >>> model.compile(ostinato.optimizers.SGD(0.5), "mse")
        >>> plateau = ostinato.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=2)
        >>> with ostinato.callbacks.CallbackList(plateau, model=model).phase("train") as run:
        ...     for epoch, loss in enumerate([0.5, 0.4, 0.4, 0.4]):
        ...         run.epoch_end(epoch, {"loss": loss})
        >>> model.optimizer.learning_rate
        0.25
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be less than 1, got {factor}.")
        self.factor, self.min_lr, self.patience = factor, min_lr, patience
        self.verbose, self.cooldown = verbose, cooldown
        self.cooldown_counter = self.wait = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self.best = None
        self.cooldown_counter = self.wait = 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._set_monitor_op()
        logs = {} if logs is None else logs
        logs["learning_rate"] = learning_rate(self.model.optimizer, "ReduceLROnPlateau")
        current = self.value_in(logs)
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def in_cooldown(self) -> bool:
        """Whether epochs are not counted since the rate was reduced lately."""
        return self.cooldown_counter > 0

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        rate = learning_rate(optimizer, "ReduceLROnPlateau")
        if rate <= self.min_lr:
            return
        rate = max(rate * self.factor, self.min_lr)
        set_learning_rate(optimizer, rate, "ReduceLROnPlateau")
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose > 0:
            print(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.")
