"""Bad input gets a clear error before anything is computed."""

import copy

import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers, random
from runs import classifier, crossentropy, data, inputs_and_targets, tail_and_head


class Counter(torch.nn.Module):
    """Counts its calls on data."""

    calls = 0

    def forward(self, x):
        self.calls += x.device.type != "meta"
        return x


def refused(model, counter, call, kind, text):
    """`call` raises, and neither computes nor changes anything."""
    before, counted = copy.deepcopy(model.state_dict()), counter.calls
    stream = (random.DEFAULT.seed, random.DEFAULT.counter)
    with pytest.raises(kind, match=text):
        call(model)
    assert counter.calls == counted
    assert stream == (random.DEFAULT.seed, random.DEFAULT.counter)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


X, Y = data()
CALLS = {
    "x is missing": (lambda m: m.fit(y=Y), "x is missing"),
    "y is missing": (lambda m: m.fit(X), "y is missing; compile was given a loss"),
    "y of validation is missing": (lambda m: m.fit(X, Y, validation_data=(X, None)), "y is missing"),
    "lengths": (lambda m: m.fit(X, Y[:-1]), r"all arrays must have the same length, got \[10, 9\]"),
    "width of validation": (
        lambda m: m.fit(X, Y, validation_data=(np.concatenate([X, X], -1), Y)),
        r"validation_data: x has shapes .*, in training .*do not match",
    ),
    "number of inputs of validation": (
        lambda m: m.fit(X, Y, validation_data=([X, X], Y)),
        r"validation_data: x has shapes .*, in training .*do not match",
    ),
    "lengths of validation": (lambda m: m.fit(X, Y, validation_data=(X, Y[:3])), r"validation_data: all arrays"),
    "empty": (lambda m: m.fit(X[:0], Y[:0]), "fit: the arrays are empty"),
    "empty validation": (
        lambda m: m.fit(X, Y, validation_data=(X[:0], Y[:0])),
        "validation_data: the arrays are empty",
    ),
    "two targets": (lambda m: m.fit(X, [Y, Y]), r"expected 1 target\(s\), for the output\(s\) \['head'\]; got 2"),
    "a wrong name": (lambda m: m.fit(X, {"heat": Y}), r"the outputs are \['head'\].*\['heat'\]. Did you mean 'head'\?"),
    "no batch size": (lambda m: m.fit(X, Y, batch_size=0), "batch_size must be a positive whole number, got 0"),
    "negative epochs": (lambda m: m.fit(X, Y, epochs=-1), "epochs must be a whole number, 0 or more, got -1"),
    "half an epoch": (lambda m: m.fit(X, Y, epochs=0.5), "epochs must be a whole number, 0 or more, got 0.5"),
    "validation without targets": (lambda m: m.fit(X, Y, validation_data=X), "y is missing"),
    "validation is four": (
        lambda m: m.fit(X, Y, validation_data=(X, Y, Y, Y)),
        r"validation_data must be \(x, y\), \(x, y, sample_weight\), or a source of batches; got 4",
    ),
    "a seed that is none": (lambda m: m.fit(X, Y, seed="three"), "seed must be a whole number, got 'three'"),
    "verbosity": (lambda m: m.fit(X, Y, verbose=7), "verbose must be 0, 1, 2 or 'auto', got 7"),
    "evaluate without y": (lambda m: m.evaluate(X), "y is missing"),
    "train_on_batch without y": (lambda m: m.train_on_batch(X), "y is missing"),
    "test_on_batch without y": (lambda m: m.test_on_batch(X), "y is missing"),
    "train_on_batch lengths": (lambda m: m.train_on_batch(X, Y[:2]), "same length"),
    "predict nothing": (lambda m: m.predict(X[:0]), "predict: the arrays are empty"),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_data(name):
    counter = Counter()
    model = ostinato.Sequential([ostinato.Input((None, 3)), counter, layers.LSTM(6), layers.Dense(4, name="head")])
    model.compile("sgd", crossentropy())
    call, text = CALLS[name]
    refused(model, counter, call, ValueError, text)


@pytest.mark.parametrize(
    ("y", "text"),
    [
        ([Y], r"expected 2 target\(s\), for the output\(s\) \['first', 'second'\]; got 1"),
        (Y, r"expected 2 target\(s\)"),
        ([Y, Y, Y], r"got 3: \[\(10,\), \(10,\), \(10,\)\]"),
        ({"first": Y}, r"the outputs are \['first', 'second'\], got targets for \['first'\]"),
        ({"first": Y, "secund": Y}, "Did you mean 'second'"),
    ],
)
def test_wrong_targets_for_two_outputs(y, text):
    model = tail_and_head()
    model.compile("sgd", [crossentropy(), "mse"])
    refused(model, Counter(), lambda m: m.fit(inputs_and_targets()[0], y), ValueError, text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"loss": ["mse"]}, r"loss has 1 entries for 2 outputs \['first', 'second'\]"),
        ({"loss": {"thirst": "mse"}}, "loss names 'thirst', which is no output. Did you mean 'first'"),
        ({"loss": "mse", "metrics": {"segond": ["mse"]}}, "metrics names 'segond'.*Did you mean 'second'"),
        ({"loss": "mse", "metrics": [["mse"], ["mse"], ["mse"]]}, "metrics has 3 entries for 2 outputs"),
    ],
)
def test_a_loss_for_no_output(options, text):
    model = tail_and_head()
    model.compile("sgd", **options)
    refused(model, Counter(), lambda m: m.fit(*inputs_and_targets()), ValueError, text)


@pytest.mark.parametrize("what", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_before_compile(what):
    model = ostinato.Sequential([layers.Dense(4)], name="mine")
    with pytest.raises(ValueError, match=rf"Sequential 'mine': call compile\(optimizer, loss\) before {what}\(\)"):
        getattr(model, what)(X, Y)
    assert not model.built


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("sdg", "mse"), "'sdg'.*Did you mean 'sgd'"),
        (("sgd", "mze"), "'mze'.*Did you mean 'mse'"),
        (("sgd", ["mse", "catgorical_crossentropy"]), "Did you mean 'categorical_crossentropy'"),
        (("sgd", {"head": "mze"}), "Did you mean 'mse'"),
        (("sgd", "mse", None, ["acuracy"]), "'acuracy'.*Did you mean 'accuracy'"),
        (("sgd", "mse", None, {"head": ["acuracy"]}), "Did you mean 'accuracy'"),
        (("sgd", "mse", None, "accuracy"), "metrics must be a list, a tuple or a dict, got 'accuracy'"),
        (("sgd", ostinato.losses.MeanSquaredError(reduction="none")), "has reduction 'none'"),
    ],
)
def test_unknown_names_at_compile(arguments, text):
    model = ostinato.Sequential([layers.Dense(4, name="head")])
    with pytest.raises(ValueError, match=text):
        model.compile(*arguments)


def test_nothing_to_train():
    counter = Counter()
    model = classifier(counter)
    model.trainable = False
    refused(model, counter, lambda m: m.fit(X, Y), ValueError, "it has no trainable weights; there is nothing to train")
    assert model.evaluate(X, Y, verbose=0)[0] > 0  # which needs none


def test_no_optimizer():
    counter = Counter()
    model = classifier(counter, optimizer=None)
    refused(model, counter, lambda m: m.fit(X, Y), ValueError, "compile was given no optimizer")


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_an_optimizer_over_other_weights(make):
    counter, other = Counter(), layers.Dense(2)
    other.build((None, 3))
    model = classifier(counter, optimizer=make(other.parameters()))
    refused(model, counter, lambda m: m.fit(X, Y), ValueError, "was made for other parameters than the model's 5")


def test_an_optimizer_of_another_model():
    counter, optimizer = Counter(), ostinato.optimizers.Adam()
    classifier(optimizer=optimizer).fit(X, Y, verbose=0)
    model = classifier(counter, optimizer=optimizer)
    refused(model, counter, lambda m: m.fit(X, Y), ValueError, "that its optimizer was not made for")


def test_an_optimizer_over_the_weights_of_a_model_that_has_none_yet():
    with pytest.raises(ValueError, match=r"LSTM 'lstm.*' is not built: it has no parameters yet"):
        torch.optim.SGD(ostinato.Sequential([layers.LSTM(2)]).parameters())


def test_weights_that_the_optimizer_does_not_know():
    counter = Counter()
    model = classifier(counter)
    model.layers[0].trainable = False
    model.fit(X, Y, verbose=0)
    model.layers[0].trainable = True
    refused(model, counter, lambda m: m.fit(X, Y), ValueError, "Call compile with a new optimizer after adding layers")
    model.compile("sgd", crossentropy())
    model.fit(X, Y, verbose=0)


def test_an_optimizer_that_needs_many_evaluations():
    counter = Counter()
    model = classifier(counter, optimizer=torch.optim.LBFGS)
    refused(model, counter, lambda m: m.fit(X, Y), ValueError, "LBFGS evaluates the model many times a step")


@pytest.mark.parametrize("labels", [Y + 1, Y - 1, np.full(10, 1000)])
def test_labels_out_of_range(labels):
    """Told at the batch that has them, before any weight is changed by it."""
    model = classifier()
    before = model.get_weights()
    low, high = labels.min(), labels.max()
    with pytest.raises(ValueError, match=f"labels must be from 0 to 3; got labels from {low} to {high}"):
        model.fit(X, labels, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (X[:, :, :2], r"LSTM 'lstm.*': .*expected \(batch, time, 3\), got \(10, 5, 2\)"),
        (X[:, :, 0], r"Sequential 'sequential.*': input 'rows' takes \(any, any, 3\), got \(10, 5\)"),
        ([X, X], "Sequential 'sequential.*': expected 1 inputs"),
        ({"rose": X}, r"the data has no \['rows'\]"),
    ],
)
def test_data_of_a_wrong_shape(x, text):
    counter = Counter()
    model = ostinato.Sequential([ostinato.Input((None, 3), name="rows"), layers.LSTM(6), counter, layers.Dense(4)])
    model.compile("sgd", crossentropy())
    refused(model, counter, lambda m: m.train_on_batch(x, Y), ValueError, text)


def test_no_loss_at_all():
    model = classifier()
    model.compile("sgd")
    with pytest.raises(ValueError, match="there is no loss: give compile one, or add_loss in a layer"):
        model.fit(X, Y, verbose=0)


def test_a_loss_that_is_no_tensor():
    class Wrong(layers.Layer):
        def call(self, inputs):
            self.add_loss(0.5)
            return inputs

    with pytest.raises(TypeError, match=r"Wrong 'wrong.*': add_loss takes tensors, got 0.5"):
        Wrong()(torch.zeros(2, 3))


def test_predictions_of_different_shapes():
    model = ostinato.Sequential([ostinato.Input((None, 3)), layers.GRU(4, return_sequences=True)])
    with pytest.raises(ValueError, match=r"predict: .*shapes for a sample, \[\(2, 4\), \(5, 4\)\].*predict_on_batch"):
        model.predict(iter([np.zeros((2, 5, 3)), np.zeros((3, 2, 3))]), verbose=0)


def test_nothing_to_evaluate():
    """No loss of 0, which EarlyStopping would take for the best there is."""
    model = ostinato.Sequential([ostinato.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    batch = np.zeros((2, 3)), np.zeros((2, 1))
    with pytest.raises(ValueError, match="evaluate: the data to evaluate gave no batch"):
        model.evaluate(iter([]), verbose=0)
    with pytest.raises(ValueError, match="fit: the data to evaluate gave no batch"):
        model.fit(*batch, validation_data=iter([batch]), epochs=2, verbose=0)
