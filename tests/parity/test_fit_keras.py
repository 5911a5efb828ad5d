"""fit, evaluate and predict against real Keras on the torch backend, from equal weights and on the same batches."""

import keras
import numpy as np
import pytest

import ostinato
from ostinato.recurrence.nests import flatten

TOLERANCE = 1e-5

OPTIMIZERS = {
    "sgd": ("SGD", {}),
    "sgd momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    "sgd nesterov": ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", {}),
    "adam amsgrad": ("Adam", {"amsgrad": True}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop momentum": ("RMSprop", {"momentum": 0.5}),
    "rmsprop centered": ("RMSprop", {"centered": True}),
}

# With the usual 1e-7, a gradient that is next to 0 is all noise, and makes steps all the same.
STEADY_ADAM = ("Adam", {"epsilon": 1e-5})


def digits(train=200, test=75):
    """Rows of real digits as time steps: the first images of the training and of the test part."""
    (x, y), (x_test, y_test) = ostinato.datasets.digits.load_data()
    return (x[:train] / 16.0, y[:train]), (x_test[:test] / 16.0, y_test[:test])


def both(make):
    """The model that `make(library)` makes, by ours and by Keras, with the same weights, none of them zero."""
    ours, theirs = make(ostinato), make(keras)
    rng = np.random.default_rng(3)
    values = [w + rng.uniform(-0.1, 0.1, w.shape).astype("float32") for w in theirs.get_weights()]
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in values]
    ours.set_weights(values)
    theirs.set_weights(values)
    return ours, theirs


def guide_model(library):
    return library.Sequential(
        [
            library.Input((None, 8)),
            library.layers.LSTM(64),
            library.layers.BatchNormalization(),
            library.layers.Dense(10),
        ]
    )


def compiled(library, model, optimizer=("SGD", {}), loss="mse", metrics=None):
    name, options = optimizer
    model.compile(optimizer=getattr(library.optimizers, name)(**options), loss=loss, metrics=metrics)


def assert_histories(mine, right):
    assert sorted(mine.history) == sorted(right.history)
    assert mine.epoch == right.epoch
    for name, values in right.history.items():
        np.testing.assert_allclose(mine.history[name], values, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def assert_weights(ours, theirs):
    names = ostinato.core.tracking.Weights(ours).names
    for name, mine, right in zip(names, ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, right, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def assert_trained(ours, theirs, before):
    """All weights agree, and are not what they were."""
    assert_weights(ours, theirs)
    assert not all(np.array_equal(a, b) for a, b in zip(ours.get_weights(), before, strict=True))


def assert_fits_agree(ours, theirs, x, y, **options):
    """Epochs, weights, evaluation and predictions agree; returns our history."""
    before = ours.get_weights()
    options = {"batch_size": 32, "epochs": 3, "shuffle": False, "verbose": 0, **options}
    mine, right = ours.fit(x, y, **options), theirs.fit(x, y, **options)
    assert_histories(mine, right)
    assert_trained(ours, theirs, before)
    evaluated = [model.evaluate(x, y, batch_size=13, verbose=0, return_dict=True) for model in (ours, theirs)]
    assert sorted(evaluated[0]) == sorted(evaluated[1])
    for name, value in evaluated[1].items():
        assert evaluated[0][name] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE), name
    predicted = [model.predict(x, batch_size=13, verbose=0) for model in (ours, theirs)]
    assert type(predicted[0]) is type(predicted[1])
    if isinstance(predicted[0], dict):
        assert predicted[0].keys() == predicted[1].keys()
    for mine_of_output, right_of_output in zip(*map(flatten, predicted), strict=True):
        np.testing.assert_allclose(mine_of_output, right_of_output, rtol=TOLERANCE, atol=TOLERANCE)
    return mine


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_guides_model(optimizer):
    (x, y), validation = digits()
    ours, theirs = both(guide_model)
    for library, model in ((ostinato, ours), (keras, theirs)):
        loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
        compiled(library, model, OPTIMIZERS[optimizer], loss, ["accuracy"])
    history = assert_fits_agree(ours, theirs, x, y, batch_size=64, validation_data=validation)
    assert sorted(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history.history["loss"][-1] < history.history["loss"][0]


def two_outputs(library):
    x = library.Input((None, 8))
    h = library.layers.LSTM(12)(x)
    outputs = [library.layers.Dense(10, name="digit")(h), library.layers.Dense(1, name="ink")(h)]
    return library.Model(x, outputs)


def two_targets(x, y):
    return [y, x.sum((1, 2), keepdims=True)[:, 0] / 20]


def crossentropy(library):
    return library.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        (lambda library: [crossentropy(library), "mse"], None),
        (lambda library: [crossentropy(library), "mse"], ["accuracy", "mse"]),
        (lambda library: {"ink": "mse", "digit": crossentropy(library)}, {"digit": ["accuracy"], "ink": "mse"}),
        (lambda library: [crossentropy(library), "mse"], [["accuracy"], ["mse", "mean_squared_error"]]),
        (lambda library: {"ink": "mse", "digit": crossentropy(library)}, {"ink": ["mse", "mse"]}),
    ],
    ids=["list", "flat metrics", "dicts", "nested metrics", "one name twice"],
)
def test_two_outputs(loss, metrics):
    (x, y), _ = digits(100)
    ours, theirs = both(two_outputs)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, STEADY_ADAM, loss(library), metrics)
    history = assert_fits_agree(ours, theirs, x, two_targets(x, y))
    assert {"loss", "digit_loss", "ink_loss"} <= set(history.history)


def test_two_outputs_with_one_loss_for_both():
    (x, y), _ = digits(70)
    ours, theirs = both(two_outputs)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, loss="mse")
    targets = [np.eye(10)[y], two_targets(x, y)[1]]
    assert_fits_agree(ours, theirs, x, targets)
    by_name = dict(zip(("digit", "ink"), targets, strict=True))
    assert_fits_agree(ours, theirs, x, by_name, epochs=1)


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")  # says Keras of the output without a loss
def test_an_output_without_a_loss_takes_no_target():
    (x, y), _ = digits(70)
    ours, theirs = both(two_outputs)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, loss=[None, "mse"])
    history = assert_fits_agree(ours, theirs, x, [two_targets(x, y)[1]])
    assert list(history.history) == ["loss"]  # the only one: "ink_loss" would say the same


def test_outputs_and_targets_in_dicts():
    def make(library):
        x = library.Input((None, 8))
        h = library.layers.GRU(12)(x)
        return library.Model(x, {"zeta": library.layers.Dense(10)(h), "alpha": library.layers.Dense(1)(h)})

    (x, y), _ = digits(70)
    ours, theirs = both(make)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, loss={"zeta": crossentropy(library), "alpha": "mse"}, metrics={"zeta": ["accuracy"]})
    targets = dict(zip(("zeta", "alpha"), two_targets(x, y), strict=True))
    history = assert_fits_agree(ours, theirs, x, targets)
    assert sorted(history.history) == ["alpha_loss", "loss", "zeta_accuracy", "zeta_loss"]


def words(samples=50, time=9, classes=6, seed=5):
    """Sequences of different lengths, 0 where there is nothing, and a class for each step."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 20, (samples, time))
    x[np.arange(time) >= rng.integers(1, time + 1, samples)[:, None]] = 0
    return x, (x * 7 + 3) % classes


def tagger(library):
    return library.Sequential(
        [
            library.Input((None,)),
            library.layers.Embedding(20, 8, mask_zero=True),
            library.layers.LSTM(10, return_sequences=True),
            library.layers.Dense(6, activation="softmax"),
        ]
    )


def test_masks_reach_loss_and_metrics():
    x, y = words()
    ours, theirs = both(tagger)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(
            library,
            model,
            ("Adam", {"learning_rate": 0.01, "epsilon": 1e-5}),
            "sparse_categorical_crossentropy",
            ["accuracy"],
        )
    history = assert_fits_agree(ours, theirs, x, y, validation_data=words(20, seed=6))
    # The accuracy is that of the used steps alone, which a metric that forgets the mask would not give.
    used = x != 0
    expected = [(ours.predict(x[i : i + 32], verbose=0).argmax(-1) == y[i : i + 32])[used[i : i + 32]] for i in (0, 32)]
    share = np.concatenate(expected).mean()
    assert ours.evaluate(x, y, verbose=0)[1] == pytest.approx(share, abs=1e-6)
    assert not np.isclose(share, (ours.predict(x, verbose=0).argmax(-1) == y).mean(), atol=0.01)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_masks_reach_the_loss_of_each_output():
    def make(library):
        x = library.Input((None,), dtype="int32")
        h = library.layers.Embedding(20, 8, mask_zero=True)(x)
        steps = library.layers.GRU(10, return_sequences=True)(h)
        tags = library.layers.Dense(6, name="tags")(steps)
        return library.Model(x, [tags, library.layers.Dense(1, name="whole")(library.layers.LSTM(4)(steps))])

    x, y = words()
    ours, theirs = both(make)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, loss=[crossentropy(library), "mse"], metrics=["accuracy", "mse"])
    assert_fits_agree(ours, theirs, x, [y, (x != 0).sum(1, keepdims=True) / 9.0])


def test_regularizers_and_constraints():
    def make(library):
        regularizers, constraints = library.regularizers, library.constraints
        return library.Sequential(
            [
                library.Input((None, 8)),
                library.layers.LSTM(
                    12,
                    kernel_regularizer=regularizers.L2(0.01),
                    recurrent_regularizer=regularizers.L1(0.001),
                    kernel_constraint=constraints.MaxNorm(0.9),
                    recurrent_constraint=constraints.UnitNorm(),
                    activity_regularizer=regularizers.L2(0.01),
                ),
                library.layers.BatchNormalization(gamma_regularizer=regularizers.L1L2(0.01, 0.02)),
                library.layers.Dense(
                    10,
                    kernel_constraint=constraints.NonNeg(),
                    bias_constraint=constraints.MinMaxNorm(0.1, 0.5),
                    activity_regularizer=regularizers.L1(0.001),
                ),
            ]
        )

    (x, y), validation = digits(100, 40)
    ours, theirs = both(make)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, ("SGD", {"learning_rate": 0.1}), crossentropy(library), ["accuracy"])
    assert_fits_agree(ours, theirs, x, y, validation_data=validation)
    lstm, dense = ours.layers[0].cell, ours.layers[-1]
    np.testing.assert_allclose(np.square(lstm.recurrent_kernel.numpy()).sum(0), 1, atol=1e-5)
    assert (dense.kernel.numpy() >= 0).all()


def test_binary_crossentropy():
    def make(library):
        return library.Sequential(
            [library.Input((None, 8)), library.layers.SimpleRNN(12), library.layers.Dense(1, activation="sigmoid")]
        )

    (x, y), validation = digits(100, 40)
    ours, theirs = both(make)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, STEADY_ADAM, "binary_crossentropy", ["accuracy"])
    odd = (validation[0], validation[1] % 2)
    assert_fits_agree(ours, theirs, x, y % 2, validation_data=odd)  # targets (batch,), predictions (batch, 1)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, STEADY_ADAM, "binary_crossentropy", ["acc", "binary_crossentropy"])
    assert_fits_agree(ours, theirs, x, (y % 2)[:, None], epochs=1)


def test_regression_on_sequences():
    def make(library):
        return library.Sequential(
            [
                library.Input((None, 8)),
                library.layers.Bidirectional(library.layers.GRU(6, return_sequences=True)),
                library.layers.Dense(8),
            ]
        )

    (x, _), _ = digits(70)
    ours, theirs = both(make)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, ("RMSprop", {"learning_rate": 0.01}), "mse", ["mse"])
    assert_fits_agree(ours, theirs, x, x[:, ::-1].copy())


def test_one_hot_targets():
    (x, y), _ = digits(70)
    ours, theirs = both(guide_model)
    for library, model in ((ostinato, ours), (keras, theirs)):
        loss = library.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
        compiled(library, model, STEADY_ADAM, loss, ["accuracy"])
    assert_fits_agree(ours, theirs, x, np.eye(10, dtype=np.float32)[y])


def test_batch_by_batch():
    """Each call gives its own batch's numbers, not those since the first."""
    (x, y), _ = digits(130)
    ours, theirs = both(guide_model)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, STEADY_ADAM, crossentropy(library), ["accuracy"])
    for start in (0, 32, 64, 96):
        rows = slice(start, start + 32)
        mine, right = (model.train_on_batch(x[rows], y[rows]) for model in (ours, theirs))
        np.testing.assert_allclose(mine, right, rtol=TOLERANCE, atol=TOLERANCE)
    assert_weights(ours, theirs)
    for rows in (slice(0, 50), slice(50, 130)):
        mine, right = (model.test_on_batch(x[rows], y[rows], return_dict=True) for model in (ours, theirs))
        assert mine == pytest.approx(right, rel=TOLERANCE, abs=TOLERANCE)
        mine, right = (model.predict_on_batch(x[rows]) for model in (ours, theirs))
        np.testing.assert_allclose(mine, right, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("frozen", [0, 1, 2], ids=["lstm", "batch normalization", "dense"])
def test_a_frozen_layer(frozen):
    (x, y), validation = digits(100, 40)
    ours, theirs = both(guide_model)
    for library, model in ((ostinato, ours), (keras, theirs)):
        model.layers[frozen].trainable = False
        compiled(library, model, ("SGD", {"learning_rate": 0.1, "momentum": 0.9}), crossentropy(library), ["accuracy"])
    before = ours.layers[frozen].get_weights()
    assert_fits_agree(ours, theirs, x, y, validation_data=validation)
    for was, now in zip(before, ours.layers[frozen].get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_freezing_between_two_runs():
    (x, y), _ = digits(70)
    ours, theirs = both(guide_model)
    for frozen in (False, True):
        for library, model in ((ostinato, ours), (keras, theirs)):
            model.layers[1].trainable = not frozen
            compiled(library, model, STEADY_ADAM, crossentropy(library), ["accuracy"])
        assert_fits_agree(ours, theirs, x, y)


def test_losses_added_in_a_layer():
    def make(library):
        class Shy(library.layers.Layer):
            def call(self, inputs):
                self.add_loss(0.01 * (inputs**2).mean())
                self.add_loss(0.001 * abs(inputs).sum((0, 1)))
                return inputs

        layers = [library.Input((None, 8)), library.layers.LSTM(6), Shy(), library.layers.Dense(10)]
        return library.Sequential(layers)

    (x, y), validation = digits(70, 40)
    ours, theirs = both(make)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, loss=crossentropy(library), metrics=["accuracy"])
    assert_fits_agree(ours, theirs, x, y, validation_data=validation)


def test_several_runs_go_on_with_the_same_optimizer():
    (x, y), _ = digits(70)
    ours, theirs = both(guide_model)
    for library, model in ((ostinato, ours), (keras, theirs)):
        compiled(library, model, STEADY_ADAM, crossentropy(library), ["accuracy"])
    assert_fits_agree(ours, theirs, x, y, epochs=1)
    assert_fits_agree(ours, theirs, x, y, epochs=1)
    assert ours.optimizer.iterations == int(theirs.optimizer.iterations) == 6
