"""Callbacks in fit, evaluate and predict: beside the real Keras, and when something raises there."""

import csv

import keras
import numpy as np
import pytest
import torch

import ostinato
from ostinato import callbacks

HOOKS = [name for name in vars(keras.callbacks.Callback) if name.startswith("on_")]
OLDER = ("on_batch_begin", "on_batch_end")


def data(samples=10, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((samples, 3), dtype="float32"), rng.random((samples, 2), dtype="float32")


def models(rate=0.25, **options):
    """The same model in both libraries."""
    made = []
    for module in (ostinato, keras):
        model = module.Sequential(
            [module.Input((3,)), module.layers.Dense(4, activation="tanh"), module.layers.Dense(2)]
        )
        model.compile(module.optimizers.SGD(rate, **options), "mse", metrics=["mae"])
        made.append(model)
    made[0].set_weights(made[1].get_weights())
    return made


def fit_both(make, epochs=6, rate=0.25, validation=True, optimizer=None, **options):
    """Train both with what `make(module)` gives, and compare; the models."""
    ours, theirs = models(rate, **(optimizer or {}))
    histories = []
    for model, module in ((ours, callbacks), (theirs, keras.callbacks)):
        extra = {"validation_data": data(5, seed=1)} if validation else {}
        made = make(module)
        histories.append(
            model.fit(
                *data(), batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=made, **extra, **options
            )
        )
    mine, right = histories
    assert mine.epoch == right.epoch
    assert set(mine.history) == set(right.history)
    for name, values in right.history.items():
        np.testing.assert_allclose(mine.history[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    return ours, theirs


def recorder(module, heard):
    """A callback of either library that writes down each hook, with its arguments."""

    def hook(name):
        if "batch" in name or "epoch" in name:
            return lambda self, number, logs=None: heard.append((name, number, dict(logs or {})))
        return lambda self, logs=None: heard.append((name, None, dict(logs or {})))

    return type("Recorder", (module.Callback,), {name: hook(name) for name in HOOKS if name not in OLDER})()


@pytest.mark.parametrize("validation", [True, False])
def test_hooks_are_called_as_by_keras(validation):
    heard = {}
    ours, theirs = fit_both(
        lambda module: [recorder(module, heard.setdefault(module, []))], epochs=2, validation=validation
    )
    for model, module in ((ours, callbacks), (theirs, keras.callbacks)):
        again = [recorder(module, heard[module])]
        model.evaluate(*data(), batch_size=4, verbose=0, callbacks=again)
        model.predict(data()[0], batch_size=4, verbose=0, callbacks=again)
    mine, right = heard[callbacks], heard[keras.callbacks]
    assert [call[:2] for call in mine] == [call[:2] for call in right]
    for (name, _, a), (_, _, b) in zip(mine, right, strict=True):
        if "predict" in name:
            assert a == {}  # Keras hands the outputs over; they are no numbers
            continue
        assert set(a) == set(b), name
        assert all(type(value) is float for value in a.values())
        for key, value in b.items():
            np.testing.assert_allclose(a[key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("monitor", ["val_loss", "loss", "val_mae"])
@pytest.mark.parametrize("patience", [0, 1, 2])
def test_early_stopping(restore, monitor, patience):
    """With a rate that overshoots, so that there is something to stop."""
    stopped = []

    def make(module):
        stopped.append(
            module.EarlyStopping(monitor, patience=patience, restore_best_weights=restore, min_delta=1e-4, mode="min")
        )
        return stopped[-1:]

    fit_both(make, epochs=12, rate=1.5)
    assert stopped[0].stopped_epoch == stopped[1].stopped_epoch
    assert stopped[0].best_epoch == stopped[1].best_epoch
    np.testing.assert_allclose(stopped[0].best, stopped[1].best, rtol=1e-5)


def test_auto_goes_by_the_metric():
    fit_both(lambda module: [module.EarlyStopping("val_mae", patience=1)], epochs=12, rate=1.5)


def test_learning_rates():
    fit_both(
        lambda module: [
            module.LearningRateScheduler(lambda epoch, rate: rate * 0.8),
            module.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, cooldown=1, min_delta=0.01),
        ],
        epochs=10,
    )


def test_csv(tmp_path):
    paths = {callbacks: tmp_path / "ours.csv", keras.callbacks: tmp_path / "theirs.csv"}
    fit_both(lambda module: [module.CSVLogger(paths[module]), module.ReduceLROnPlateau("val_loss")])
    mine, right = (list(csv.reader(path.read_text().splitlines())) for path in paths.values())
    assert mine[0] == right[0]
    np.testing.assert_allclose(np.array(mine[1:], float), np.array(right[1:], float), rtol=1e-5)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_moving_averages(swap_on_epoch):
    """Validation is by the average, training goes on without it, and it stays in the end."""
    seen = {}

    def make(module):
        return [module.SwapEMAWeights(swap_on_epoch=swap_on_epoch), epoch_weights(module, seen)]

    fit_both(make, optimizer={"use_ema": True, "ema_momentum": 0.75})
    for mine, right in zip(seen[callbacks], seen[keras.callbacks], strict=True):
        for a, b in zip(mine, right, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def epoch_weights(module, seen):
    """A callback of either library that keeps the weights at the end of each epoch."""
    kept = seen.setdefault(module, [])
    callback = module.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(callback.model.get_weights()))
    return callback


def test_directions_of_several_outputs():
    """Each number goes by its metric, each output's loss goes down."""
    x = ostinato.Input((3,))
    model = ostinato.Model(x, [ostinato.layers.Dense(2, name="one")(x), ostinato.layers.Dense(2, name="two")(x)])
    model.compile("sgd", ["mse", "mae"], metrics=[["mse"], ["accuracy"]])
    directions = {"two_loss": "lt", "val_one_loss": "lt", "one_mse": "lt", "val_two_accuracy": "gt", "val_loss": "lt"}
    watching = [callbacks.EarlyStopping(monitor, patience=9) for monitor in directions]
    inputs, targets = data()
    model.fit(
        inputs, [targets, targets], epochs=1, verbose=0, callbacks=watching, validation_data=(inputs, [targets] * 2)
    )
    assert {each.monitor: each.monitor_op.__name__ for each in watching} == directions
    with pytest.raises(ValueError, match="nothing says whether 'one_los' should be high or low"):
        model.fit(inputs, [targets, targets], verbose=0, callbacks=callbacks.EarlyStopping("one_los"))


def test_a_model_that_builds_itself_in_the_first_step():
    """Its optimizer of torch's, or torch's scheduler, cannot be there when training begins."""
    model = ostinato.Sequential([ostinato.layers.Dense(2)])
    model.compile(ostinato.optimizers.SGD(0.5), "mse")
    seen = model.fit(
        *data(),
        epochs=2,
        verbose=0,
        callbacks=[
            callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
            callbacks.EarlyStopping("loss", restore_best_weights=True),
        ],
    )
    assert seen.history["learning_rate"] == [0.25, 0.125]


def test_stopping_within_an_epoch():
    def make(module):
        callback = module.Callback()

        def stop(batch, logs=None):
            callback.model.stop_training = batch == 1

        callback.on_train_batch_end = stop
        return [callback]

    fit_both(make, epochs=3)


def test_nan_ends_training(capsys):
    ours, _ = models()
    x, y = data()
    x[5] = np.nan
    history = ours.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    assert capsys.readouterr().out == "Batch 1: Invalid loss, terminating training\n"
    assert history.epoch == [0]


def test_one_callback_or_a_list_of_lists():
    ours, _ = models()
    heard = []
    for given in (recorder(callbacks, heard), [[recorder(callbacks, heard)]], (recorder(callbacks, heard),)):
        heard.clear()
        ours.fit(*data(), epochs=1, verbose=0, callbacks=given)
        assert heard[0][0] == "on_train_begin"
    with pytest.raises(TypeError, match="It is a class; pass an instance"):
        ours.fit(*data(), verbose=0, callbacks=[callbacks.EarlyStopping])


def test_a_history_of_ones_own():
    ours, _ = models()
    history = callbacks.History()
    assert ours.fit(*data(), epochs=2, verbose=0, callbacks=[history]) is history is ours.history
    assert history.epoch == [0, 1]


def test_added_numbers_are_in_the_history():
    ours, _ = models()
    made = torch.optim.lr_scheduler.ExponentialLR
    history = ours.fit(
        *data(), epochs=3, verbose=0, callbacks=[callbacks.TorchScheduler(lambda optimizer: made(optimizer, 0.5))]
    )
    assert history.history["learning_rate"] == [0.25, 0.125, 0.0625]


class Breaks(ostinato.Sequential):
    """Raises in a call."""

    left = 0
    error = None

    def compute(self, args, kwargs, mask):
        self.left -= 1
        if self.left == 0:
            raise self.error
        return super().compute(args, kwargs, mask)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine")])
@pytest.mark.parametrize("calls", [1, 3, 4, 5, 6, 8])
def test_the_model_raises(error, calls, tmp_path):
    """In training and in validation: everybody ends once, and the model is what it was."""
    model = Breaks([ostinato.Input((3,)), ostinato.layers.Dense(2)])
    model.compile("sgd", "mse")
    model.left, model.error = calls, error
    heard = []
    logger = callbacks.CSVLogger(tmp_path / "log.csv")
    training = model.training
    with pytest.raises(type(error)) as caught:
        model.fit(
            *data(),
            batch_size=4,
            epochs=2,
            verbose=0,
            validation_data=data(5),
            callbacks=[recorder(callbacks, heard), logger],
        )
    assert caught.value is error
    names = [name for name, _, _ in heard]
    assert names.count("on_train_end") == 1 and names[-1] == "on_train_end"
    assert names.count("on_test_end") == names.count("on_test_begin")
    assert logger.csv_file is None
    assert model.training is training


@pytest.mark.parametrize("hook", [name for name in HOOKS if "predict" not in name and name not in OLDER])
def test_a_callback_raises(hook):
    ours, _ = models()
    heard, error = [], RuntimeError("mine")

    def fails(*args, **kwargs):
        raise error

    with pytest.raises(RuntimeError, match="mine") as caught:
        ours.fit(
            *data(),
            batch_size=4,
            verbose=0,
            validation_data=data(5),
            callbacks=[
                recorder(callbacks, heard),
                callbacks.LambdaCallback(**{hook: fails}),
                recorder(callbacks, heard),
            ],
        )
    assert caught.value is error
    names = [name for name, _, _ in heard]
    assert names.count("on_train_end") == names.count("on_train_begin")
    assert names.count("on_test_end") == names.count("on_test_begin")
    ours.fit(*data(), verbose=0)  # and the model goes on
