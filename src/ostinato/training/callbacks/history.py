"""What `fit` returns."""

from __future__ import annotations

import os
from typing import Any

from ostinato.plots.history import plot_history


class History:
    """Loss and metrics of each epoch.

    history: name to list of floats, one per epoch; names of validation begin with `val_`. epoch: the epochs' numbers.
    params: epochs and steps per epoch of the run. model: the model that was trained.
    """

    def __init__(self, model: Any, params: dict[str, Any]) -> None:
        self.model, self.params = model, params
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def add(self, epoch: int, logs: dict[str, float]) -> None:
        """Keep what an epoch ended with."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the learning curves, training beside validation, and write them as a PNG if a path is given.

        Returns the matplotlib Figure. Raises ValueError if no epoch was recorded, and ModuleNotFoundError, naming the
        extra to install, without matplotlib.
        """
        return plot_history(self.history, path, self.params.get("validation_freq"))
