"""Our callbacks and the real Keras ones, told the same: what they decide epoch by epoch."""

import functools
import itertools
import warnings

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ostinato
from ostinato import callbacks

RATE = 0.25


@functools.cache
def _model(module):
    """A small model of either library, made once."""
    model = module.Sequential([module.Input((1,)), module.layers.Dense(1)])
    model.compile(module.optimizers.SGD(RATE), "mse")
    return model


class Side:
    """A model of either library with one callback, and what became of it."""

    def __init__(self, module, callback):
        self.model = _model(module)
        self.model.optimizer.learning_rate = RATE
        self.model.stop_training = False
        self.callback = callback
        self.seen = []
        self.mark(-3)

    def rate(self):
        return float(self.model.optimizer.learning_rate)

    def mark(self, epoch):
        """Weights that tell the epoch."""
        self.model.set_weights([np.full((1, 1), epoch + 1.0), np.full(1, epoch + 0.5)])

    def weights(self):
        return [float(weight.sum()) for weight in self.model.get_weights()]


class Theirs(Side):
    def __init__(self, callback):
        super().__init__(keras, callback)

    def run(self, epochs):
        told = keras.callbacks.CallbackList([self.callback], model=self.model, epochs=len(epochs), verbose=0)
        told.on_train_begin()
        for epoch, logs in enumerate(epochs):
            told.on_epoch_begin(epoch)
            during = self.rate()
            self.mark(epoch)
            logs = dict(logs)
            self.callback.on_epoch_end(epoch, logs)
            self.seen.append((during, self.rate(), self.model.stop_training, sorted(logs)))
            if self.model.stop_training:
                break
        told.on_train_end()
        return self


class Ours(Side):
    def __init__(self, callback):
        super().__init__(ostinato, callback)

    def run(self, epochs):
        told = callbacks.CallbackList([self.callback], model=self.model, params={"epochs": len(epochs), "verbose": 0})
        with told.phase("train") as run:
            for epoch, logs in enumerate(epochs):
                run.epoch_begin(epoch)
                during = self.rate()
                self.mark(epoch)
                logs = dict(logs)
                run.epoch_end(epoch, logs)
                self.seen.append((during, self.rate(), self.model.stop_training, sorted(logs)))
                if self.model.stop_training:
                    break
        return self


def both(name, epochs, times=1, **options):
    """Tell both sides the same, and check that they saw the same."""
    mine, right = Ours(getattr(callbacks, name)(**options)), Theirs(getattr(keras.callbacks, name)(**options))
    for _ in range(times):  # the same callback in several trainings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine.run(epochs)
            right.run(epochs)
        mine.model.stop_training = right.model.stop_training = False
    assert len(mine.seen) == len(right.seen)
    for (d1, r1, *rest1), (d2, r2, *rest2) in zip(mine.seen, right.seen, strict=True):
        np.testing.assert_allclose([d1, r1], [d2, r2], rtol=1e-6)
        assert rest1 == rest2
    assert mine.weights() == right.weights()
    return mine.callback, right.callback


# Losses with plateaus, steps of exactly min_delta, NaN; a value may be missing.
LOSSES = st.one_of(st.sampled_from([0.1 * n for n in range(12)]), st.floats(-2, 2, width=32), st.just(float("nan")))
RUNS = st.lists(
    st.builds(
        lambda loss, val: {"loss": loss, **({} if val is None else {"val_loss": val})}, LOSSES, st.none() | LOSSES
    ),
    max_size=12,
)
DELTAS = st.sampled_from([0, 0.1, -0.1, 1e-4, 0.30000001])
MODES = st.sampled_from(["auto", "min", "max"])


@settings(max_examples=150, deadline=None)
@given(
    epochs=RUNS,
    options=st.fixed_dictionaries(
        {
            "monitor": st.sampled_from(["loss", "val_loss"]),
            "min_delta": DELTAS,
            "patience": st.integers(0, 4),
            "mode": MODES,
            "baseline": st.none() | st.sampled_from([0.0, 0.3, 0.5, 0.8, 5.0]),
            "restore_best_weights": st.booleans(),
            "start_from_epoch": st.integers(0, 4),
        }
    ),
    times=st.integers(1, 2),
)
def test_early_stopping(epochs, options, times):
    mine, right = both("EarlyStopping", epochs, times, **options)
    for name in ("wait", "stopped_epoch", "best_epoch", "patience", "monitor", "baseline", "mode"):
        assert getattr(mine, name) == getattr(right, name)
    np.testing.assert_equal(mine.best, right.best)
    if right.best_weights is None:
        assert mine.best_weights is None
    else:
        for a, b in zip(mine.best_weights.values(), right.best_weights, strict=True):
            np.testing.assert_array_equal(a.numpy(), b)


@settings(max_examples=150, deadline=None)
@given(
    epochs=RUNS,
    options=st.fixed_dictionaries(
        {
            "monitor": st.sampled_from(["loss", "val_loss", "learning_rate"]),
            "mode": st.sampled_from(["min", "max"]),
            "factor": st.sampled_from([0.1, 0.5, 0.0, 0.9]),
            "patience": st.integers(0, 4),
            "min_delta": DELTAS,
            "cooldown": st.integers(0, 3),
            "min_lr": st.sampled_from([0.0, 0.1, RATE, 1.0]),
        }
    ),
    times=st.integers(1, 2),
)
def test_reduce_lr_on_plateau(epochs, options, times):
    mine, right = both("ReduceLROnPlateau", epochs, times, **options)
    for name in ("wait", "cooldown_counter"):
        assert getattr(mine, name) == getattr(right, name)
    assert mine.in_cooldown() == right.in_cooldown()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda epoch, rate: rate / 2 if epoch else rate,
        lambda epoch: 1 / (1 + epoch),
        lambda epoch, rate=7.0: rate * 0.9,
        lambda *args: np.float32(args[1] * 0.5),
        lambda epoch, *, sharp=0.5: sharp,
        lambda epoch, rate: np.float64(epoch),
    ],
)
def test_learning_rate_scheduler(schedule, times):
    both("LearningRateScheduler", [{"loss": 1.0}] * 5, times, schedule=schedule)


@pytest.mark.parametrize(
    "schedule", [lambda epoch: 1, lambda epoch, rate: "0.1", lambda epoch: None, lambda e, r: True]
)
def test_a_schedule_that_gives_no_float(schedule):
    for side in (
        Ours(callbacks.LearningRateScheduler(schedule)),
        Theirs(keras.callbacks.LearningRateScheduler(schedule)),
    ):
        with pytest.raises(ValueError, match="float"):
            side.run([{"loss": 1.0}])


def test_messages(capsys):
    """The same words at the same time."""
    epochs = [{"loss": loss} for loss in (0.5, 0.25, 0.5, 0.75, 1.0)]
    runs = [
        ("EarlyStopping", {"monitor": "loss", "patience": 2, "restore_best_weights": True}),
        ("ReduceLROnPlateau", {"monitor": "loss", "patience": 1, "factor": 0.5, "mode": "min"}),
        ("LearningRateScheduler", {"schedule": lambda epoch: 0.5**epoch}),
    ]
    for name, options in runs:
        printed = []
        for side, module in ((Ours, callbacks), (Theirs, keras.callbacks)):
            side(getattr(module, name)(**options, verbose=1)).run(epochs)
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1] != ""


# -- CSV --------------------------------------------------------------------------------------------------------------

TABLES = {
    "plain": [{"loss": 0.5, "accuracy": 0.25}, {"loss": np.float32(0.1).item(), "accuracy": 1.0}],
    "validated": [{"loss": 0.5, "val_loss": 1e-9}, {"loss": 2.0, "val_loss": float("nan")}],
    "validated later": [{"loss": 0.5}, {"loss": 0.25, "val_loss": 3.0}],
    "more later": [{"loss": 0.5, "val_loss": 1.0}, {"loss": 0.25, "val_loss": 3.0, "f1": 0.5}],
    "less later": [{"loss": 0.5, "f1": 1.0}, {"loss": 0.25}],
    "lists": [{"loss": 0.5, "f1": np.array([0.5, 0.25])}, {"loss": np.array(0.5), "f1": [1, 2]}],
    "strings": [{"loss": 0.5, "note": 'a, "b"'}],
    "odd names": [{"loss": 0.5, "a,b": 1.0, 'c"d': 2.0}],
    "nothing": [],
    "no logs": [{}, {}],
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("there", [None, "", "same"])
def test_csv(tmp_path, table, separator, append, there):
    """Byte by byte, and in a second training with the same callback."""
    files = []
    for side, module in ((Ours, callbacks), (Theirs, keras.callbacks)):
        path = tmp_path / f"{side.__name__}.csv"
        if there == "same":
            side(module.CSVLogger(path, separator)).run(TABLES[table])
        elif there is not None:
            path.write_text(there)
        logger = module.CSVLogger(str(path), separator=separator, append=append)
        side(logger).run(TABLES[table])
        first = path.read_bytes()
        side(logger).run(TABLES[table])
        files.append((first, path.read_bytes()))
    assert files[0] == files[1]


# -- directions -------------------------------------------------------------------------------------------------------


class Metric:
    def __init__(self, name, higher_is_better):
        self.name, self.higher_is_better = name, higher_is_better


class Reported:
    def __init__(self, name, metric):
        self.name, self.metric = name, metric


class Compiled:
    """What compile was given, as a model lists it."""

    name = "compile_metrics"

    def __init__(self, **metrics):
        self.reported = [Reported(name, metric) for name, metric in metrics.items()]


class Model:
    output_names = ("first", "second")

    def __init__(self, *metrics):
        self.metrics = list(metrics)


@pytest.mark.parametrize(
    ("monitor", "mode", "upwards"),
    [
        ("loss", "auto", False),
        ("val_loss", "auto", False),
        ("val_loss", "max", True),
        ("good", "auto", True),
        ("val_good", "auto", True),
        ("val_bad", "auto", False),
        ("val_bad", "max", True),
        ("good", "min", False),
        ("val_first_good", "auto", True),
        ("second_bad", "auto", False),
        ("weighted_good", "auto", True),
        ("first_loss", "auto", False),
        ("val_second_loss", "auto", False),
    ],
)
def test_which_way_is_better(monitor, mode, upwards):
    stopping = callbacks.EarlyStopping(monitor, mode=mode)
    good, bad = Metric("good", True), Metric("bad", False)
    compiled = Compiled(first_good=good, second_bad=bad, weighted_good=good)
    stopping.set_model(Model(good, bad, Metric("none", None), compiled))
    stopping.on_epoch_end(0, {monitor: 1.0})
    stopping.on_epoch_end(1, {monitor: 2.0})
    assert stopping.best == (2.0 if upwards else 1.0)


@pytest.mark.parametrize("monitor", ["none", "val_none", "god", "val_third_good", "my_loss", "val_"])
@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau"])
def test_a_direction_that_nobody_knows(monitor, name):
    callback = getattr(callbacks, name)(monitor)
    callback.set_model(Model(Metric("good", True), Metric("none", None)))
    with pytest.raises(ValueError, match=f"{name}: nothing says whether '{monitor}' should be high or low"):
        callback.on_epoch_end(0, {monitor: 1.0})


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau"])
def test_an_unknown_mode_is_auto_with_a_warning(name):
    with pytest.warns(UserWarning, match=f"{name}: mode 'least' is unknown; going on with 'auto'") as caught:
        callback = getattr(callbacks, name)(mode="least")
    assert callback.mode == "auto"
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau"])
def test_a_number_that_is_not_there_is_told_once(name):
    side = Ours(getattr(callbacks, name)(patience=0))
    for _ in range(2):  # in each training
        with pytest.warns(UserWarning, match=rf"{name}: 'val_loss' is not in the logs.*There are: loss, mae") as caught:
            side.run([{"loss": 1.0, "mae": 2.0}] * 4)
        assert len(caught) == 1
    assert not side.model.stop_training
    with pytest.warns(UserWarning, match="There are: (none|learning_rate)"):
        side.run([{}])


def test_a_factor_that_would_not_reduce():
    for module in (callbacks, keras.callbacks):
        for factor in (1.0, 2):
            with pytest.raises(ValueError, match="factor"):
                module.ReduceLROnPlateau(factor=factor)


def test_arguments_are_keras_arguments():
    def parameters(cls):
        code = cls.__init__.__code__
        names = code.co_varnames[1 : code.co_argcount]
        defaults = cls.__init__.__defaults__ or ()
        return names, defaults

    for name in ("EarlyStopping", "ReduceLROnPlateau", "LearningRateScheduler", "CSVLogger", "LambdaCallback"):
        assert parameters(getattr(callbacks, name)) == parameters(getattr(keras.callbacks, name))
    for name in ("TerminateOnNaN", "TensorBoard", "SwapEMAWeights"):
        if hasattr(callbacks, name):
            assert parameters(getattr(callbacks, name)) == parameters(getattr(keras.callbacks, name))


# -- NaN --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.0, 1e38, float("nan"), float("inf"), -float("inf"), None])
def test_terminate_on_nan(loss, capsys):
    printed = []
    for side, module in ((Ours, callbacks), (Theirs, keras.callbacks)):
        made = side(module.TerminateOnNaN())
        made.callback.set_model(made.model)
        made.callback.on_train_batch_end(3, {"accuracy": 1.0} if loss is None else {"loss": loss})
        printed.append((capsys.readouterr().out, made.model.stop_training))
        strict = module.TerminateOnNaN(raise_error=True)
        if loss is not None and not np.isfinite(loss):
            with pytest.raises(RuntimeError, match="batch 3"):
                strict.on_train_batch_end(3, {"loss": loss})
        else:
            strict.on_train_batch_end(3, {"loss": loss})
    assert printed[0] == printed[1]


def test_best_weights_hold_buffers_and_stay_where_they_are():
    model = ostinato.Sequential([ostinato.Input((2,)), torch.nn.BatchNorm1d(2), ostinato.layers.Dense(1)])
    model.layers[1].register_buffer("passing", torch.zeros(1), persistent=False)
    stopping = callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    wanted = {}
    with callbacks.CallbackList(stopping, model=model).phase("train") as run:
        for epoch, loss in enumerate([3.0, 1.0, 2.0, 2.0]):
            with torch.no_grad():
                for tensor in itertools.chain(model.parameters(), model.buffers()):
                    tensor.copy_(torch.full_like(tensor, epoch + 1))
            run.epoch_end(epoch, {"loss": loss})
            if loss == 1.0:
                wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert stopping.stopped_epoch == 3  # nobody heeded it after 2
    assert model.layers[1].passing == 2.0
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=0)
    assert not any(tensor.requires_grad for tensor in stopping.best_weights.values())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_best_weights_are_restored_after_an_interrupt():
    side = Ours(callbacks.EarlyStopping("loss", restore_best_weights=True, patience=9))
    with (
        pytest.raises(KeyboardInterrupt),
        callbacks.CallbackList(side.callback, model=side.model).phase("train") as run,
    ):
        side.mark(0)
        run.epoch_end(0, {"loss": 1.0})
        side.mark(1)
        run.epoch_end(1, {"loss": 2.0})
        side.mark(2)
        raise KeyboardInterrupt
    assert side.weights() == [1.0, 0.5]
