"""Ending what cannot be saved."""

from __future__ import annotations

import math

from ostinato.training.callbacks.base import Callback, Logs


class TerminateOnNaN(Callback):
    """Ends training after the batch with which the loss became NaN or infinite.

    The loss of every batch is looked at, which waits for the device every time.

    Args:
        raise_error: raise RuntimeError instead of ending in peace.

    Raises:
        RuntimeError: from `fit`, if `raise_error`. (In Keras, the end hooks of other callbacks are then left out.)

    Source:
        Keras, `callbacks/terminate_on_nan.py`.

    Example:
        >>> import ostinato
        >>> model = ostinato.Sequential([ostinato.layers.Dense(1)])
        >>> callback = ostinato.callbacks.TerminateOnNaN()
        >>> callback.set_model(model)
        >>> callback.on_train_batch_end(7, {"loss": float("nan")})
        Batch 7: Invalid loss, terminating training
        >>> model.stop_training
        True
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"TerminateOnNaN: the loss is {loss} at batch {batch} (counted from 0). Try a smaller learning rate, "
                f"or clipnorm, and look for NaN in the data."
            )
        print(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
