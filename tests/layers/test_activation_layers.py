"""Activation, ReLU, LeakyReLU, Softmax and Rescaling against real Keras and NumPy."""

import json

import keras
import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers
from side_by_side import assert_same, tensor

STEPS = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)

MADE = {
    "tanh": lambda module: module.Activation("tanh"),
    "softmax": lambda module: module.Activation("softmax"),
    "linear": lambda module: module.Activation(None),
    "ReLU": lambda module: module.ReLU(),
    "ReLU 6": lambda module: module.ReLU(6),
    "ReLU, a ceiling": lambda module: module.ReLU(0.75),
    "ReLU, a slope": lambda module: module.ReLU(negative_slope=0.25),
    "ReLU, a threshold": lambda module: module.ReLU(threshold=0.5),
    "ReLU, all": lambda module: module.ReLU(max_value=1.0, negative_slope=0.25, threshold=0.5),
    "ReLU, a ceiling below the threshold": lambda module: module.ReLU(max_value=0.25, threshold=0.5),
    "LeakyReLU": lambda module: module.LeakyReLU(),
    "LeakyReLU, flat": lambda module: module.LeakyReLU(0),
    "Softmax": lambda module: module.Softmax(),
    "Softmax, axis 1": lambda module: module.Softmax(1),
    "Softmax, one axis in a list": lambda module: module.Softmax([1]),
    "Softmax, two axes": lambda module: module.Softmax([1, -1]),
    "Rescaling": lambda module: module.Rescaling(1 / 127.5, -1),
    "Rescaling by feature": lambda module: module.Rescaling([1.0, 2.0], np.array([0.5, 0.25])),
}


@pytest.mark.parametrize("name", MADE)
def test_values_and_gradients_of_keras(name):
    assert_same(*(MADE[name](module) for module in (layers, keras.layers)), 3 * tensor(3, 4, 2))


@pytest.mark.parametrize("name", MADE)
def test_a_config_that_keras_wrote(name):
    theirs, x = MADE[name](keras.layers), tensor(3, 4, 2)
    ours = layers.deserialize(json.loads(json.dumps(keras.layers.serialize(theirs))))
    assert type(ours).__name__ == type(theirs).__name__ and ours.name == theirs.name
    torch.testing.assert_close(ours(x), theirs(x))
    again = layers.deserialize(json.loads(json.dumps(layers.serialize(ours))))
    assert torch.equal(again(x), ours(x))


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", [name for name in MADE if name.partition(",")[0] != "Softmax"])
def test_what_is_not_finite_in_masked_steps_reaches_no_gradient(name, garbage):
    layer, x = MADE[name](layers), tensor(3, 4, 2)
    clean = layer(x)[STEPS]
    x[~STEPS] = garbage
    x.requires_grad_()
    x_masked = x.clone()
    x_masked._keras_mask = STEPS
    y = layer(x_masked)
    torch.testing.assert_close(y[STEPS], clean)
    assert torch.equal(y._keras_mask, STEPS)
    (gradient,) = torch.autograd.grad(y[STEPS].square().sum(), x)
    assert gradient.isfinite().all() and gradient[~STEPS].eq(0).all()


# -- Softmax under masks -------------------------------------------------------------------------------------------

ENTRIES = {
    "whole": torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1)) < 0.5,
    "of columns": torch.tensor([True, False, True, True, False]),
    "of one row": torch.tensor([[[1, 0, 1, 1, 0]]]),
    "of rows": torch.tensor([[True], [False], [True], [True]]),
    "numbers": torch.tensor([0.2, 0.7, 1.0, 0.5, 3.0]),
    "nothing used": torch.zeros(3, 4, 5, dtype=torch.bool),
}


@pytest.mark.parametrize("axis", [-1, 1, [1, 2]], ids=str)
@pytest.mark.parametrize("name", ENTRIES)
def test_softmax_over_what_is_used(name, axis):
    mask = ENTRIES[name]
    ours, theirs = layers.Softmax(axis), keras.layers.Softmax(axis)
    outputs, _ = assert_same(ours, theirs, tensor(3, 4, 5), mask=mask)
    used = (mask > 0.5).expand(3, 4, 5) if mask.is_floating_point() else (mask != 0).expand(3, 4, 5)
    assert outputs[0][~used].eq(0).all()
    wide = tensor(3, 4, 5).double().masked_fill(~used, -torch.inf)
    axes = axis if isinstance(axis, list) else [axis]
    expected = torch.exp(wide - torch.logsumexp(wide, axes, keepdim=True)).nan_to_num(0)
    torch.testing.assert_close(outputs[0].double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
def test_softmax_garbage_in_masked_entries(garbage, dtype):
    mask, x = ENTRIES["whole"], tensor(3, 4, 5).to(getattr(torch, dtype))
    layer = layers.Softmax(dtype=dtype)
    clean = layer(x, mask=mask)
    x[~mask] = garbage
    x.requires_grad_()
    found = layer(x, mask=mask)
    assert torch.equal(found, clean)
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    assert gradient.isfinite().all() and gradient[~mask].eq(0).all()


def test_the_mask_of_columns_goes_on_as_one_of_entries():
    y = layers.Softmax()(tensor(3, 4, 5), mask=ENTRIES["of columns"])
    assert torch.equal(y._keras_mask, ENTRIES["of columns"].expand(3, 4, 5))
    assert torch.equal(layers.Activation("relu")(y), y)


# -- Rescaling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uint8", "int64", "bool", "float64", "float32"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_rescaling_gives_its_own_dtype(kind, dtype):
    x = torch.tensor([[0, 1], [1, 0]]).to(getattr(torch, kind))
    layer = layers.Rescaling(0.5, 0.25, dtype=dtype)
    expected = torch.tensor([[0.25, 0.75], [0.75, 0.25]], dtype=getattr(torch, dtype))
    assert torch.equal(layer(x), expected) and torch.equal(layer(x.numpy()), expected)
    assert layer(ostinato.Input((2,), dtype=kind)).dtype is expected.dtype


def test_rescaling_by_arrays_of_any_shape():
    rng = np.random.default_rng(0)
    x, scale, offset = rng.standard_normal((2, 3, 4)), rng.standard_normal((3, 1)), rng.standard_normal(4)
    layer = layers.Rescaling(scale, offset, dtype="float64")
    np.testing.assert_allclose(layer(x).numpy(), x * scale + offset, rtol=1e-12)
    assert layer.get_config()["scale"] == scale.tolist()


REFUSED = {
    "a name": (lambda: layers.Activation("rellu"), "Did you mean 'relu'"),
    "max_value": (lambda: layers.ReLU(max_value=-1), "ReLU: max_value must be at least 0, got -1"),
    "slope": (lambda: layers.ReLU(negative_slope=-1), "ReLU: negative_slope must be at least 0"),
    "no slope": (lambda: layers.ReLU(negative_slope=None), "ReLU: negative_slope must be at least 0, got None"),
    "threshold": (lambda: layers.ReLU(threshold=None), "ReLU: threshold must be at least 0"),
    "leaky": (lambda: layers.LeakyReLU(-0.1), "LeakyReLU: negative_slope must be at least 0"),
    "mask": (
        lambda: layers.Softmax()(tensor(3, 4, 5), mask=STEPS),
        r"mask must broadcast over the input, .* got \(3, 4\) for an input of shape \(3, 4, 5\)",
    ),
    "mask's rank": (lambda: layers.Softmax()(tensor(4), mask=STEPS), "must broadcast over the input"),
    "scale": (lambda: layers.Rescaling("a"), "scale must be a number, or a list"),
    "no scale": (lambda: layers.Rescaling(None), "scale must be a number, or a list"),
    "offset": (lambda: layers.Rescaling(1.0, torch.ones(2)), "offset must be a number, or a list or NumPy array"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_keras_2s_name_of_the_slope():
    with pytest.warns(UserWarning, match="pass negative_slope"):
        layer = layers.LeakyReLU(alpha=0.5)
    assert layer(torch.tensor([-2.0])).item() == -1
    assert layers.deserialize(layers.serialize(layer)).negative_slope == 0.5
