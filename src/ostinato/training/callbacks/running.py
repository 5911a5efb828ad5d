"""The callbacks of a run as the loop sees them: one object to tell things to."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal, Self

from ostinato.training.callbacks.base import Callback, Logs

Kind = Literal["train", "test", "predict"]
Listener = tuple[Callback, Callable[..., Any]]


class CallbackList:
    """Callbacks that are told of a run together, in their order.

    The loop opens a `phase`, and tells it what happens.

    Args:
        callbacks: None, a callback, a list or tuple of callbacks, also nested, or a `CallbackList`, whose callbacks are
            taken.
        model: what is trained or run; every callback gets it.
        params: of the run, as in `Callback.params`; every callback gets them.
        defaults: callbacks that come last, each unless one of its class is among `callbacks`.

    Raises:
        TypeError: for anything that is no callback.

    Source:
        Keras, `callbacks/callback_list.py`. There the methods are those of a callback, and after an error nothing ends.

    Example:
        >>> import ostinato
        >>> from ostinato.callbacks import CallbackList, History, LambdaCallback
        >>> shown = LambdaCallback(on_batch_end=lambda batch, logs: print(batch, logs))
        >>> callbacks = CallbackList(shown, defaults=[History()])
        >>> with callbacks.phase("train") as run:
        ...     run.epoch_begin(0)
        ...     run.batch_begin(0)
        ...     run.batch_end(0, lambda: {"loss": 1.0})
        ...     run.epoch_end(0, {"loss": 1.0})
        0 {'loss': 1.0}
        >>> callbacks.find(History).history
        {'loss': [1.0]}
    """

    def __init__(
        self, callbacks: Any = None, *, model: Any = None, params: Logs | None = None, defaults: Iterable[Callback] = ()
    ) -> None:
        self.callbacks = _flat(callbacks)
        for each in defaults:
            if self.find(type(each)) is None:
                self.callbacks.append(each)
        self.model, self.params = model, params
        self._open = 0
        self._failed: list[Callback] = []
        for each in self.callbacks:
            if params is not None:
                each.set_params(params)
            if model is not None:
                each.set_model(model)

    def find(self, kind: type) -> Any:
        """The first callback of a class, None if there is none."""
        return next((each for each in self.callbacks if isinstance(each, kind)), None)

    def phase(self, kind: Kind) -> Phase:
        """A context in which a model is trained, tested or run; phases may be nested, as validation is in training.

        kind: "train", "test" or "predict". Raises ValueError for anything else.
        """
        if kind not in ("train", "test", "predict"):
            raise ValueError(f"CallbackList: a phase is 'train', 'test' or 'predict', got {kind!r}.")
        return Phase(self, kind)


class Phase:
    """What is told to callbacks between the beginning and the end of training, an evaluation or a prediction.

    Entering it calls `on_train_begin` (of a test, `on_test_begin`; ...) of each callback, leaving it `on_train_end`. If
    one of them raises, or the block does, the end hooks of all others that had begun are called, once; then the
    error goes on as it was, with what further errors there were in its notes. At an ordinary end, too, each end hook is
    called, whether or not one before it raises.

    `batch_begin(index)` and `batch_end(index, logs)` tell of batches; `logs` is a function that gives the numbers. It
    is called at most once, and only if some callback asks.

    Attributes:
        logs: what the end hooks get: the last epoch's, or what the loop puts here.

    Example:
        >>> import ostinato
        >>> with ostinato.callbacks.CallbackList().phase("test") as run:
        ...     run.batch_begin(0)
        ...     run.batch_end(0, lambda: {"loss": 1.0})
        ...     run.logs = {"loss": 1.0}
    """

    batch_begin: Callable[[int], None]
    batch_end: Callable[[int, Callable[[], Logs]], None]

    def __init__(self, callbacks: CallbackList, kind: Kind) -> None:
        self._list, self._kind = callbacks, kind
        self._begun: list[Callback] = []
        self.logs: Logs = {}
        self._choose()

    def __enter__(self) -> Self:
        if self._list._open == 0:
            self._list._failed.clear()
        self._list._open += 1
        try:
            for each in self._list.callbacks:
                self._begun.append(each)
                self._call([(each, getattr(each, f"on_{self._kind}_begin"))], {})
        except BaseException as error:
            self._end(error)
            raise
        self._choose()  # again: a callback may have made hooks of its own when it began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        first = self._end(error)
        if first is not None and first is not error:
            raise first

    def epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch of training begins."""
        self._call([(each, each.on_epoch_begin) for each in self._list.callbacks], epoch, {} if logs is None else logs)

    def epoch_end(self, epoch: int, logs: Logs) -> None:
        """An epoch of training is over. Callbacks may add to `logs`, which are then the phase's."""
        self.logs = logs
        self._call([(each, each.on_epoch_end) for each in self._list.callbacks], epoch, logs)

    # -- batches: what is done at each is chosen once -----------------------------------------------------------------

    def _choose(self) -> None:
        self._begins = self._listeners("begin")
        ends = self._listeners("end")
        self._lazy = [(each, hook) for each, hook in ends if getattr(hook, "takes_function", False)]
        self._eager = [(each, hook) for each, hook in ends if not getattr(hook, "takes_function", False)]
        self.batch_begin = self._tell_begin if self._begins else _nothing
        self.batch_end = self._tell_end if self._eager else self._tell_lazily if self._lazy else _nothing

    def _listeners(self, moment: str) -> list[Listener]:
        """The hooks for batches that callbacks define themselves."""
        names = [f"on_{self._kind}_batch_{moment}"]
        if self._kind == "train":
            names.append(f"on_batch_{moment}")  # which the first calls, where it is not defined
        found = []
        for each in self._list.callbacks:
            own = next((name for name in names if _defines(each, name)), None)
            if own is not None:
                found.append((each, getattr(each, own)))
        return found

    def _tell_begin(self, index: int) -> None:
        self._call(self._begins, index, logs={})

    def _tell_end(self, index: int, logs: Callable[[], Logs]) -> None:
        numbers = logs()
        self._call(self._eager, index, logs=numbers)
        if self._lazy:
            self._call(self._lazy, index, logs=lambda: numbers)

    def _tell_lazily(self, index: int, logs: Callable[[], Logs]) -> None:
        self._call(self._lazy, index, logs=logs if len(self._lazy) == 1 else functools.cache(logs))

    # -- errors -------------------------------------------------------------------------------------------------------

    def _call(self, listeners: list[Listener], *args: Any, **kwargs: Any) -> None:
        """Call hooks, and remember whose it was that raised."""
        listener = None
        try:
            for listener in listeners:
                listener[1](*args, **kwargs)
        except BaseException:
            if listener is not None:
                self._list._failed.append(listener[0])
            raise

    def _end(self, error: BaseException | None) -> BaseException | None:
        """Call the end hooks; return the first error there is, whose notes tell of the others."""
        self._list._open -= 1
        name = f"on_{self._kind}_end"
        for each in self._begun:
            failed = any(each is other for other in self._list._failed)
            try:
                if failed:
                    each._release()
                else:
                    self._call([(each, getattr(each, name))], self.logs)
            except BaseException as raised:  # noqa: BLE001 (it is returned, or noted on the one that is)
                if error is None:
                    error = raised
                elif raised is not error:
                    what = "_release" if failed else name
                    told = "".join(traceback.format_exception(raised, chain=False))
                    error.add_note(f"Then {type(each).__name__}.{what} raised as well:\n{told.rstrip()}")
        return error


def _nothing(*args: Any) -> None:
    """Nobody listens."""


def _defines(callback: Callback, hook: str) -> bool:
    """Whether a callback has a hook of its own, in its class or in itself."""
    return getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook)


def _flat(given: Any) -> list[Callback]:
    """The callbacks in what was given."""
    if given is None:
        return []
    if isinstance(given, Callback):
        return [given]
    if isinstance(given, CallbackList):
        return list(given.callbacks)
    if isinstance(given, (list, tuple)):
        return [callback for each in given for callback in _flat(each)]
    if inspect.isclass(given):
        made = f" It is a class; pass an instance: {given.__name__}(...)." if issubclass(given, Callback) else ""
        raise TypeError(f"callbacks: expected instances of Callback, got the class {given.__name__}.{made}")
    raise TypeError(
        f"callbacks: expected a Callback, or a list of them, got {given!r} of type "
        f"{type(given).__module__}.{type(given).__name__}. A callback of one's own is a subclass of "
        f"ostinato.callbacks.Callback."
    )
