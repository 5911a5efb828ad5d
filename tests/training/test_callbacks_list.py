"""The list of callbacks: who is told of what, in what order, at what price, and what happens when something raises."""

import itertools
import re
import time
import traceback

import keras
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from ostinato.callbacks import Callback, CallbackList, History, LambdaCallback, ProgressBar
from ostinato.training.callbacks.base import asked, lazy_logs

KINDS = ["train", "test", "predict"]
ALL_HOOKS = [name for name in vars(keras.callbacks.Callback) if name.startswith("on_")]


class Recorder(Callback):
    """Writes down each call of a hook, and raises in those it is told to."""

    def __init__(self, name="a", calls=None, raises=None):
        self.name, self.calls, self.raises = name, [] if calls is None else calls, dict(raises or {})

    def __getattribute__(self, attribute):
        if attribute.startswith("on_") and attribute not in ("on_batch_begin", "on_batch_end"):
            return Told(self, attribute)
        return super().__getattribute__(attribute)

    def _release(self):
        self.calls.append((self.name, "_release"))
        if "_release" in self.raises:
            raise self.raises["_release"]


class Told:
    """One hook of a recorder."""

    def __init__(self, recorder, hook):
        self.recorder, self.hook = recorder, hook

    def __call__(self, *args, **kwargs):
        self.recorder.calls.append((self.recorder.name, self.hook))
        if self.hook in self.recorder.raises:
            raise self.recorder.raises[self.hook]


class Stop(BaseException):
    """Not an Exception, as KeyboardInterrupt."""


def train(callbacks, validation=True, fails=None):
    """A training of two epochs of two batches, each validated on a batch. fails: (place, error) for the loop itself."""
    place, error = fails or (None, None)

    def reach(here):
        if here == place:
            raise error

    with callbacks.phase("train") as run:
        for epoch in range(2):
            run.epoch_begin(epoch)
            for index in range(2):
                run.batch_begin(index)
                reach("batch")
                run.batch_end(index, lambda: {"loss": 1.0})
            logs = {"loss": 1.0}
            if validation:
                with callbacks.phase("test") as test:
                    test.batch_begin(0)
                    reach("validation")
                    test.batch_end(0, lambda: {"loss": 2.0})
                    test.logs = {"loss": 2.0}
                logs["val_loss"] = 2.0
            run.epoch_end(epoch, logs)
            reach("epoch")


# -- who is told ------------------------------------------------------------------------------------------------------


def test_the_hooks_are_keras_hooks():
    ours = [name for name in vars(Callback) if name.startswith("on_")]
    assert sorted(ours) == sorted(ALL_HOOKS)
    for name in (*ours, "set_params", "set_model"):
        mine, theirs = (getattr(cls, name).__code__ for cls in (Callback, keras.callbacks.Callback))
        assert mine.co_varnames[: mine.co_argcount] == theirs.co_varnames[: theirs.co_argcount]
    assert Callback().model is None and Callback().params is None


EPOCH = [
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_test_end",
    "on_epoch_end",
]


def test_the_order_of_calls():
    calls = []
    train(CallbackList([Recorder("a", calls), Recorder("b", calls)]))
    names = ["on_train_begin", *EPOCH, *EPOCH, "on_train_end"]
    assert calls == [(who, name) for name in names for who in "ab"]


def test_a_base_callback_listens_to_no_batch():
    run = CallbackList([Callback(), History(), LambdaCallback(on_epoch_end=print)]).phase("train")
    with run:
        run.batch_begin(0)
        run.batch_end(0, None)  # would be called


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", ["begin", "end"])
def test_a_hook_for_batches_may_be_an_attribute(kind, moment):
    calls = []
    hook = f"on_{kind}_batch_{moment}"
    other = LambdaCallback()
    with CallbackList([LambdaCallback(**{hook: lambda batch, logs: calls.append((batch, logs))}), other]).phase(
        kind
    ) as run:
        run.batch_begin(3)
        run.batch_end(3, lambda: {"loss": 1.0})
    assert calls == [(3, {} if moment == "begin" else {"loss": 1.0})]


@pytest.mark.parametrize("moment", ["begin", "end"])
def test_the_older_names(moment):
    """They are called from the newer ones, which a subclass may have made its own."""
    calls = []

    class Older(Callback):
        pass

    setattr(Older, f"on_batch_{moment}", lambda self, batch, logs=None: calls.append(("older", batch)))

    class Both(Older):
        pass

    def both(self, batch, logs=None):
        calls.append(("newer", batch))
        getattr(super(Both, self), f"on_train_batch_{moment}")(batch, logs)

    setattr(Both, f"on_train_batch_{moment}", both)
    with CallbackList([Older(), Both()]).phase("train") as run:
        run.batch_begin(1)
        run.batch_end(1, dict)
    assert calls == [("older", 1), ("newer", 1), ("older", 1)]
    with CallbackList(Older()).phase("test") as run:
        run.batch_begin(1)
        run.batch_end(1, dict)
    assert len(calls) == 3


def test_a_hook_made_when_training_begins():
    calls = []

    class Late(Callback):
        def on_train_begin(self, logs=None):
            self.on_train_batch_end = lambda batch, logs: calls.append(logs)

    with CallbackList(Late()).phase("train") as run:
        run.batch_end(0, lambda: {"loss": 1.0})
    assert calls == [{"loss": 1.0}]


def test_logs_of_an_epoch_are_shared_and_kept():
    class Adds(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["rate"] = 0.5 + epoch

    ends = []
    history = History()
    callbacks = CallbackList([Adds(), LambdaCallback(on_train_end=ends.append)], defaults=[history])
    train(callbacks)
    assert history.history == {"loss": [1.0, 1.0], "val_loss": [2.0, 2.0], "rate": [0.5, 1.5]}
    assert history.epoch == [0, 1]
    assert ends == [{"loss": 1.0, "val_loss": 2.0, "rate": 1.5}]


def test_logs_of_the_end_of_a_test():
    ends = []
    train(CallbackList(LambdaCallback(on_test_end=ends.append)))
    assert ends == [{"loss": 2.0}, {"loss": 2.0}]


def test_model_and_params_reach_all():
    model = type("Model", (), {})()
    callbacks = [Callback(), Callback()]
    CallbackList(callbacks, model=model, params={"epochs": 3}, defaults=[History()])
    assert all(each.model is model and each.params == {"epochs": 3} for each in callbacks)
    assert model.history.params == {"epochs": 3}


def test_the_model_in_a_distributed_one():
    around = DistributedDataParallel.__new__(DistributedDataParallel)  # making one takes a group of processes
    torch.nn.Module.__init__(around)
    around.module = torch.nn.Linear(1, 1)
    callback = Callback()
    callback.set_model(around)
    assert callback.model is around.module


# -- what is asked for ------------------------------------------------------------------------------------------------


def eager(heard):
    return LambdaCallback(on_train_batch_end=lambda batch, logs: heard.append(logs))


class Lazy(Callback):
    def __init__(self, heard, wanted=True):
        self.heard, self.wanted = heard, wanted

    @lazy_logs
    def on_train_batch_end(self, batch, logs=None):
        if self.wanted:
            self.heard.append(asked(logs))


class Subclassed(Lazy):
    """Knows nothing of functions."""

    def on_train_batch_end(self, batch, logs=None):
        self.heard.append(dict(logs))
        super().on_train_batch_end(batch, logs)


@pytest.mark.parametrize(
    ("make", "asks", "hears"),
    [
        (lambda heard: [Callback()], 0, 0),
        (lambda heard: [LambdaCallback(on_test_batch_end=print, on_train_batch_begin=lambda batch, logs: None)], 0, 0),
        (lambda heard: [eager(heard)], 1, 1),
        (lambda heard: [eager(heard), eager(heard)], 1, 2),
        (lambda heard: [Lazy(heard)], 1, 1),
        (lambda heard: [Lazy(heard, wanted=False)], 0, 0),
        (lambda heard: [Lazy(heard), Lazy(heard)], 1, 2),
        (lambda heard: [Lazy(heard), eager(heard)], 1, 2),
        (lambda heard: [Lazy(heard, wanted=False), Lazy(heard), eager(heard)], 1, 2),
        (lambda heard: [Subclassed(heard)], 1, 2),
    ],
)
def test_numbers_are_computed_once_and_only_if_asked_for(make, asks, hears):
    heard, computed = [], []
    with CallbackList(make(heard)).phase("train") as run:
        for index in range(3):
            run.batch_begin(index)
            run.batch_end(index, lambda: computed.append(1) or {"loss": 0.5})
    assert len(computed) == 3 * asks
    assert heard == [{"loss": 0.5}] * (3 * hears)


def test_nobody_listening_costs_next_to_nothing():
    with CallbackList([Callback(), History()]).phase("train") as run:
        best = min(_seconds(run) for _ in range(20))
    assert best < 1e-6


def _seconds(run, times=1000):
    start = time.perf_counter()
    for index in range(times):
        run.batch_begin(index)
        run.batch_end(index, dict)
    return (time.perf_counter() - start) / times


# -- what is taken ----------------------------------------------------------------------------------------------------


def test_what_is_taken():
    a, b, c = Callback(), Callback(), Callback()
    assert CallbackList().callbacks == CallbackList(None).callbacks == CallbackList([]).callbacks == []
    assert CallbackList(a).callbacks == [a]
    assert CallbackList((a, [b, (c,)])).callbacks == [a, b, c]
    assert CallbackList(CallbackList([a, b])).callbacks == [a, b]
    given = [a]
    assert CallbackList(given, defaults=[b]).callbacks == [a]  # of the same class
    assert CallbackList(given, defaults=[History()]).callbacks != given == [a]


def test_defaults_come_last_unless_they_are_there():
    mine, bar = History(), ProgressBar(0)
    callbacks = CallbackList([mine, Callback()], defaults=[History(), bar])
    assert callbacks.find(History) is mine
    assert callbacks.callbacks[2:] == [bar]
    assert callbacks.find(ProgressBar) is bar and callbacks.find(Recorder) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (History, "got the class History. It is a class; pass an instance: History(...)"),
        ([Callback(), Callback], "It is a class; pass an instance: Callback(...)"),
        (int, "got the class int."),
        ("early", "got 'early' of type builtins.str"),
        ([print], "of type builtins.builtin_function_or_method"),
        ({"a": 1}, "got {'a': 1}"),
        (0, "got 0 of type builtins.int"),
        ([None, 3.5], "got 3.5"),
        (keras.callbacks.TerminateOnNaN(), "a subclass of ostinato.callbacks.Callback"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        CallbackList(given)


@pytest.mark.parametrize("kind", ["fit", "", None, 1])
def test_unknown_phases(kind):
    with pytest.raises(ValueError, match=re.escape(f"got {kind!r}")):
        CallbackList().phase(kind)


# -- what raises ------------------------------------------------------------------------------------------------------

RAISING = ["on_train_begin", *dict.fromkeys(EPOCH), "on_train_end"]
ERRORS = [ValueError, KeyboardInterrupt, Stop]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("hook", RAISING)
def test_a_callback_raises(hook, position, kind):
    calls, error = [], kind("mine")
    recorders = [Recorder(name, calls, {hook: error} if i == position else {}) for i, name in enumerate("abc")]
    callbacks = CallbackList(recorders)
    with pytest.raises(kind) as caught:
        train(callbacks)
    assert caught.value is error
    assert not getattr(error, "__notes__", [])
    _check_ends(calls, "abc", "abc"[position], hook)
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-1] == "__call__" and frames.count("__call__") == 1
    calls.clear()
    for each in recorders:
        each.raises.clear()
    train(callbacks)  # the failure is forgotten: everybody is told of everything again
    assert len(calls) == 3 * (2 * len(EPOCH) + 2)


def _check_ends(calls, names, culprit, hook):
    """Each callback that had begun ended once, the culprit excepted, and nothing else came after the error."""
    where = calls.index((culprit, hook))
    before, after = calls[:where], calls[where + 1 :]
    for name in names:
        for kind in ("train", "test"):
            begin, end = (name, f"on_{kind}_begin"), (name, f"on_{kind}_end")
            open_before = before.count(begin) - before.count(end)
            if name != culprit:
                begun_now = after.count(begin)
                assert begun_now == 0, "nobody begins after an error"
                assert after.count(end) == open_before
            else:
                assert end not in after
    assert {name for name, _ in after} <= set(names)
    assert {told for _, told in after} <= {"on_train_end", "on_test_end", "_release"}
    assert (culprit, "_release") in after or hook == "on_train_end"


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("place", ["batch", "validation", "epoch"])
def test_the_model_or_the_data_raises(place, kind):
    calls, error = [], kind("mine")
    with pytest.raises(kind) as caught:
        train(CallbackList([Recorder(name, calls) for name in "ab"]), fails=(place, error))
    assert caught.value is error
    ends = [("a", "on_train_end"), ("b", "on_train_end")]
    tests = [("a", "on_test_end"), ("b", "on_test_end")] if place == "validation" else []
    assert calls[-len(tests + ends) :] == tests + ends
    assert [call for call in calls if call[1] == "on_train_end"] == ends
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-1] == "reach" and "__exit__" not in frames


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", range(3))
def test_the_others_end_if_an_end_hook_raises(kind, position):
    calls, hook = [], f"on_{kind}_end"
    error = OSError("full")
    recorders = [Recorder(name, calls, {hook: error} if i == position else {}) for i, name in enumerate("abc")]
    with pytest.raises(OSError, match="full") as caught, CallbackList(recorders).phase(kind):
        calls.clear()
    assert caught.value is error
    assert calls == [("a", hook), ("b", hook), ("c", hook)]


def test_further_errors_are_noted():
    first, second, third = ValueError("first"), OSError("second"), KeyboardInterrupt("third")
    recorders = [
        Recorder("a", raises={"on_test_end": second}),
        Recorder("b", raises={"on_train_end": third, "_release": RuntimeError("never")}),
        Recorder("c"),
        Recorder("d", raises={"on_test_batch_begin": first, "_release": RuntimeError("fourth")}),
    ]
    with pytest.raises(ValueError, match="first") as caught:
        train(CallbackList(recorders))
    assert caught.value is first
    notes = first.__notes__
    assert [note.splitlines()[0] for note in notes] == [
        "Then Recorder.on_test_end raised as well:",
        "Then Recorder._release raised as well:",
        "Then Recorder.on_train_end raised as well:",
        "Then Recorder._release raised as well:",
    ]
    assert [note.splitlines()[-1] for note in notes] == [
        "OSError: second",
        "RuntimeError: fourth",
        "KeyboardInterrupt: third",
        "RuntimeError: fourth",
    ]
    assert all("in __call__" in note or "_release" in note for note in notes)  # with its traceback
    assert ("c", "on_train_end") in recorders[2].calls and ("c", "on_test_end") in recorders[2].calls


def test_errors_of_an_ordinary_end_are_noted_on_the_first():
    first, second = ValueError("first"), OSError("second")
    recorders = [Recorder("a", raises={"on_train_end": first}), Recorder("b", raises={"on_train_end": second})]
    with pytest.raises(ValueError, match="first") as caught, CallbackList(recorders).phase("train"):
        pass
    assert caught.value.__notes__[0].splitlines()[0] == "Then Recorder.on_train_end raised as well:"
    assert caught.value.__notes__[0].splitlines()[-1] == "OSError: second"


def test_the_same_error_raised_again_at_the_end_is_not_noted_on_itself():
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        train(CallbackList(Recorder("a", raises={"on_train_end": error})), fails=("batch", error))
    assert not getattr(caught.value, "__notes__", [])


def test_the_logs_of_a_failed_run():
    ends = []
    callbacks = CallbackList(LambdaCallback(on_train_end=ends.append, on_test_end=ends.append))
    with pytest.raises(ValueError, match="mine"):
        train(callbacks, validation=False, fails=("epoch", ValueError("mine")))
    assert ends == [{"loss": 1.0}]
    ends.clear()
    with pytest.raises(ValueError, match="mine"):
        train(callbacks, fails=("validation", ValueError("mine")))
    assert ends == [{}, {}]


def test_every_hook_that_can_raise_was_tried():
    told = {name for name in ALL_HOOKS if "predict" not in name}
    assert told - {"on_batch_begin", "on_batch_end"} == set(RAISING)
    assert len(list(itertools.product(RAISING, range(3), ERRORS))) == 90
