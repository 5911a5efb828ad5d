"""Models that train, test and predict in a way of their own: as Keras's guides write them, beside real Keras."""

import keras
import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers
from runs import data, same_weights

X, Y = data(12)
TARGETS = X.sum((1, 2))[:, None]


def guide_step(library):
    """The step of Keras's guide "Customizing what happens in fit with PyTorch"."""

    class Own(library.Model):
        def train_step(self, data):
            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
            loss.backward()
            trainable_weights = list(self.trainable_weights)
            gradients = [v.value.grad for v in trainable_weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, trainable_weights)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    return Own


def low_level_step(library):
    """The same guide, going lower: losses and metrics of the model's own, and a list of them."""

    class Own(library.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.loss_tracker = library.metrics.Mean(name="loss")
            self.mae_metric = library.metrics.MeanAbsoluteError(name="mae")
            self.loss_fn = library.losses.MeanSquaredError()

        def train_step(self, data):
            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.loss_fn(y, y_pred)
            loss.backward()
            trainable_weights = list(self.trainable_weights)
            gradients = [v.value.grad for v in trainable_weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, trainable_weights)
            self.loss_tracker.update_state(loss)
            self.mae_metric.update_state(y, y_pred)
            return {"loss": self.loss_tracker.result(), "mae": self.mae_metric.result()}

        @property
        def metrics(self):
            return [self.loss_tracker, self.mae_metric]

    return Own


def weighted_step(library):
    class Own(library.Model):
        def train_step(self, data):
            x, y, sample_weight = data if len(data) == 3 else (*data, None)
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred, sample_weight=sample_weight)
            loss.backward()
            trainable_weights = list(self.trainable_weights)
            with torch.no_grad():
                self.optimizer.apply([v.value.grad for v in trainable_weights], trainable_weights)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred, sample_weight=sample_weight)
            return {m.name: m.result() for m in self.metrics}

        def test_step(self, data):
            x, y = data
            y_pred = self(x, training=False)
            loss = self.compute_loss(y=y, y_pred=y_pred)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    return Own


def own_loss(library):
    class Own(library.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            penalty = 0.1 * (y_pred**2).mean()
            return ((y - y_pred) ** 2).mean() + (penalty if training else 0 * penalty)

    return Own


def own_loss_around(library):
    class Own(library.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
            return loss + 0.1 * (y_pred**2).mean()

    return Own


def own_metrics(library):
    class Own(library.Model):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            results = super().compute_metrics(x, y, y_pred, sample_weight)
            return {**results, "largest": abs(y - y_pred).max()}

    return Own


def around(library):
    """Steps that call what they replace."""

    class Own(library.Model):
        def train_step(self, data):
            return {f"my_{name}": value for name, value in super().train_step(data).items()}

        def test_step(self, data):
            return {**super().test_step(data), "two": 2.0}

        def predict_step(self, data):
            return super().predict_step(data) + 1

    return Own


STEPS = {
    "the guide's": (guide_step, {}),
    "the guide's, lower": (low_level_step, {}),
    "with weights": (weighted_step, {"sample_weight": np.linspace(0.2, 2, 12, dtype="float32")}),
    "a loss of its own": (own_loss, {}),
    "a loss around": (own_loss_around, {}),
    "metrics of its own": (own_metrics, {}),
}


def made(library, step):
    x = library.Input((None, 3))
    h = library.layers.LSTM(4, kernel_constraint="max_norm")(x)
    return step(library)(x, library.layers.Dense(1)(h))


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(
    "optimizer",
    [("SGD", {"learning_rate": 0.05}), ("Adam", {"learning_rate": 0.05, "epsilon": 1e-3})],
    ids=["SGD", "Adam"],
)
def test_steps_of_ones_own_agree_with_keras(name, optimizer):
    step, options = STEPS[name]
    ours, theirs = made(ostinato, step), made(keras, step)
    theirs.set_weights(ours.get_weights())
    start = ours.get_weights()
    histories = []
    for library, model in ((ostinato, ours), (keras, theirs)):
        model.compile(getattr(library.optimizers, optimizer[0])(**optimizer[1]), "mse", metrics=["mae"])
        histories.append(model.fit(X, TARGETS, batch_size=5, epochs=3, shuffle=False, verbose=0, **options).history)
    mine, right = histories
    assert sorted(mine) == sorted(right)
    for key, values in right.items():
        np.testing.assert_allclose(mine[key], values, rtol=1e-5, err_msg=key)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert not np.allclose(ours.get_weights()[0], start[0])
    if "metrics" in vars(type(ours)):
        return  # evaluate, which is Keras's, does not know them: there it gives 0, here what compile was given
    evaluated = [model.evaluate(X, TARGETS, batch_size=5, verbose=0, return_dict=True) for model in (ours, theirs)]
    assert evaluated[0] == pytest.approx(evaluated[1], rel=1e-5)


def test_steps_around_the_librarys():
    plain, own = same_weights(made(ostinato, lambda library: library.Model), made(ostinato, around))
    for model in (plain, own):
        model.compile("sgd", "mse", metrics=["mae"])
    right = plain.fit(X, TARGETS, shuffle=False, verbose=0, validation_data=(X, TARGETS)).history
    mine = own.fit(X, TARGETS, shuffle=False, verbose=0, validation_data=(X, TARGETS)).history
    assert sorted(mine) == ["my_loss", "my_mae", "val_loss", "val_mae", "val_two"]
    assert mine["my_loss"] == pytest.approx(right["loss"]) and mine["val_mae"] == pytest.approx(right["val_mae"])
    np.testing.assert_allclose(own.predict(X, verbose=0), plain.predict(X, verbose=0) + 1, rtol=1e-6)
    np.testing.assert_allclose(own.predict_on_batch(X), plain.predict_on_batch(X) + 1, rtol=1e-6)
    assert own.test_on_batch(X, TARGETS, return_dict=True)["two"] == 2


def test_a_model_that_makes_up_its_own_targets():
    class Autoencoder(ostinato.Model):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = layers.LSTM(6, return_sequences=True), layers.Dense(3)

        def call(self, inputs):
            return self.outer(self.inner(inputs))

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return ((x - y_pred) ** 2).mean()

    model = Autoencoder()
    model.compile(ostinato.optimizers.Adam(0.01))
    history = model.fit(X, epochs=30, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]
    assert model.evaluate(X, verbose=0) == pytest.approx(((X - model.predict(X, verbose=0)) ** 2).mean(), rel=1e-5)


def test_metrics_as_attributes_start_anew_each_epoch_and_are_no_layers():
    model = made(ostinato, low_level_step)
    model.compile("sgd")
    model.fit(X, TARGETS, epochs=2, verbose=0, batch_size=4)
    assert [type(layer).__name__ for layer in model.layers] == ["InputLayer", "LSTM", "Dense"]
    assert float(model.mae_metric.count) == 12
    assert all("metric" not in name and "tracker" not in name for name in model.state_dict())
    model.summary(print_fn=lambda text: None)


def test_a_step_must_return_numbers_by_name():
    class Silent(ostinato.Model):
        def train_step(self, data):
            return None

    model = made(ostinato, lambda library: Silent)
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match=r"must return a dict of numbers by name.*got NoneType"):
        model.fit(X, TARGETS, verbose=0)


def test_parts_of_a_step_ask_for_compile():
    model = made(ostinato, lambda library: library.Model)
    for call in (
        lambda: model.train_step((X, TARGETS)),
        lambda: model.test_step((X, TARGETS)),
        lambda: model.compute_loss(y=TARGETS, y_pred=TARGETS),
        lambda: model.compute_metrics(None, TARGETS, TARGETS),
    ):
        with pytest.raises(ValueError, match="call compile"):
            call()


class Counted(ostinato.metrics.Metric):
    """A metric of several numbers."""

    def __init__(self, name="signs", dtype=None):
        super().__init__(name, dtype)
        self.add_state("seen", torch.zeros(2), dist_reduce_fx="sum")

    def update_state(self, y_true, y_pred, sample_weight=None, mask=None):
        self.seen += torch.stack([(y_pred < 0).sum(), (y_pred >= 0).sum()])

    def result(self):
        return self.seen


def test_metrics_of_several_numbers(capsys):
    model = made(ostinato, lambda library: library.Model)
    model.compile("sgd", "mse", metrics=[Counted()])
    history = model.fit(X, TARGETS, epochs=2, verbose=2).history["signs"]
    assert [each.sum() for each in history] == [12, 12] and history[0].shape == (2,)
    assert "signs" in capsys.readouterr().out
