"""Models and data of every kind go through fit, evaluate and predict."""

import copy
import math

import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers
from ostinato.recurrence.nests import flatten
from runs import classifier, crossentropy, data, identity, inputs_and_targets, same_weights, tail_and_head


class Own(ostinato.Model):
    """With a call of its own, a training flag, and a plain torch module."""

    def __init__(self):
        super().__init__()
        self.recurrent = layers.GRU(5)
        self.head = layers.Dense(4)
        self.modes = []

    def call(self, inputs, training=False):
        self.modes.append(training)
        return self.head(self.recurrent(inputs))


def test_a_subclassed_model():
    model, (x, y) = Own(), data()
    model.compile("adam", crossentropy(), metrics=["accuracy"])
    assert not model.recurrent.built
    history = model.fit(x, y, batch_size=5, epochs=20, validation_data=(x, y), verbose=0)
    assert model.recurrent.built
    assert model.modes[:5] == [False, True, True, False, False]  # the first call is the one that builds
    assert history.history["loss"][-1] < history.history["loss"][0]
    direct = model(torch.from_numpy(x), training=False)
    np.testing.assert_allclose(model.predict(x, batch_size=3, verbose=0), direct.detach(), rtol=1e-6, atol=1e-6)


def test_unbuilt_models_are_built_by_the_first_batch():
    x, y = data()
    unbuilt = ostinato.Sequential([layers.LSTM(6), layers.Dense(4)])
    unbuilt.compile("sgd", crossentropy(), metrics=["accuracy"])
    unbuilt.fit(x, y, batch_size=4, seed=5, verbose=0)
    again = ostinato.Sequential([layers.LSTM(6), layers.Dense(4)])
    again.compile("sgd", crossentropy(), metrics=["accuracy"])
    again.fit(x, y, batch_size=4, seed=5, verbose=0)
    for mine, right in zip(unbuilt.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, right)  # the seed governs first weights too
    assert [weight.shape for weight in unbuilt.weights] == [(3, 24), (6, 24), (24,), (6, 4), (4,)]


@pytest.mark.parametrize("make", [Own, lambda: ostinato.Sequential([layers.LSTM(6), layers.Dense(4)])])
def test_unbuilt_models_predict_and_evaluate(make):
    x, y = data()
    model = make()
    assert model.predict(x, verbose=0).shape == (10, 4)
    model = make()
    model.compile("sgd", crossentropy())
    assert model.evaluate(x, y, verbose=0) == pytest.approx(math.log(4), abs=0.5)


def test_a_model_in_double_precision():
    model, (x, y) = classifier().double(), data()
    model.fit(x, y, verbose=0)
    assert all(weight.dtype is torch.float64 for weight in model.weights)
    assert model.predict(x, verbose=0).dtype == np.float64


@pytest.mark.parametrize("arrange", [lambda x: x, lambda x: [x["a"], x["b"]], lambda x: (x["a"], x["b"])])
def test_nests_of_inputs_and_targets(arrange):
    """As they were drawn, or in order (of the sorted names, which is that of the inputs)."""
    (x, y), model = inputs_and_targets(), tail_and_head()
    model.compile("adam", [crossentropy(), "mse"])
    history = model.fit(arrange(x), y, batch_size=4, epochs=2, validation_data=(arrange(x), y), verbose=0)
    assert list(history.history)[:3] == ["loss", "first_loss", "second_loss"]
    for losses in zip(*(history.history[name] for name in ("loss", "first_loss", "second_loss")), strict=True):
        assert losses[0] == pytest.approx(losses[1] + losses[2], rel=1e-6)
    first, rest = model.predict(arrange(x), batch_size=3, verbose=0)
    direct = model(arrange({name: torch.from_numpy(value) for name, value in x.items()}), training=False)
    assert isinstance(rest, dict)
    for mine, right in zip(flatten([first, rest]), flatten(direct), strict=True):
        np.testing.assert_allclose(mine, right.detach(), rtol=1e-6, atol=1e-6)
    on_batch = model.predict_on_batch(arrange(x))
    np.testing.assert_allclose(on_batch[1]["second"], rest["second"], rtol=1e-6, atol=1e-6)


def test_predictions_keep_the_structure_and_the_order_of_samples():
    class Many(ostinato.Model):
        def call(self, inputs):
            return {"z": inputs + 1, "a": (inputs * 2, [inputs.bool()])}

    x = np.arange(7.0, dtype=np.float32)[:, None]
    found = Many().predict(x, batch_size=3, verbose=0)
    assert list(found) == ["z", "a"] and isinstance(found["a"], tuple) and isinstance(found["a"][1], list)
    np.testing.assert_array_equal(found["z"], x + 1)
    np.testing.assert_array_equal(found["a"][0], x * 2)
    assert found["a"][1][0].dtype == np.bool_ and found["a"][1][0].sum() == 6


def test_targets_and_outputs_by_name():
    model = tail_and_head()
    model.compile("sgd", {"second": "mse", "first": crossentropy()}, metrics={"first": ["accuracy"]})
    inputs, (first, second) = inputs_and_targets()
    history = model.fit(inputs, {"first": first, "second": second["second"]}, verbose=0)
    assert list(history.history) == ["loss", "first_loss", "second_loss", "first_accuracy"]
    model.compile("sgd", {"first": crossentropy()})
    assert list(model.fit(inputs, {"first": first}, verbose=0).history) == ["loss"]


def test_a_stateful_model_goes_on_from_batch_to_batch():
    """Two contiguous batches give what the whole sequence gives, in predict, and in fit the same last state."""
    rng = np.random.default_rng(1)
    whole = rng.random((4, 10, 3), dtype=np.float32)
    x = np.concatenate([whole[:, :5], whole[:, 5:]])  # the second batch goes on where the first ended

    def make(stateful):
        model = ostinato.Sequential(
            [
                ostinato.Input(batch_shape=(4, None, 3) if stateful else (None, None, 3)),
                layers.LSTM(6, stateful=stateful, return_sequences=True),
                layers.Dense(2),
            ]
        )
        model.compile(ostinato.optimizers.SGD(0.0), "mse")
        return model

    model, plain = same_weights(make(True), make(False))
    expected = plain.predict(whole, verbose=0)
    model.reset_states()
    found = model.predict(x, batch_size=4, verbose=0)
    np.testing.assert_allclose(np.concatenate([found[:4], found[4:]], 1), expected, rtol=1e-5, atol=1e-6)
    state = [each.clone() for each in model.layers[0].states]
    model.reset_states()
    history = model.fit(x, np.zeros((8, 5, 2)), batch_size=4, shuffle=False, verbose=0)
    for mine, right in zip(model.layers[0].states, state, strict=True):
        torch.testing.assert_close(mine, right)
        assert not mine.requires_grad
    assert history.history["loss"] == pytest.approx([np.square(expected).mean()], rel=1e-5)


class Costly(layers.Layer):
    def call(self, inputs):
        self.add_loss(inputs.square().mean())
        self.add_loss([inputs.sum(), inputs.abs()])  # several, and one that is no scalar
        return inputs


def test_added_losses_and_activity_regularizers_count():
    x = np.array([[1.0, -2.0], [3.0, 0.0]], np.float32)
    dense = layers.Dense(2, kernel_initializer=identity, activity_regularizer=ostinato.regularizers.L1(0.1))
    model = ostinato.Sequential([Costly(), dense])
    model.compile(ostinato.optimizers.SGD(0.0), "mse", metrics=["mse"])
    expected = 14 / 4 + 2 + 6 + 0.1 * 6 / 2  # the last, as in Keras, is divided by the batch
    for history in (model.fit(x, x, verbose=0).history, model.evaluate(x, x, verbose=0, return_dict=True)):
        assert history["loss"] == pytest.approx([expected] if isinstance(history["loss"], list) else expected)
        assert history["mse"] == pytest.approx([0.0] if isinstance(history["mse"], list) else 0.0)


def test_a_model_may_have_no_other_losses_and_no_targets():
    class Small(layers.Layer):
        def build(self, input_shape):
            self.w = self.add_weight(shape=(3,), initializer="ones", name="w")

        def call(self, inputs):
            self.add_loss(self.w.square().sum())
            return inputs * self.w

    model = ostinato.Sequential([Small()])
    model.compile(ostinato.optimizers.SGD(0.25))
    assert model.fit(np.ones((4, 3)), epochs=2, verbose=0).history == {"loss": [3.0, 0.75]}
    assert model.evaluate(np.ones((4, 3)), verbose=0) == pytest.approx(3 / 16)


def test_a_loss_that_calls_layers_of_its_own():
    """What layers of the model added is not forgotten for it."""
    other = layers.Dense(2, kernel_initializer=identity)

    def perceptual(y_true, y_pred):
        return (other(y_true) - other(y_pred)).square().mean(-1)

    model = ostinato.Sequential([layers.Dense(2, kernel_initializer=identity), Costly()])
    x = np.array([[1.0, -2.0], [3.0, 0.0]], np.float32)
    model.compile(ostinato.optimizers.SGD(0.0), perceptual)
    assert model.fit(x, x, verbose=0).history["loss"] == pytest.approx([14 / 4 + 2 + 6])


def test_training_may_be_stopped():
    class Stops(torch.nn.Module):
        calls = 0

        def forward(self, inputs):
            self.calls += 1
            if self.calls == 4:
                model.stop_training = True
            return inputs

    stops = Stops()
    stops.calls = -100  # a model being drawn is no training
    model, (x, y) = classifier(stops), data(9)
    stops.calls = 0
    history = model.fit(x, y, batch_size=3, epochs=5, verbose=0)
    assert stops.calls == 4  # the first epoch and one batch
    assert history.epoch == [0, 1]
    assert len(model.fit(x, y, epochs=2, verbose=0).epoch) == 2  # the next run begins anew


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), lambda x: {"rows": x}], ids=["list", "tuple", "dict"])
@pytest.mark.parametrize("drawn", [False, True], ids=["sequential", "drawn"])
def test_the_only_input_may_stand_in_a_nest(wrap, drawn):
    (x, y), start = data(), ostinato.Input((None, 3), name="rows")
    if drawn:
        model = ostinato.Model(start, layers.Dense(4, name="head")(layers.LSTM(6)(start)))
    else:
        model = ostinato.Sequential([start, layers.LSTM(6), layers.Dense(4, name="head")])
    model.compile("sgd", crossentropy())
    np.testing.assert_array_equal(model.predict(wrap(x), verbose=0), model.predict(x, verbose=0))
    loss = model.evaluate(x, y, verbose=0)
    for target in ([y], (y,), {"head": y}):
        assert model.evaluate(wrap(x), target, verbose=0) == loss


def test_a_sequential_gives_its_input_a_missing_last_axis():
    """As a drawn model does."""
    model = ostinato.Sequential([ostinato.Input((None, 1)), layers.LSTM(3)])
    x = data()[0][:, :, 0]
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(x[..., None], verbose=0))
    with pytest.raises(ValueError, match=r"input 'input.*' takes \(any, any, 1\), got \(10, 5, 1, 1\)"):
        model.predict(x[..., None, None], verbose=0)


def test_under_autocast():
    """As a plain loop under autocast, bit for bit."""
    (x, y), (model, twin) = data(), same_weights(classifier(), classifier())
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.5)
    model.compile(ostinato.optimizers.SGD(0.5), crossentropy())
    with torch.autocast("cpu", torch.bfloat16):
        model.fit(x, y, shuffle=False, verbose=0)
        logits = twin(torch.from_numpy(x), training=True)
        assert logits.dtype is torch.bfloat16
        torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(y)).backward()
        optimizer.step()
    for mine, right in zip(model.parameters(), twin.parameters(), strict=True):
        assert mine.dtype is torch.float32 and torch.equal(mine, right)


def test_a_copy_trains_on_by_itself():
    """With the optimizer's state, and without changing the model that it is a copy of."""
    x, y = data()
    model = classifier(optimizer="adam")
    model.fit(x, y, shuffle=False, verbose=0)
    twin = copy.deepcopy(model)
    before = model.get_weights()
    history = twin.fit(x, y, shuffle=False, verbose=0).history
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.fit(x, y, shuffle=False, verbose=0).history == history
    for mine, right in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, right)
