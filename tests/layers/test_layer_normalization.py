"""LayerNormalization against NumPy float64 and real Keras; BatchNormalization where masks and axes meet."""

import json

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato import layers
from side_by_side import assert_same, give_weights, tensor

STEPS = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)


def by_hand(x, axes, epsilon, gamma=None, beta=None):
    """The equation, with gamma and beta along the axes in ascending order."""
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    y = (x - mean) / np.sqrt(variance + epsilon)
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_values_over_sizes_and_axes(data):
    rank = data.draw(st.integers(2, 4))
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=rank, max_size=rank)))
    axes = data.draw(st.lists(st.integers(1, rank - 1), min_size=1, max_size=rank - 1, unique=True))
    center, scale = data.draw(st.booleans()), data.draw(st.booleans())
    layer = layers.LayerNormalization(axes, epsilon=0.01, center=center, scale=scale, dtype="float64")
    layer.build((None, *shape[1:]))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.standard_normal(weight.shape) for weight in layer.get_weights()])
    weights = dict(zip(["gamma"] * scale + ["beta"] * center, layer.get_weights(), strict=True))
    x = rng.standard_normal(shape)
    expected = by_hand(x, tuple(sorted(axes)), 0.01, **weights)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("axis", [1, -2, 2, [1], [2, 1], [1, 3], [-1, -2], (1, 2, 3)])
def test_axes_however_they_are_written(axis):
    """One axis that is not the last is among them: there Keras's torch backend fails."""
    layer = layers.LayerNormalization(axis, dtype="float64")
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    axes = tuple(sorted(each % 4 for each in (axis if isinstance(axis, list | tuple) else [axis])))
    np.testing.assert_allclose(layer(x).detach().numpy(), by_hand(x, axes, 1e-3), rtol=1e-10, atol=1e-10)
    assert layer.get_weights()[0].shape == tuple(x.shape[each] for each in axes)


OPTIONS = {
    "default": {},
    "two axes": {"axis": [1, 2]},
    "axes of both signs": {"axis": [1, -1], "epsilon": 0.1},
    "no gamma": {"scale": False},
    "no beta": {"center": False},
    "neither": {"center": False, "scale": False},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_values_and_gradients_of_keras(name):
    pair = [module.LayerNormalization(**OPTIONS[name]) for module in (layers, keras.layers)]
    for layer in pair:
        layer.build((3, 4, 5))
    give_weights(*pair)
    assert_same(*pair, tensor(3, 4, 5), tolerance=1e-5)


@pytest.mark.filterwarnings("ignore:[\\s\\S]*rms_scaling=True")  # Keras warns in each call, too
@pytest.mark.parametrize("scale", [True, False])
def test_rms_scaling_of_keras(scale):
    """Deprecated there, with a warning, as here: by the deviation, gamma always, beta never."""
    pair = []
    for module in (layers, keras.layers):
        with pytest.warns(UserWarning, match="rms_scaling"):
            pair.append(module.LayerNormalization(rms_scaling=True, scale=scale))
    for layer in pair:
        layer.build((3, 4))
    give_weights(*pair)
    assert [weight.shape for weight in pair[0].get_weights()] == [(4,)]
    assert_same(*pair, tensor(3, 4), tolerance=1e-5)


def test_second_derivatives():
    layer = layers.LayerNormalization([1, 2], dtype="float64")
    x = tensor(2, 3, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(layer, x) and torch.autograd.gradgradcheck(layer, x)


@pytest.mark.parametrize("rms", [False, True])
def test_half_precision_is_computed_in_single(rms):
    """Around 1000, bfloat16 steps are 4 wide: mean and variance in it would be far off."""
    if rms:
        with pytest.warns(UserWarning, match="rms_scaling"):
            layer = layers.LayerNormalization(rms_scaling=True, dtype="bfloat16")
    else:
        layer = layers.LayerNormalization(dtype="bfloat16")
    x = (1000 + 20 * tensor(5, 64)).to(torch.bfloat16)
    wide = x.double()
    deviation = (wide.var(-1, correction=0, keepdim=True) + 1e-3).sqrt()
    right = wide / deviation if rms else (wide - wide.mean(-1, keepdim=True)) / deviation
    found = layer(x)
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.double(), right, rtol=2**-7, atol=2**-7)


def test_penalties_and_constraints():
    options = {
        "gamma_regularizer": "l2",
        "beta_regularizer": "l1",
        "gamma_constraint": "non_neg",
        "gamma_initializer": "zeros",
        "beta_initializer": "ones",
    }
    ours, theirs = layers.LayerNormalization(**options), keras.layers.LayerNormalization(**options)
    for layer in (ours, theirs):
        layer.build((3, 4))
    assert ours.get_weights()[0].tolist() == [0.0] * 4 and ours.get_weights()[1].tolist() == [1.0] * 4
    ours.set_weights([np.full(4, 2.0), np.full(4, -3.0)])
    theirs.set_weights(ours.get_weights())
    mine, right = ([loss.detach() for loss in layer.losses] for layer in (ours, theirs))
    torch.testing.assert_close(sorted(mine), sorted(right))


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
@pytest.mark.parametrize("layer", [layers.LayerNormalization, layers.BatchNormalization])
@pytest.mark.parametrize("training", [False, True])
def test_what_is_not_finite_in_masked_steps_reaches_no_gradient(layer, garbage, training):
    layer = layer()
    x = tensor(3, 4, 2)
    clean = layer(x, mask=STEPS, training=training)[STEPS]
    x[~STEPS] = garbage
    x.requires_grad_()
    found = layer(x, mask=STEPS, training=training)[STEPS]
    torch.testing.assert_close(found, clean)
    gradients = torch.autograd.grad(found.square().sum(), [x, *layer.trainable_weights])
    assert all(each.isfinite().all() for each in gradients) and gradients[0][~STEPS].eq(0).all()


def test_over_the_steps_masked_ones_count_as_in_keras():
    ours, theirs = layers.LayerNormalization([1, 2]), keras.layers.LayerNormalization([1, 2])
    x, y = tensor(3, 4, 2), tensor(3, 4, 2)
    x._keras_mask = y._keras_mask = STEPS
    found, right = ours(x), theirs(y)
    torch.testing.assert_close(found, right)
    assert torch.equal(found._keras_mask, right._keras_mask)


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("masked", [False, True])
def test_batch_normalization_of_keras_by_axis(axis, masked):
    """A mask of the leading axes, the one of the features among them or not: the moving statistics tell."""
    pair = [layers.BatchNormalization(axis, momentum=0.5), keras.layers.BatchNormalization(axis, momentum=0.5)]
    for layer in pair:
        layer.build((3, 4, 2))
    values = [np.random.default_rng(2).uniform(0.5, 1.5, weight.shape) for weight in pair[0].get_weights()]
    for layer in pair:
        layer.set_weights(values)
    assert_same(*pair, tensor(3, 4, 2), mask=STEPS if masked else None, training=True, tolerance=1e-5)
    for mine, right in zip(pair[0].get_weights(), pair[1].get_weights(), strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)


def test_batch_normalization_of_features_first():
    """A mask (batch, time) of a (batch, features, time): as of the same input with its features last."""
    first, last = layers.BatchNormalization(1), layers.BatchNormalization(-1)
    x = tensor(3, 4, 2)
    found = first(x.movedim(-1, 1), mask=STEPS, training=True)
    torch.testing.assert_close(found.movedim(1, -1), last(x, mask=STEPS, training=True))
    torch.testing.assert_close(first.moving_variance, last.moving_variance)


def test_a_config_that_keras_wrote():
    theirs = keras.layers.LayerNormalization(axis=[-2, -1], epsilon=0.5, gamma_regularizer="l2", name="mine")
    ours = layers.deserialize(json.loads(json.dumps(keras.layers.serialize(theirs))))
    for layer in (ours, theirs):
        layer.build((None, 3, 4))
    give_weights(ours, theirs)
    assert ours.epsilon == 0.5 and ours.name == "mine" and ours.axis == [-2, -1]
    torch.testing.assert_close(ours(tensor(2, 3, 4)), theirs(tensor(2, 3, 4)), rtol=1e-5, atol=1e-5)
    built = keras.layers.serialize(theirs)  # after a build Keras writes the axis as a list
    assert layers.deserialize(json.loads(json.dumps(built))).get_config() == ours.get_config()


REFUSED = {
    "no number": (lambda: layers.LayerNormalization("a"), TypeError, "axis must be a whole number or a list"),
    "a bool": (lambda: layers.LayerNormalization(True), TypeError, "axis must be a whole number or a list"),
    "no axes": (lambda: layers.LayerNormalization([]), TypeError, "axis must be a whole number or a list"),
    "not there": (lambda: layers.LayerNormalization(3)(tensor(2, 3, 4)), ValueError, r"axis 3 must be in the input"),
    "twice": (lambda: layers.LayerNormalization([2, -1])(tensor(2, 3, 4)), ValueError, "each once"),
    "open": (lambda: layers.LayerNormalization(1).build((None, None, 4)), ValueError, "must be known"),
    "another size": (lambda: _again(layers.LayerNormalization()), ValueError, r"expected \(any, 3\), got \(2, 4\)"),
    "mask": (
        lambda: layers.LayerNormalization()(tensor(2, 3, 4), mask=STEPS),
        ValueError,
        r"leading axes \(2, 3\), got \(3, 4\)",
    ),
    "unknown": (lambda: layers.LayerNormalization(epsilom=1.0), ValueError, "Did you mean 'epsilon'"),
}


def _again(layer):
    layer(tensor(2, 3))
    return layer(tensor(2, 4))


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    make, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        make()
