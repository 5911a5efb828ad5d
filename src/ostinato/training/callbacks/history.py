"""What `fit` returns."""

from __future__ import annotations

from typing import Any


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
