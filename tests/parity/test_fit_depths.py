"""What `fit` is given at depth, beside real Keras: validation in part, penalties inside wrappers and inner models."""

import keras
import numpy as np
import pytest
import torch

import ostinato

TOLERANCE = 1e-5
RNG = np.random.default_rng(11)
X = RNG.random((11, 5, 3), dtype=np.float32)
Y = RNG.random((11, 2), dtype=np.float32)


def both(make):
    """The model that `make(library)` makes, by ours and by Keras, with the same weights, none of them zero."""
    ours, theirs = make(ostinato), make(keras)
    values = [w + RNG.uniform(-0.1, 0.1, w.shape).astype("float32") for w in theirs.get_weights()]
    ours.set_weights(values)
    theirs.set_weights(values)
    return ours, theirs


def trained(ours, theirs, x=X, y=Y, compiled=None, **options):
    """Train both alike; histories and weights agree. Returns our history."""
    before, histories = ours.get_weights(), []
    for library, model in ((ostinato, ours), (keras, theirs)):
        model.compile(library.optimizers.SGD(0.05), **(compiled or {"loss": "mse"}))
        histories.append(model.fit(x, y, **{"batch_size": 4, "epochs": 3, "shuffle": False, "verbose": 0, **options}))
    mine, right = (each.history for each in histories)
    assert sorted(mine) == sorted(right)
    for name, values in right.items():
        np.testing.assert_allclose(mine[name], values, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)
    assert not all(np.array_equal(a, b) for a, b in zip(ours.get_weights(), before, strict=True))
    return mine


def plain(library):
    return library.Sequential([library.Input((5, 3)), library.layers.GRU(4), library.layers.Dense(2)])


@pytest.mark.parametrize("source", ["arrays", "loader"])
def test_each_validation_of_some_steps_begins_anew(source):
    held = (X[:9], Y[:9])
    if source == "loader":
        dataset = torch.utils.data.TensorDataset(*map(torch.tensor, held))
        held = torch.utils.data.DataLoader(dataset, 4)
    history = trained(*both(plain), validation_data=held, validation_steps=2, epochs=4)
    assert len(history["val_loss"]) == 4


@pytest.mark.parametrize("inner", ["dense", "recurrent"])
def test_activity_regularizers_in_a_model_for_each_step(inner):
    """The penalty is a mean over samples, for each step: not over the steps too."""

    def make(library):
        layers = library.layers
        if inner == "dense":
            shape, first = (3,), layers.Dense(4, activity_regularizer="l2")
        else:
            shape, first = (2, 3), layers.GRU(4, activity_regularizer=library.regularizers.L1(0.01))
        body = library.Sequential([library.Input(shape), first, layers.Dense(2, kernel_regularizer="l2")])
        return library.Sequential(
            [library.Input((5, *shape)), layers.TimeDistributed(body), layers.LSTM(3), layers.Dense(2)]
        )

    x = X if inner == "dense" else RNG.random((11, 5, 2, 3), dtype=np.float32)
    trained(*both(make), x=x)


def test_metrics_of_layers_are_reported():
    """A metric that a layer has: nothing is counted while shapes are found, and each epoch begins anew."""

    def make(library):
        class Watched(library.layers.Layer):
            def __init__(self):
                super().__init__()
                self.size = library.metrics.Mean(name="size")

            def call(self, inputs):
                self.size.update_state(abs(inputs.detach()).mean())
                return inputs

        return library.Sequential([library.Input((5, 3)), library.layers.GRU(4), Watched(), library.layers.Dense(2)])

    ours, theirs = both(make)
    history = trained(ours, theirs, validation_data=(X, Y), compiled={"loss": "mse", "metrics": ["mae"]})
    assert sorted(history) == ["loss", "mae", "size", "val_loss", "val_mae", "val_size"]
    mine, right = (model.evaluate(X, Y, verbose=0, return_dict=True) for model in (ours, theirs))
    assert mine == pytest.approx(right, rel=TOLERANCE)
    assert ours.metrics_names == ["loss", "size", "mae"]


NESTS = {
    "lists in a dict": (
        lambda a, b, c: {"p": [a, b], "q": c},
        {
            "loss": {"p": ["mse", "mae"], "q": "mse"},
            "loss_weights": {"p": [1, 2], "q": 0.5},
            "metrics": {"p": [["mae"], ["mse"]], "q": ["mae"]},
        },
    ),
    "a list in a list": (
        lambda a, b, c: [a, [b, c]],
        {"loss": ["mse", ["mae", "mse"]], "loss_weights": [1, [2, 3]], "metrics": ["mae", ["mse", "mae"]]},
    ),
    "losses in order": (lambda a, b, c: [a, [b, c]], {"loss": ["mse", "mae", "mse"]}),
    "one loss for all": (lambda a, b, c: {"p": [a, b], "q": c}, {"loss": "mse"}),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", NESTS)
def test_nests_of_nests_of_outputs(name, weighted):
    pack, compiled = NESTS[name]

    def make(library):
        x = library.Input((5, 3))
        h = library.layers.GRU(4)(x)
        return library.Model(x, pack(*(library.layers.Dense(n, name=key)(h) for n, key in enumerate("abc", 1))))

    y = pack(*(RNG.random((11, n), dtype=np.float32) for n in (1, 2, 3)))
    options = {"sample_weight": pack(*RNG.random((3, 11), dtype=np.float32))} if weighted else {}
    trained(*both(make), y=y, compiled=compiled, **options)


def test_a_loss_of_another_structure_than_the_outputs():
    x = ostinato.Input((3,))
    dense = ostinato.layers.Dense
    model = ostinato.Model(x, {"p": [dense(1)(x), dense(1)(x)], "q": dense(1)(x)})
    model.compile("sgd", {"p": ["mse", "mse", "mse"], "q": "mse"})
    with pytest.raises(ValueError, match="loss does not have the structure of the outputs"):
        model.fit(np.zeros((2, 3)), {"p": [np.zeros((2, 1))] * 2, "q": np.zeros((2, 1))}, verbose=0)
