"""`jit_compile=True`: forward, loss and backward through torch.compile, with the numbers of the eager step."""

import copy

import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers, random
from ostinato.training import step
from runs import crossentropy

RNG = np.random.default_rng(0)
X = RNG.random((20, 6, 4), dtype=np.float32)
X[:, 4:][::2] = 0  # padding, for those who mask it
WORDS = np.where(np.arange(6) < RNG.integers(1, 7, 20)[:, None], RNG.integers(1, 9, (20, 6)), 0)
Y = RNG.integers(0, 3, 20)


class Subclassed(ostinato.Model):
    def __init__(self):
        super().__init__()
        self.rnn = layers.Bidirectional(layers.LSTM(4))
        self.norm, self.out = layers.BatchNormalization(), layers.Dense(3)

    def call(self, inputs):
        h = self.rnn(inputs)
        self.add_loss(0.1 * (h**2).mean())
        return self.out(self.norm(h))


class OwnLoss(ostinato.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + 0.1 * (y_pred**2).mean() if training else loss


def own_loss():
    x = ostinato.Input((None, 4))
    return OwnLoss(x, layers.Dense(3)(layers.GRU(4)(x)))


class Leaky(layers.Layer):
    """A cell of one's own, which the loop over time runs."""

    state_size = 4

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")
        self.recurrent = self.add_weight(shape=(4, 4), name="recurrent")

    def call(self, inputs, states):
        h = 0.5 * states[0] + torch.tanh(inputs @ self.kernel + states[0] @ self.recurrent)
        return h, [h]


def two_outputs():
    x = ostinato.Input((None, 4))
    h = layers.GRU(4, dropout=0.3)(layers.Masking()(x))
    return ostinato.Model(x, {"a": layers.Dense(3, name="a")(h), "b": layers.Dense(1, name="b")(h)})


MODELS = {
    "tags under masks": (
        lambda: ostinato.Sequential(
            [
                ostinato.Input((None,)),
                layers.Embedding(9, 4, mask_zero=True),
                layers.LSTM(5, return_sequences=True, dropout=0.2, recurrent_dropout=0.2, kernel_regularizer="l2"),
                layers.Dropout(0.2),
                layers.Dense(3, activation="softmax", activity_regularizer="l1", kernel_constraint="max_norm"),
            ]
        ),
        (WORDS, WORDS % 3),
        {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
        {"sample_weight": RNG.random((20, 6), dtype=np.float32)},
    ),
    "subclassed": (Subclassed, (X, Y), {"loss": crossentropy(), "metrics": ["accuracy"]}, {"class_weight": {0: 2.0}}),
    "a loss of its own": (own_loss, (X, Y), {"loss": crossentropy(), "metrics": ["accuracy"]}, {}),
    "two outputs": (
        two_outputs,
        (X, {"a": Y, "b": Y / 3}),
        {
            "loss": {"a": crossentropy(), "b": "mse"},
            "loss_weights": {"b": 0.2},
            "metrics": {"a": "accuracy", "b": "mae"},
        },
        {},
    ),
    "stateful": (
        lambda: ostinato.Sequential(
            [ostinato.Input(batch_shape=(5, 6, 4)), layers.LSTM(4, stateful=True), layers.Dense(3)]
        ),
        (X, Y),
        {"loss": crossentropy()},
        {},
    ),
    "a cell of one's own": (
        lambda: ostinato.Sequential([layers.RNN(Leaky()), layers.Dense(3)]),
        (X, Y),
        {"loss": crossentropy(), "weighted_metrics": ["accuracy"]},
        {"sample_weight": RNG.random(20, dtype=np.float32)},
    ),
}


def both(name):
    """The model twice, eager and compiled, with the same weights; its data, and the options of fit."""
    make, (x, y), compiled, options = MODELS[name]
    eager = make()
    eager(x[:5], training=False)
    eager.reset_states()
    fast = copy.deepcopy(eager)
    for model in (eager, fast):
        model.compile(ostinato.optimizers.Adam(0.01, epsilon=1e-4), **compiled, jit_compile=model is fast)
    return eager, fast, x, y, options


def assert_same_runs(name):
    eager, fast, x, y, options = both(name)
    runs = []
    for model in (eager, fast):
        history = model.fit(
            x, y, batch_size=5, epochs=2, shuffle=False, verbose=0, seed=3, validation_data=(x, y), **options
        ).history
        runs.append((history, model.predict(x, batch_size=5, verbose=0), random.DEFAULT.counter))
    assert sorted(runs[0][0]) == sorted(runs[1][0]) and runs[0][2] == runs[1][2]
    for key, values in runs[0][0].items():
        np.testing.assert_allclose(runs[1][0][key], values, rtol=1e-5, atol=1e-6, err_msg=key)
    for a, b in zip(eager.get_weights(), fast.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    right, mine = (each if isinstance(each, dict) else {"": each} for each in (runs[0][1], runs[1][1]))
    for key, value in right.items():
        np.testing.assert_allclose(mine[key], value, rtol=1e-4, atol=1e-5)


@pytest.fixture
def quick(monkeypatch):
    """All of torch.compile but the code it writes."""
    compile_ = torch.compile
    graphs = []

    def compiled(function):
        graphs.append(function)
        return compile_(function, backend="aot_eager")

    monkeypatch.setattr(step.torch, "compile", compiled)
    torch._dynamo.reset()
    yield graphs
    torch._dynamo.reset()


@pytest.mark.parametrize("name", MODELS)
def test_the_numbers_are_those_of_the_eager_step(quick, name):
    assert_same_runs(name)
    assert [each.__name__ for each in quick] == ["_forward", "_outputs"]  # once each, for the compiled model alone


def test_with_the_compiler_whole():
    assert_same_runs("tags under masks")


def test_a_partial_batch_and_a_new_fit_compile_nothing_anew(quick):
    """One graph for whole batches, one for open ones, and the same without gradients."""
    torch._dynamo.utils.counters.clear()
    _, fast, x, y, options = both("tags under masks")
    for _ in range(2):
        weights = options["sample_weight"]
        fast.fit(x[:18], y[:18], batch_size=5, epochs=2, verbose=0, sample_weight=weights[:18])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
    assert not torch._dynamo.utils.counters["graph_break"]


def test_a_model_that_is_not_built(quick):
    """Its weights are made outside of the compiled code, from the seed."""
    models = []
    for jit in (False, True):
        model = ostinato.Sequential([layers.LSTM(4, stateful=True), layers.Dense(3)])
        model.compile("sgd", crossentropy(), jit_compile=jit)
        model.fit(X, Y, batch_size=5, shuffle=False, verbose=0, seed=5)
        models.append(model)
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_predicting_first(quick):
    torch._dynamo.utils.counters.clear()
    model = ostinato.Sequential([layers.LSTM(4), layers.Dense(3)])
    model.compile("sgd", crossentropy(), jit_compile=True)
    found = model.predict(X, verbose=0)
    assert not torch._dynamo.utils.counters["graph_break"]
    np.testing.assert_allclose(found, model(X, training=False).detach(), rtol=1e-5, atol=1e-6)


def test_a_copy_compiles_its_own(quick):
    _, fast, x, y, options = both("subclassed")
    fast.fit(x, y, batch_size=5, verbose=0, **options)
    other = copy.deepcopy(fast)
    before = fast.get_weights()
    other.fit(x, y, batch_size=5, verbose=0, **options)
    for a, b in zip(before, fast.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(other.get_weights()[0], before[0])


def test_many_compiled_models_beside_each_other(quick):
    """The compiler gives up on a function that it has compiled for eight models; each has its own."""
    torch._dynamo.utils.counters.clear()
    for _ in range(10):
        model = ostinato.Sequential([ostinato.Input((None, 4)), layers.SimpleRNN(2), layers.Dense(3)])
        model.compile("sgd", crossentropy(), jit_compile=True)
        model.train_on_batch(X, Y)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 10


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"jit_compile": True, "run_eagerly": True}, "run_eagerly=True and jit_compile=True exclude each other"),
        ({"jit_compile": "yes"}, "jit_compile must be True, False or 'auto', got 'yes'"),
        ({"steps_per_execution": 4}, "steps_per_execution must be 1, got 4"),
    ],
)
def test_what_compile_refuses(options, text):
    with pytest.raises(ValueError, match=text):
        Subclassed().compile("sgd", "mse", **options)


def test_run_eagerly():
    model = Subclassed()
    model.compile("sgd", crossentropy(), run_eagerly=True)
    assert model.run_eagerly and not model.jit_compile
    model.fit(X, Y, verbose=0)
