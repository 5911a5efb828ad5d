"""Global pooling under masks, and the layers that reshape: values over sizes, dropped masks, what is refused."""

import json

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ostinato
from ostinato import layers
from side_by_side import MASKS, mask_of, tensor

POOLING = {"GlobalAveragePooling1D": np.mean, "GlobalMaxPooling1D": np.max}


def by_hand(name, x, mask):
    """Row by row, over the steps that are used alone; zeros for a row without."""
    rows = [POOLING[name](row[used], axis=0) if used.any() else 0 * row[0] for row, used in zip(x, mask, strict=True)]
    return np.stack(rows)


def formatted(x, data_format):
    return x if data_format == "channels_last" else x.swapaxes(1, 2)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_pooling_over_sizes_and_masks(data):
    name, data_format = (
        data.draw(st.sampled_from([*POOLING])),
        data.draw(st.sampled_from(["channels_last", "channels_first"])),
    )
    batch, time, features = (data.draw(st.integers(1, 5)) for _ in range(3))
    keepdims, seed = data.draw(st.booleans()), data.draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    x, mask = rng.standard_normal((batch, time, features)), rng.random((batch, time)) < 0.5
    layer = getattr(layers, name)(data_format, keepdims=keepdims, dtype="float64")
    for given_mask in (mask, None):
        used = np.ones_like(mask) if given_mask is None else mask
        expected = by_hand(name, x, used)
        expected = np.expand_dims(expected, layer._steps) if keepdims else expected
        x[~used] = np.nan
        found = layer(formatted(x, data_format), mask=given_mask)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)
        assert getattr(found, "_keras_mask", None) is None
        x = rng.standard_normal((batch, time, features))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("mask", [name for name in MASKS if name != "a row without steps"])
def test_averages_of_keras(mask, data_format):
    x = formatted(tensor(3, 5, 4), data_format)
    ours, theirs = (module.GlobalAveragePooling1D(data_format) for module in (layers, keras.layers))
    torch.testing.assert_close(ours(x, mask=mask_of(mask)), theirs(x, mask=mask_of(mask)))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", POOLING)
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, -torch.inf])
def test_gradients_under_masks(name, mask, garbage):
    """Those of each row cut to its used steps; garbage in the others changes no number; 0 there."""
    used = torch.ones(3, 5, dtype=torch.bool) if mask == "none" else mask_of(mask)
    x = tensor(3, 5, 4)
    layer, weights = getattr(layers, name)(), tensor(3, 4, seed=2)
    cut = x.clone().requires_grad_()
    rows = [layer(cut[i : i + 1, used[i]]) if used[i].any() else 0 * cut[i : i + 1, 0] for i in range(3)]
    (expected,) = torch.autograd.grad((torch.cat(rows) * weights).sum(), cut)
    x[~used] = garbage
    x.requires_grad_()
    (found,) = torch.autograd.grad((layer(x, mask=mask_of(mask)) * weights).sum(), x)
    torch.testing.assert_close(found, expected)
    assert found[~used].eq(0).all()


def test_the_largest_of_equal_values_share_the_gradient_as_in_keras():
    x = torch.tensor([[[1.0], [2.0], [2.0]]])
    grads = []
    for module in (layers, keras.layers):
        start = x.clone().requires_grad_()
        grads += torch.autograd.grad(module.GlobalMaxPooling1D()(start).sum(), start)
    assert torch.equal(*grads)


def test_padding_does_not_win_where_in_keras_it_does():
    x = -tensor(3, 5, 4).abs() - 1
    mask = mask_of("right padding")
    x[~mask] = 0.0
    theirs, inputs = keras.layers.GlobalMaxPooling1D(), x.clone()
    inputs._keras_mask = mask
    with pytest.warns(UserWarning, match="does not support masking"):
        assert theirs(inputs)[1].eq(0).all()
    inputs = x.clone()
    inputs._keras_mask = mask
    found = layers.GlobalMaxPooling1D()(inputs)
    np.testing.assert_array_equal(found.numpy(), by_hand("GlobalMaxPooling1D", x.numpy(), mask.numpy()))


@pytest.mark.parametrize("name", POOLING)
def test_sequences_without_steps_give_zeros(name):
    layer = getattr(layers, name)()
    assert torch.equal(layer(torch.zeros(2, 0, 3)), torch.zeros(2, 3))
    assert torch.equal(layer(torch.zeros(2, 0, 3), mask=torch.zeros(2, 0, dtype=torch.bool)), torch.zeros(2, 3))


def test_pooling_of_whole_numbers():
    x, mask = torch.tensor([[[-4], [-1], [9]]]), torch.tensor([[1, 1, 0]])
    assert layers.GlobalMaxPooling1D()(x, mask=mask).tolist() == [[-1]]
    assert layers.GlobalMaxPooling1D()(x).dtype is torch.int64
    average = layers.GlobalAveragePooling1D()(x, mask=mask)
    assert average.tolist() == [[-2.5]] and average.dtype is torch.float32
    symbol = ostinato.Input((3, 1), dtype="int64")
    assert layers.GlobalAveragePooling1D()(symbol).dtype is torch.float32
    assert layers.GlobalMaxPooling1D()(symbol).dtype is torch.int64


def test_averages_of_long_half_precision_sequences():
    """4000 steps of 100: their sum is beyond float16, and beyond counting in bfloat16."""
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.full((1, 4000, 2), 100.0, dtype=dtype)
        mask = torch.arange(4000)[None] < 3999
        for given_mask in (None, mask):
            found = layers.GlobalAveragePooling1D(dtype=dtype)(x, mask=given_mask)
            assert found.dtype is dtype and found.eq(100).all()


def test_pooling_after_an_embedding():
    embedding = layers.Embedding(9, 3, mask_zero=True)
    words = torch.tensor([[1, 2, 0, 0], [3, 0, 4, 5]])
    for name in POOLING:
        model = ostinato.Sequential([embedding, getattr(layers, name)()])
        expected = by_hand(name, embedding(words).detach().numpy(), (words != 0).numpy())
        np.testing.assert_allclose(model(words).detach().numpy(), expected, rtol=1e-6, atol=1e-6)


def test_short_names_of_keras():
    assert layers.GlobalAvgPool1D is layers.GlobalAveragePooling1D
    assert layers.GlobalMaxPool1D is layers.GlobalMaxPooling1D


# -- reshaping -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_reshaping_over_sizes(data):
    batch = data.draw(st.integers(0, 3))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    x = np.arange(batch * np.prod(sizes, dtype=int)).reshape(batch, *sizes)
    order = data.draw(st.permutations(range(1, len(sizes) + 1)))
    np.testing.assert_array_equal(layers.Permute(order)(x).numpy(), x.transpose(0, *order))
    np.testing.assert_array_equal(layers.Flatten()(x).numpy(), x.reshape(batch, np.prod(sizes, dtype=int)))
    first = x if len(sizes) < 2 else np.moveaxis(x, 1, -1)
    flat = layers.Flatten("channels_first")(x).numpy()
    np.testing.assert_array_equal(flat, first.reshape(batch, np.prod(sizes, dtype=int)))
    target = data.draw(st.permutations(sizes))
    open_one = data.draw(st.integers(0, len(sizes) - 1))
    for hole in (-1, None):
        shape = [hole if i == open_one else size for i, size in enumerate(target)]
        layer = layers.Reshape(shape)
        np.testing.assert_array_equal(layer(x).numpy(), x.reshape(batch, *target))
        assert layer.compute_output_shape((None, *sizes)) == (None, *target)
    vector = x.reshape(batch, np.prod(sizes, dtype=int))
    np.testing.assert_array_equal(layers.RepeatVector(3)(vector).numpy(), np.repeat(vector[:, None], 3, 1))


@pytest.mark.parametrize("shape", [(None, 4, None), (None, None), (2, 4, 3), (None,), (5,)])
def test_open_sizes_as_in_keras(shape):
    assert layers.Flatten().compute_output_shape(shape) == keras.layers.Flatten().compute_output_shape(shape)


@pytest.mark.parametrize("shape", [(None, 4, None), (None, None), (2, 4, 3)])
@pytest.mark.parametrize("target", [(-1, 2), (6, 2)])
def test_open_sizes_reshaped_as_in_keras(shape, target):
    ours, theirs = layers.Reshape(target), keras.layers.Reshape(target)
    assert ours.compute_output_shape(shape) == theirs.compute_output_shape(shape)


RESHAPING = {
    "Flatten": lambda module: module.Flatten(),
    "Reshape": lambda module: module.Reshape((4, 5)),
    "Permute": lambda module: module.Permute((2, 1)),
}


@pytest.mark.parametrize("module", [layers, keras.layers], ids=["ostinato", "keras"])
@pytest.mark.parametrize("name", RESHAPING)
def test_a_mask_ends_with_a_warning_as_in_keras(name, module):
    inputs = tensor(3, 5, 4)
    inputs._keras_mask = mask_of("gaps")
    with pytest.warns(UserWarning, match="does not support masking"):
        assert getattr(RESHAPING[name](module)(inputs), "_keras_mask", None) is None


def test_the_dtype_is_that_of_the_input():
    for layer in (layers.Flatten(), layers.Reshape((2, 2)), layers.RepeatVector(2), layers.Permute((1,))):
        for dtype in ("int64", "bool", "float64"):
            assert layer(torch.zeros(3, 4, dtype=getattr(torch, dtype))).dtype is getattr(torch, dtype)
            assert layer(ostinato.Input((4,), dtype=dtype)).dtype is getattr(torch, dtype)


KERAS = {
    "Flatten": lambda: keras.layers.Flatten(data_format="channels_first"),
    "Reshape": lambda: keras.layers.Reshape((-1, 2)),
    "Permute": lambda: keras.layers.Permute((2, 1)),
    "GlobalAveragePooling1D": lambda: keras.layers.GlobalAveragePooling1D(keepdims=True),
    "GlobalMaxPooling1D": lambda: keras.layers.GlobalMaxPooling1D(data_format="channels_first"),
}


@pytest.mark.parametrize("name", KERAS)
def test_a_config_that_keras_wrote(name):
    theirs, x = KERAS[name](), tensor(3, 5, 4)
    ours = layers.deserialize(json.loads(json.dumps(keras.layers.serialize(theirs))))
    assert type(ours) is getattr(layers, name) and ours.name == theirs.name
    torch.testing.assert_close(ours(x), theirs(x))


X = torch.zeros(2, 3, 4)
REFUSED = {
    "data_format": (lambda: layers.Flatten("last"), ValueError, "Flatten: data_format must be 'channels_last' or"),
    "pooling's": (lambda: layers.GlobalMaxPooling1D("x"), ValueError, "GlobalMaxPooling1D: data_format must be"),
    "pooling's rank": (
        lambda: layers.GlobalAveragePooling1D()(X[0]),
        ValueError,
        r"expected \(batch, time, features\), got \(3, 4\)",
    ),
    "pooling's mask": (
        lambda: layers.GlobalMaxPooling1D()(X, mask=torch.ones(2, 4)),
        ValueError,
        r"mask must have shape \(batch, time\) = \(2, 3\), got \(2, 4\)",
    ),
    "two open": (lambda: layers.Reshape((-1, None)), ValueError, "may have one open size"),
    "below -1": (lambda: layers.Reshape((-2, 3)), ValueError, "target_shape must be sizes"),
    "no size": (lambda: layers.Reshape((1.5,)), ValueError, "target_shape must be sizes"),
    "no fit": (
        lambda: layers.Reshape((5, 2))(X),
        ValueError,
        r"12 values of a sample of shape \(3, 4\) cannot be laid",
    ),
    "no multiple": (lambda: layers.Reshape((-1, 5))(X), ValueError, "cannot be laid out"),
    "of nothing": (lambda: layers.Reshape((-1, 0))(X), ValueError, "cannot be laid out"),
    "symbolic": (lambda: layers.Reshape((5, 2))(ostinato.Input((3, 4))), ValueError, "cannot be laid out"),
    "dims": (lambda: layers.Permute((0, 1)), ValueError, "dims must be the numbers from 1"),
    "dims twice": (lambda: layers.Permute((1, 1)), ValueError, "each once"),
    "rank": (lambda: layers.Permute((1, 2, 3))(X), ValueError, "expected"),
    "n": (lambda: layers.RepeatVector(0), ValueError, "n must be at least 1, got 0"),
    "n, no number": (lambda: layers.RepeatVector(1.5), TypeError, "n must be a whole number, got 1.5"),
    "n, a bool": (lambda: layers.RepeatVector(True), TypeError, "n must be a whole number"),
    "a sequence": (lambda: layers.RepeatVector(2)(X), ValueError, r"expected \(batch, features\), got \(2, 3, 4\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    make, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        make()
