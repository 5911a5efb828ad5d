"""Ending training when it no longer helps."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from ostinato.training.callbacks.base import Logs
from ostinato.training.callbacks.monitor import MonitorCallback


class EarlyStopping(MonitorCallback):
    """Ends training when a number has not improved for some epochs, and may go back to the best weights.

    Args:
        monitor: name in the logs of epochs.
        min_delta: the least change that counts as an improvement.
        patience: epochs without improvement after which training ends.
        verbose: 1 to say so.
        mode: "min" or "max": which way is better; "auto" to go by the metric of that name.
        baseline: a value that must be beaten, too, for the patience to start anew.
        restore_best_weights: at the end of training, however it came, take the weights (and buffers) of the best epoch,
            whether or not it beat the baseline. A copy of them stays on the device.
        start_from_epoch: epochs before this one (counted from 0) are not looked at.

    Attributes:
        stopped_epoch: the epoch that was the last, counted from 0; 0 if training was not ended.
        best, best_epoch: the best value and its epoch.
        best_weights: the tensors of that epoch by name, if they are to be restored.

    Raises:
        ValueError: after the first epoch, if `mode` is "auto" and nothing says which way is better.

    Source:
        Keras, `callbacks/early_stopping.py`.

    Example:
        >>> import numpy as np, ostinato
        >>> model = ostinato.Sequential([ostinato.Input((2,)), ostinato.layers.Dense(1)])
        >>> stopping = ostinato.callbacks.EarlyStopping("loss", patience=2)
        >>> with ostinato.callbacks.CallbackList(stopping, model=model).phase("train") as run:
        ...     for epoch, loss in enumerate([0.5, 0.4, 0.6, 0.7]):
        ...         run.epoch_end(epoch, {"loss": loss})
        >>> model.stop_training, stopping.best, stopping.best_epoch, stopping.stopped_epoch
        (True, 0.4, 1, 3)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self._reset()

    def _reset(self) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = None
        self.best_weights: dict[str, Tensor] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._set_monitor_op()
        current = self.value_in(logs or {})
        if current is None or epoch < self.start_from_epoch:
            return
        improved = self._is_improvement(current, self.best)
        if self.restore_best_weights and (improved or self.best_weights is None):
            self.best_weights = {name: tensor.detach().clone() for name, tensor in _tensors(self.model)}
            self.best_epoch = epoch
        self.wait += 1
        if improved:
            self.best, self.best_epoch = current, epoch
            if self.baseline is None or self._is_improvement(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            with torch.no_grad():
                for name, tensor in _tensors(self.model):
                    tensor.copy_(self.best_weights[name])


def _tensors(model: Any) -> Any:
    """Parameters and buffers by name, each once."""
    return itertools.chain(model.named_parameters(), model.named_buffers())
