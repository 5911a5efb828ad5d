"""What may be told of a run as it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch.nn.parallel import DistributedDataParallel

Logs = dict[str, Any]
Hook = TypeVar("Hook", bound=Callable[..., Any])


class Callback:
    """Base of all callbacks: an object whose methods `fit`, `evaluate` and `predict` call as they go.

    A subclass defines those that it needs. `logs` is a dict of numbers, for humans and for decisions: of a batch the
    means since the epoch began, of an epoch its loss and metrics, and `val_` ones where it was validated. What is added
    to an epoch's logs is seen by the callbacks after this one, and kept by `History`, the last but for the display. At
    the beginning of something, logs are empty.

    `batch`, `epoch`: their number, from 0. To end training after a batch, set `self.model.stop_training = True`.

    Computing the numbers of a batch waits for the device, so it is done only if some callback defines a hook for the
    end of a batch. If a callback raises, the end hooks of the others run, and its own do not.

    Attributes:
        model: the model of the run, once it has begun.
        params: dict with `epochs`, `steps` (in an epoch; None if nobody knows) and `verbose`.

    Source:
        Keras, `callbacks/callback.py`.

    Example:
        >>> import ostinato
        >>> class Best(ostinato.callbacks.Callback):
        ...     def on_train_begin(self, logs=None):
        ...         self.loss = float("inf")
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         self.loss = min(self.loss, logs["loss"])
        >>> best = Best()
        >>> with ostinato.callbacks.CallbackList(best).phase("train") as run:
        ...     run.epoch_end(0, {"loss": 0.5})
        ...     run.epoch_end(1, {"loss": 0.7})
        >>> best.loss
        0.5
    """

    params: Logs | None = None
    _model: Any = None

    def set_params(self, params: Logs) -> None:
        """A run with these parameters is about to begin."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """A run of this model is about to begin."""
        self._model = model

    @property
    def model(self) -> Any:
        """The model of the run; the one inside, where torch's `DistributedDataParallel` is around it."""
        return self._model.module if isinstance(self._model, DistributedDataParallel) else self._model

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Training begins."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Training is over, or has failed; logs: of the last epoch."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """An evaluation begins: by `evaluate`, or within `fit` on the validation data."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """An evaluation is over; logs: what it found, empty if it has failed."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """A prediction begins."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """A prediction is over."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch of training begins."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch of training is over, and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A training step begins."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A training step is done."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of an evaluation begins."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of an evaluation is done."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of a prediction begins."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of a prediction is done."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of `on_train_batch_begin`, which calls it."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of `on_train_batch_end`, which calls it."""

    def _release(self) -> None:
        """Let go of files and screens: called in place of the end hooks of a callback that itself has raised."""


def lazy_logs(hook: Hook) -> Hook:
    """Mark a hook for the end of a batch as one that takes its logs as a function too, and rarely asks for them.

    >>> class Quiet(Callback):
    ...     @lazy_logs
    ...     def on_train_batch_end(self, batch, logs=None):
    ...         if batch % 100 == 0:
    ...             print(asked(logs))
    >>> Quiet().on_train_batch_end(1, lambda: {"loss": 1.0})
    >>> Quiet().on_train_batch_end(200, lambda: {"loss": 0.5})
    {'loss': 0.5}
    """
    hook.takes_function = True  # type: ignore[attr-defined]
    return hook


def asked(logs: Logs | Callable[[], Logs] | None) -> Logs:
    """The numbers that a hook was given, whichever way.

    >>> asked({"loss": 1.0}), asked(lambda: {"loss": 1.0}), asked(None)
    ({'loss': 1.0}, {'loss': 1.0}, {})
    """
    return logs() if callable(logs) else logs or {}
