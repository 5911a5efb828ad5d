"""The display of `fit`, `evaluate` and `predict` as a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ostinato.training.callbacks.base import Callback, Logs, asked, lazy_logs
from ostinato.training.callbacks.progress import display


class ProgressBar(Callback):
    """Shows how far a run has come, with its numbers; validation in `fit` adds its numbers to those of the epoch.

    The numbers are asked for at most ten times a second. Where nobody knows how many steps there are, it counts.

    Args:
        verbose: 0 silent, 1 a bar, 2 a line at the end of each epoch, "auto" a bar on a terminal or in a notebook, else
            a line.

    Raises:
        ValueError: for another `verbose`.

    Source:
        Keras, `callbacks/progbar_logger.py`.

    Example:
        >>> import ostinato
        >>> bar = ostinato.callbacks.ProgressBar(verbose=2)
        >>> params = {"epochs": 2, "steps": 1, "verbose": 2}
        >>> with ostinato.callbacks.CallbackList(bar, params=params).phase("train") as run:
        ...     run.epoch_begin(0)
        ...     run.batch_end(0, lambda: {"loss": 0.5})
        ...     run.epoch_end(0, {"loss": 0.5})
        Epoch 1/2  1 steps  0... s  loss: 0.5000
    """

    def __init__(self, verbose: Any = "auto") -> None:
        self.verbose = verbose
        self._screen = display(verbose)
        self._in_fit = False
        self._done = 0

    # -- fit ----------------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._in_fit = True
        self._screen = display(self.verbose)  # for the standard output of now

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._begin(f"Epoch {epoch + 1}/{(self.params or {}).get('epochs', epoch + 1)}")

    @lazy_logs
    def on_train_batch_end(self, batch: int, logs: Logs | Callable[[], Logs] | None = None) -> None:
        self._screen.step(lambda: asked(logs))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._screen.end(logs or {})

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._release()

    # -- evaluate, and the validation in fit, which is not shown ------------------------------------------------------

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._screen = display(self.verbose)
            self._begin("Evaluate")

    @lazy_logs
    def on_test_batch_end(self, batch: int, logs: Logs | Callable[[], Logs] | None = None) -> None:
        if not self._in_fit:
            self._screen.step(lambda: asked(logs))

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._end(logs or {}, complete=bool(logs))

    # -- predict ------------------------------------------------------------------------------------------------------

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._screen = display(self.verbose)
        self._done = 0
        self._begin("Predict")

    @lazy_logs
    def on_predict_batch_end(self, batch: int, logs: Logs | Callable[[], Logs] | None = None) -> None:
        self._done += 1
        self._screen.step(dict)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._end({}, complete=self._steps is None or self._done >= self._steps)

    # -----------------------------------------------------------------------------------------------------------------

    @property
    def _steps(self) -> int | None:
        return (self.params or {}).get("steps")

    def _begin(self, title: str) -> None:
        self._screen.begin(title, self._steps)

    def _end(self, logs: Logs, complete: bool) -> None:
        """The pass is over, or has failed on its way: then there is nothing to report."""
        if complete:
            self._screen.end(logs)
        self._release()

    def _release(self) -> None:
        self._in_fit = False
        self._screen.close()
