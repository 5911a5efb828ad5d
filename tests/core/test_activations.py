"""Activations by name and as objects, against the real Keras: values, gradients, configs; in layers and models."""

import keras
import numpy as np
import pytest
import torch
from keras.src.activations import ALL_OBJECTS_DICT

import ostinato
from ostinato import Input, Model, activations, layers, ops
from ostinato.recurrence.activations import KNOWN, activation_name, plain

# Away from the kinks, where a gradient is what an implementation likes; and far out.
X = torch.cat([torch.linspace(-7.3, 7.1, 48), torch.tensor([-80.0, -20.0, 20.0, 80.0])]).reshape(4, 13)
OPTIONS = {
    "celu": [{}, {"alpha": 0.5}],
    "elu": [{}, {"alpha": 0.5}],
    "gelu": [{}, {"approximate": True}],
    "glu": [{"axis": 0}, {"axis": -2}],
    "hard_shrink": [{}, {"threshold": 1.0}],
    "leaky_relu": [{}, {"negative_slope": 0.5}],
    "log_softmax": [{}, {"axis": 0}],
    "relu": [
        {},
        {"negative_slope": 0.3},
        {"max_value": 2.0},
        {"max_value": 6},
        {"threshold": 1.5},
        {"threshold": -1.5},
        {"threshold": -1.5, "max_value": 3.0},
        {"negative_slope": 0.3, "max_value": 2.0},
        {"negative_slope": 0.3, "threshold": 1.5},
        {"negative_slope": -0.3, "threshold": -1.5, "max_value": 3.0},
    ],
    "soft_shrink": [{}, {"threshold": 1.0}],
    "softmax": [{}, {"axis": 0}, {"axis": (0, 1)}],
    "sparsemax": [{}, {"axis": 0}],
    "squareplus": [{}, {"b": 1.0}],
    "threshold": [{"threshold": 0.5, "default_value": -1.0}],
}
CASES = [(name, options) for name in sorted(ALL_OBJECTS_DICT) for options in OPTIONS.get(name, [{}])]
cases = pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name} {options}" for name, options in CASES])


def value_and_gradient(function, x, **options):
    x = x.clone().requires_grad_()
    out = function(x, **options)
    (grad,) = torch.autograd.grad((out * torch.linspace(0.5, 2, out.numel()).reshape(out.shape)).sum(), x)
    return out.detach(), grad


def test_all_of_keras_are_there_and_nothing_else():
    theirs = [name for name in dir(keras.activations) if not name.startswith("_")]
    assert sorted(activations.__all__) == sorted(theirs)
    assert all(getattr(activations, name).__doc__ for name in activations.__all__)


@cases
def test_values_and_gradients(name, options):
    x = 50 * X if name == "sparsemax" else X  # Keras 3.15's is right for a single value above the threshold only
    mine = value_and_gradient(activations.get(name), x, **options)
    right = value_and_gradient(keras.activations.get(name), x, **options)
    for a, b in zip(mine, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@cases
def test_derivatives_in_float64(name, options):
    x = X[:2, 3:-3].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: activations.get(name)(value, **options), x)


@cases
def test_arrays_and_dtypes(name, options):
    function = activations.get(name)
    if name != "linear":  # which gives back what it is given
        torch.testing.assert_close(function(X.numpy(), **options), function(X, **options))
    for dtype in (torch.float64, torch.bfloat16):
        assert function(X.to(dtype), **options).dtype is dtype
    assert (
        function(
            X[:, :0].t() if name == "glu" else X[:0], **{**options, "axis": -1} if "axis" in options else options
        ).numel()
        == 0
    )


@pytest.mark.parametrize("name", sorted(ALL_OBJECTS_DICT))
def test_names_and_configs(name):
    function = activations.get(name)
    assert function is getattr(activations, name)
    assert activations.serialize(function) == keras.activations.serialize(keras.activations.get(name))
    assert activations.deserialize(activations.serialize(function)) is function
    if name != "threshold":  # which has no defaults
        layer = layers.Dense(4, activation=name)
        again = layers.Dense.from_config(layer.get_config())
        assert again.activation is function
        from_keras = keras.layers.Dense(4, activation=name).get_config()
        assert layers.Dense.from_config(from_keras).activation is function


@pytest.mark.parametrize("name", sorted(set(ALL_OBJECTS_DICT) - {"threshold", "glu"}))
def test_in_a_recurrent_layer_and_on_symbolic_inputs(name):
    x = torch.randn(2, 5, 3)
    ours, theirs = (
        library.layers.LSTM(4, activation=name, recurrent_activation=name, return_sequences=True)
        for library in (ostinato, keras)
    )
    ours.build(x.shape)
    theirs.build(x.shape)
    ours.set_weights(theirs.get_weights())
    if name != "sparsemax":
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5, equal_nan=True)
    start = Input((5, 3))
    torch.testing.assert_close(Model(start, activations.get(name)(start))(x), activations.get(name)(x))


def test_engines_know_the_activations_of_recurrences_by_whatever_name():
    for name, function in KNOWN.items():
        for other in (activations.get(name), getattr(ops, name, function), getattr(activations, name)):
            assert activation_name(other) == name
            assert plain(other) is function
    assert activation_name(activations.elu) == "custom" and plain(activations.elu) is activations.elu
    cell = layers.LSTMCell(2, activation=torch.tanh)
    assert cell.get_config()["activation"] == "tanh"


def test_get_takes_what_keras_takes():
    assert activations.get(None) is activations.linear
    assert activations.get(np.tanh) is np.tanh
    layer = layers.Dense(2)
    assert activations.get(layer) is layer
    with ostinato.utils.custom_object_scope({"twice": lambda x: 2 * x}):
        assert activations.get("twice")(3) == 6
    assert activations.deserialize("twice", {"twice": abs}) is abs


@pytest.mark.parametrize("wrong", ["tahn", "ReLU6"])
def test_a_name_misspelt(wrong):
    with pytest.raises(ValueError, match="Did you mean"):
        activations.get(wrong)
    with pytest.raises(ValueError, match="expected a name, a config or a callable"):
        activations.get(5)
