"""What `fit` returns."""

from __future__ import annotations

import os
from typing import Any

from ostinato.plots.history import plot_history
from ostinato.training.callbacks.base import Callback, Logs


class History(Callback):
    """Loss and metrics of each epoch.

    Attributes:
        history: name to list of floats, one per epoch; names of validation begin with `val_`. A list is shorter where
            a number was not there in every epoch.
        epoch: the epochs' numbers.
        params: epochs and steps per epoch of the run.
        model: the model that was trained.

    Source:
        Keras, `callbacks/history.py`.

    Example:
        >>> import ostinato
        >>> history = ostinato.callbacks.History()
        >>> history.on_train_begin()
        >>> history.on_epoch_end(0, {"loss": 0.5})
        >>> history.on_epoch_end(1, {"loss": 0.25})
        >>> history.epoch, history.history
        ([0, 1], {'loss': [0.5, 0.25]})
    """

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self._measured: dict[str, list[int]] = {}  # the epochs, from 1, of each name: some are not validated

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self.model.history = self

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
            self._measured.setdefault(name, []).append(epoch + 1)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the learning curves, training beside validation, and write them as a PNG if a path is given.

        Returns the matplotlib Figure. Raises ValueError if no epoch was recorded, and ModuleNotFoundError, naming the
        extra to install, without matplotlib.
        """
        return plot_history(self.history, path, self._measured)
