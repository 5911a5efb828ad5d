"""Evaluating with the moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ostinato.training.callbacks.base import Callback, Logs

_AVERAGE = "average"  # under which the optimizer keeps it, for each parameter


class SwapEMAWeights(Callback):
    """Puts the moving average of the weights in their place for evaluations and predictions, and takes it out again.

    Args:
        swap_on_epoch: also from the end of each epoch to the beginning of the next, for callbacks that look at the
            weights there.

    Raises:
        ValueError: from `fit` and others, if the optimizer does not keep an average.

    Source:
        Keras, `callbacks/swap_ema_weights.py`. There the average stays in the model after `predict`, and the
        last weights instead of their average after training was stopped early with `swap_on_epoch`.

    Example:
        >>> import ostinato
        >>> model = ostinato.Sequential([ostinato.layers.Dense(1)])
        >>> model.compile(ostinato.optimizers.SGD(0.1, use_ema=True), "mse")
        >>> callback = ostinato.callbacks.SwapEMAWeights()
        >>> callback.set_model(model)
        >>> callback.on_test_begin()
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch
        self._kept: list[tuple[Tensor, Tensor]] | None = None  # weights with their values, while averages stand there

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._averaging()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._release()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._take_averages()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._kept = None  # the averages stay, as they do after any training with an average

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._take_averages()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._release()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._take_averages()

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._release()

    def _averaging(self) -> Any:
        """The optimizer, which must keep an average."""
        optimizer = self.model.optimizer
        if not getattr(optimizer, "use_ema", False):
            raise ValueError(
                f"SwapEMAWeights: the optimizer must keep a moving average, as with use_ema=True, got {optimizer!r}."
            )
        return optimizer

    def _take_averages(self) -> None:
        if self._kept is not None:
            return
        averages = {weight: state[_AVERAGE] for weight, state in self._averaging().state.items() if _AVERAGE in state}
        self._kept = [(weight, weight.detach().clone()) for weight in averages]
        _write(averages.items())

    def _release(self) -> None:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            _write(kept)


def _write(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Write values into weights, in place."""
    with torch.no_grad():
        for weight, values in pairs:
            weight.copy_(values)
