"""Conv1D and Conv2D: against the real Keras, and against the definition in NumPy float64."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ostinato
from ostinato import layers
from side_by_side import assert_same, give_weights, tensor

OPTIONS_1D = {
    "plain": {},
    "one step": {"kernel_size": 1},
    "strides": {"strides": 2},
    "strides beyond the window": {"strides": 4, "kernel_size": 2},
    "dilation": {"dilation_rate": 2},
    "an even window": {"kernel_size": 4},
    "groups": {"groups": 2, "filters": 6},
    "groups and strides": {"groups": 4, "filters": 4, "strides": 3},
    "no bias": {"use_bias": False},
    "activation": {"activation": "tanh"},
}
OPTIONS_2D = {
    "plain": {},
    "unlike sides": {"kernel_size": (2, 3)},
    "strides": {"strides": (2, 1), "kernel_size": (3, 2)},
    "strides alike": {"strides": 2},
    "dilation": {"dilation_rate": (2, 1), "kernel_size": 2},
    "groups": {"groups": 2, "filters": 6},
    "no bias": {"use_bias": False, "activation": "relu"},
}


def twins(name, shape, **options):
    """Our layer and Keras's, built, with the same random weights."""
    options = {"filters": 3, "kernel_size": 3, **options}
    pair = [getattr(module.layers, name)(**options) for module in (ostinato, keras)]
    for layer in pair:
        layer.build(shape)
    give_weights(*pair)
    return pair


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first", None])
@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize("options", OPTIONS_1D)
def test_conv1d_is_that_of_keras(options, padding, data_format):
    shape = (2, 4, 11) if data_format == "channels_first" else (2, 11, 4)
    pair = twins("Conv1D", shape, padding=padding, data_format=data_format, **OPTIONS_1D[options])
    assert pair[0].kernel.shape == pair[1].kernel.shape
    outputs, _ = assert_same(*pair, tensor(*shape))
    assert tuple(outputs[0].shape) == pair[0].compute_output_shape(shape) == pair[1].compute_output_shape(shape)
    unknown = (None, 4, None) if data_format == "channels_first" else (None, None, 4)
    assert pair[0].compute_output_shape(unknown) == pair[1].compute_output_shape(unknown)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same", "SAME"])
@pytest.mark.parametrize("options", OPTIONS_2D)
def test_conv2d_is_that_of_keras(options, padding, data_format):
    shape = (2, 4, 7, 6) if data_format == "channels_first" else (2, 7, 6, 4)
    pair = twins("Conv2D", shape, padding=padding, data_format=data_format, **OPTIONS_2D[options])
    outputs, _ = assert_same(*pair, tensor(*shape), tolerance=1e-5)
    assert tuple(outputs[0].shape) == pair[0].compute_output_shape(shape) == pair[1].compute_output_shape(shape)


def by_definition(x, kernel, strides, dilation, padding, groups):
    """Channels last, one sum for each position, in NumPy; x: `(batch, *sizes, channels)`."""
    window, rank = kernel.shape[:-2], kernel.ndim - 2
    reach = [d * (k - 1) for d, k in zip(dilation, window, strict=True)]
    counts, pads = [], []
    for n, s, r in zip(x.shape[1:-1], strides, reach, strict=True):
        if padding == "valid":
            before, after, count = 0, 0, (n - r - 1) // s + 1
        elif padding == "causal":
            before, after, count = r, 0, math.ceil(n / s)
        else:
            count = math.ceil(n / s)
            total = max((count - 1) * s + r + 1 - n, 0)
            before, after = total // 2, total - total // 2
        counts.append(count)
        pads.append((before, after))
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    outputs = np.zeros((len(x), *counts, kernel.shape[-1]))
    inside, outside = kernel.shape[-2], kernel.shape[-1] // groups
    for place in itertools.product(*map(range, counts)):
        for point in itertools.product(*map(range, window)):
            at = tuple(place[a] * strides[a] + point[a] * dilation[a] for a in range(rank))
            for g in range(groups):
                part = x[(slice(None), *at, slice(g * inside, (g + 1) * inside))]
                columns = slice(g * outside, (g + 1) * outside)
                outputs[(slice(None), *place, columns)] += part @ kernel[(*point, slice(None), columns)]
    return outputs


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 2))
    window = draw(st.tuples(*[st.integers(1, 4)] * rank))
    strides = draw(st.tuples(*[st.integers(1, 3)] * rank))
    dilation = draw(st.tuples(*[st.integers(1, 3)] * rank)) if max(strides) == 1 else (1,) * rank
    padding = draw(st.sampled_from(["valid", "same", *(["causal"] if rank == 1 else [])]))
    least = [d * (k - 1) + 1 if padding == "valid" else 1 for d, k in zip(dilation, window, strict=True)]
    sizes = tuple(n + draw(st.integers(0, 5)) for n in least)
    groups = draw(st.integers(1, 3))
    channels, filters = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    return window, strides, dilation, padding, sizes, groups, channels, filters, draw(st.integers(1, 3))


@given(convolutions())
@settings(max_examples=150, deadline=None)
def test_any_size_by_definition(case):
    window, strides, dilation, padding, sizes, groups, channels, filters, batch = case
    options = {"groups": groups, "dilation_rate": dilation, "bias_initializer": "normal", "dtype": "float64"}
    layer = (layers.Conv1D if len(window) == 1 else layers.Conv2D)(filters, window, strides, padding, **options)
    x = tensor(batch, *sizes, channels, dtype=torch.float64)
    found = layer(x)
    right = by_definition(x.numpy(), layer.kernel.detach().numpy(), strides, dilation, padding, groups)
    right = right + layer.bias.detach().numpy()
    assert tuple(found.shape) == right.shape == layer.compute_output_shape(tuple(x.shape))
    np.testing.assert_allclose(found.detach().numpy(), right, rtol=1e-12, atol=1e-12)
    first = type(layer)(filters, window, strides, padding, "channels_first", **options)
    first.build(tuple(x.movedim(-1, 1).shape))
    first.set_weights(layer.get_weights())
    torch.testing.assert_close(first(x.movedim(-1, 1)).movedim(1, -1), found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
def test_gradcheck(padding):
    layer = layers.Conv1D(2, 2, 1, padding, dilation_rate=2, activation="tanh", dtype="float64")
    x = tensor(2, 5, 3, dtype=torch.float64).requires_grad_()
    layer(x)
    run = lambda x, kernel: torch.func.functional_call(layer, {"kernel": kernel}, (x,))  # noqa: E731
    assert torch.autograd.gradcheck(run, (x, layer.kernel))


def test_causal_outputs_see_no_later_input():
    layer = layers.Conv1D(3, 3, padding="causal", dilation_rate=2)
    x = tensor(2, 9, 4)
    later = x.clone()
    later[:, 5:] += 100
    found, right = layer(later), layer(x)
    assert torch.equal(found[:, :5], right[:, :5]) and not torch.equal(found[:, 5:], right[:, 5:])


def test_initial_weights_regularizers_and_constraints_reach_the_weights():
    options = {
        "kernel_initializer": "ones",
        "bias_initializer": "ones",
        "kernel_regularizer": "l1",
        "bias_regularizer": ostinato.regularizers.L2(0.5),
        "activity_regularizer": "l2",
        "kernel_constraint": "non_neg",
    }
    layer = layers.Conv1D(2, 3, **options)
    theirs = keras.layers.Conv1D(2, 3, **{**options, "bias_regularizer": keras.regularizers.L2(0.5)})
    x = tensor(2, 5, 4)
    layer(x), theirs(x)
    mine = sorted(loss.item() for loss in layer.losses)
    right = sorted(loss.item() for loss in theirs.losses)
    np.testing.assert_allclose(mine, right, rtol=1e-5)
    model = ostinato.Sequential([layer])
    model.compile("sgd", "mse")
    layer.set_weights([w - 1.0001 for w in layer.get_weights()])
    model.train_on_batch(x, torch.zeros(2, 3, 2))
    assert layer.kernel.ge(0).all()


def test_glorot_counts_the_window():
    """As Keras's: fan_in and fan_out are channels and filters times the size of the window."""
    layer = layers.Conv2D(32, (3, 5))
    layer.build((None, 9, 9, 16))
    limit = math.sqrt(6 / (15 * 16 + 15 * 32))
    assert 0.98 * limit < layer.kernel.abs().max() <= limit


def test_whole_numbers_are_taken_as_numbers():
    layer = layers.Conv1D(2, 2)
    x = torch.arange(12).reshape(1, 6, 2)
    torch.testing.assert_close(layer(x), layer(x.float()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtypes(dtype):
    layer = layers.Conv2D(2, 2, padding="same", dtype=dtype)
    found = layer(tensor(2, 4, 4, 3, dtype=dtype))
    assert found.dtype is dtype and layer.kernel.dtype is dtype


def test_drawn_and_compiled_give_the_same():
    x = tensor(2, 9, 4)
    layer = layers.Conv1D(3, 3, padding="causal", activation="relu")
    right = layer(x)
    symbol = ostinato.Input((None, 4))
    drawn = layer(symbol)
    assert drawn.shape == (None, None, 3)
    assert torch.equal(ostinato.Model(symbol, drawn)(x), right)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), right)
    torch.testing.assert_close(compiled(tensor(3, 12, 4)), layer(tensor(3, 12, 4)))


def test_the_mask_ends_as_in_keras():
    """Keras's convolutions support no masks, and say so once."""
    x = tensor(2, 5, 3)
    x._keras_mask = torch.ones(2, 5, dtype=torch.bool)
    layer = layers.Conv1D(2, 3, padding="same")
    with pytest.warns(UserWarning, match="does not support masking"):
        found = layer(x)
    assert getattr(found, "_keras_mask", None) is None
    assert not keras.layers.Conv1D(2, 3).supports_masking


@pytest.mark.parametrize("name", ["Conv1D", "Conv2D"])
def test_configs_there_and_back_and_from_keras(name):
    options = {
        "filters": 4,
        "kernel_size": 3,
        "padding": "same",
        "data_format": "channels_first",
        "dilation_rate": 2,
        "groups": 2,
        "activation": "relu",
        "use_bias": False,
        "kernel_initializer": "he_normal",
        "kernel_regularizer": "l2",
        "activity_regularizer": "l1",
        "kernel_constraint": "max_norm",
        "name": "mine",
    }
    layer = getattr(layers, name)(**options)
    config = json.loads(json.dumps(layers.serialize(layer)))
    assert json.loads(json.dumps(layers.serialize(layers.deserialize(config)))) == config
    theirs = getattr(keras.layers, name)(**options)
    loaded = layers.deserialize(json.loads(json.dumps(keras.saving.serialize_keras_object(theirs))))
    for key in ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups", "use_bias"):
        assert getattr(loaded, key) == getattr(layer, key) == getattr(theirs, key), key
    shape = (2, 4, *(9,) * loaded.rank)
    loaded.build(shape), theirs.build(shape)
    give_weights(loaded, theirs)
    assert_same(loaded, theirs, tensor(*shape), tolerance=1e-5)


MADE_WRONG = {
    "no filters": ({"filters": 0}, "filters. must be a positive integer, got 0"),
    "half a filter": ({"filters": 2.5}, "filters. must be"),
    "no window": ({"kernel_size": 0}, "kernel_size. must be a positive integer"),
    "a window of two": ({"kernel_size": (3, 3)}, r"kernel_size. must be .* got \(3, 3\)"),
    "no strides": ({"strides": 0}, "strides. must be"),
    "negative dilation": ({"dilation_rate": -1}, "dilation_rate. must be"),
    "strides and dilation": ({"strides": 2, "dilation_rate": 2}, "one of the two must be 1"),
    "padding misspelt": ({"padding": "vaild"}, "Did you mean 'valid'"),
    "padding of numbers": ({"padding": [1, 1]}, "padding must be one of"),
    "data_format": ({"data_format": "NHWC"}, "data_format must be one of"),
    "no groups": ({"groups": 0}, "groups. must be"),
    "groups that do not divide": ({"groups": 2}, "filters must be a multiple of groups, got 3 and 2"),
    "an unknown argument": ({"kernal_size": 2}, "Did you mean 'kernel_size'"),
    "an activation misspelt": ({"activation": "rellu"}, "Did you mean 'relu'"),
}


@pytest.mark.parametrize("case", MADE_WRONG)
def test_misuse_when_made(case):
    options, message = MADE_WRONG[case]
    with pytest.raises(ValueError, match=message):
        layers.Conv1D(**{"filters": 3, "kernel_size": 3, **options})


def test_conv2d_is_not_causal():
    with pytest.raises(ValueError, match="padding must be one of"):
        layers.Conv2D(3, 3, padding="causal")


CALLED_WRONG = {
    "two axes": ({}, (2, 5), r"expected input \(batch, steps, channels\)"),
    "four axes": ({}, (2, 5, 5, 3), r"expected input \(batch, steps, channels\)"),
    "channels and groups": ({"groups": 3}, (2, 5, 4), "got 4 channels and 3 groups"),
    "too short": ({"dilation_rate": 3}, (2, 5, 4), "does not fit into an input of .5,."),
    "empty": ({"padding": "same"}, (2, 0, 4), "does not fit"),
}


@pytest.mark.parametrize("case", CALLED_WRONG)
def test_misuse_when_called(case):
    options, shape, message = CALLED_WRONG[case]
    with pytest.raises(ValueError, match=message):
        layers.Conv1D(3, 3, **options)(torch.zeros(shape))


def test_misuse_after_it_is_built():
    layer = layers.Conv2D(3, 3)
    layer(torch.zeros(1, 5, 5, 2))
    with pytest.raises(ValueError, match="does not fit"):
        layer(torch.zeros(1, 2, 5, 2))
    with pytest.raises(ValueError, match=r"expected \(batch, height, width, 2\), got \(1, 5, 5, 3\)"):
        layer(torch.zeros(1, 5, 5, 3))
    with pytest.raises(TypeError, match="float32"):
        layer(torch.zeros(1, 5, 5, 2, dtype=torch.float64))
