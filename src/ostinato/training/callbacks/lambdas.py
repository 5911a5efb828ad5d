"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ostinato.core.registry import nearest
from ostinato.training.callbacks.base import Callback

_HOOKS = [name for name in vars(Callback) if name.startswith("on_")]


class LambdaCallback(Callback):
    """Calls functions of one's own.

    Args:
        on_epoch_begin, on_epoch_end: called as `function(epoch, logs)`.
        on_train_begin, on_train_end: called as `function(logs)`.
        on_train_batch_begin, on_train_batch_end: called as `function(batch, logs=logs)`.
        **kwargs: functions for the other hooks of `Callback`, by their names; other attributes of the callback.

    Raises:
        TypeError: for a hook that is not there (a name that begins with `on_`), or is given what cannot be called.

    Source:
        Keras, `callbacks/lambda_callback.py`.

    Example:
        >>> import ostinato
        >>> callback = ostinato.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
        >>> callback.on_epoch_end(3, {"loss": 0.5})
        3 0.5
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        for name, function in given.items():
            if name.startswith("on_") and name not in _HOOKS:
                raise TypeError(f"LambdaCallback: there is no hook {name!r}.{nearest(name, _HOOKS)}")
            if name in _HOOKS and function is not None and not callable(function):
                raise TypeError(f"LambdaCallback: {name} must be a function, got {function!r}.")
        self.__dict__.update({name: function for name, function in given.items() if function is not None})
