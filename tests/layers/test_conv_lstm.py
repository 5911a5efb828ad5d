"""ConvLSTM1D, 2D and 3D against the real Keras and the NumPy oracle: options, cells, weights, dropout."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell as KerasCell

import oracle
import ostinato
from conv_twins import NAMES, SIZES, shape_of, states_of, twins
from ostinato import layers
from ostinato.layers.conv_lstm import ConvLSTMCell
from ostinato.random import DEFAULT, Stream, dropout_mask
from ostinato.recurrence.nests import flatten
from side_by_side import MASKS, assert_same, give_weights, mask_of, tensor

# -- against Keras ----------------------------------------------------------------------------------------------------

OPTIONS = {
    "plain": {},
    "same": {"padding": "same", "kernel_size": 3},
    "SAME, an even window": {"padding": "SAME"},
    "strides": {"strides": 2},
    "strides, same": {"strides": 2, "padding": "same", "kernel_size": 3},
    "dilation, same": {"dilation_rate": 2, "padding": "same"},
    "no bias": {"use_bias": False},
    "activations": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
    "no activation": {"activation": None, "recurrent_activation": "tanh"},
}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first", None])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("rank", SIZES)
def test_outputs_states_and_gradients(rank, options, data_format):
    """Sequences and states at once, from an initial state: all that a layer can return, and all gradients."""
    options = {"return_sequences": True, "return_state": True, "data_format": data_format, **OPTIONS[options]}
    pair = twins(rank, **options)
    shape = shape_of(rank, data_format)
    mine, _ = assert_same(*pair, tensor(*shape), states_of(pair[0]), tolerance=1e-5)
    computed = pair[0].compute_output_shape(shape)
    assert computed == pair[1].compute_output_shape(shape) == tuple(tuple(leaf.shape) for leaf in mine)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("rank", [1, 2])
def test_masks(rank, data_format, backwards, mask):
    options = {"return_sequences": True, "return_state": True, "go_backwards": backwards, "data_format": data_format}
    pair = twins(rank, **options)
    assert_same(*pair, tensor(*shape_of(rank, data_format)), states_of(pair[0]), tolerance=1e-5, mask=mask_of(mask))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("rank", SIZES)
def test_last_output_from_zeros(rank, mask):
    """A row without steps gives zeros and gets no gradient."""
    outputs, _ = assert_same(*twins(rank), tensor(*shape_of(rank)), tolerance=1e-5, mask=mask_of(mask))
    if mask == "a row without steps":
        assert outputs[0][1].eq(0).all() and not outputs[0][0].eq(0).any()


@pytest.mark.parametrize("mask", MASKS)
def test_zero_output_for_mask(mask):
    """Of sequences; the last output is left, though Keras 3 zeroes that too."""
    pair = twins(2, return_sequences=True, zero_output_for_mask=True)
    outputs, _ = assert_same(*pair, tensor(*shape_of(2)), tolerance=1e-5, mask=mask_of(mask))
    assert mask == "none" or outputs[0][~mask_of(mask)].eq(0).all()
    last, plain = (twins(2, zero_output_for_mask=each)[0] for each in (True, False))
    x = tensor(*shape_of(2))
    assert torch.equal(last(x, mask=mask_of(mask)), plain(x, mask=mask_of(mask)))


@pytest.mark.parametrize("mask", ["none", "gaps", "left padding"])
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_unroll_changes_nothing(backwards, mask):
    """Keras 3 crashes on unroll with go_backwards and a mask, so its rolled loop is the oracle."""
    options = {"return_sequences": True, "go_backwards": backwards}
    ours, _ = twins(2, unroll=True, **options)
    _, theirs = twins(2, **options)
    assert_same(ours, theirs, tensor(*shape_of(2)), states_of(ours), tolerance=1e-5, mask=mask_of(mask))


@pytest.mark.parametrize("shape", [(1, 1, 3, 3, 1), (1, 7, 2, 5, 3), (5, 1, 4, 2, 1), (2, 13, 3, 3, 2)], ids=str)
def test_sizes(shape):
    assert_same(*twins(2, shape, filters=5, return_sequences=True), tensor(*shape), tolerance=1e-5)


@st.composite
def cases(draw):
    rank = draw(st.integers(1, 3))
    window = draw(st.tuples(*[st.integers(1, 3)] * rank))
    padding = draw(st.sampled_from(["valid", "same"]))
    strides = draw(st.tuples(*[st.integers(1, 3)] * rank))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * rank)) if max(strides) == 1 else (1,) * rank
    least = [d * (k - 1) + 1 if padding == "valid" else 1 for d, k in zip(dilation, window, strict=True)]
    sizes = tuple(n + draw(st.integers(0, 3)) for n in least)
    batch, time = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    options = {
        "filters": draw(st.integers(1, 3)),
        "kernel_size": window,
        "strides": strides,
        "dilation_rate": dilation,
        "padding": padding,
        "use_bias": draw(st.booleans()),
        "return_sequences": draw(st.booleans()),
        "return_state": draw(st.booleans()),
        "go_backwards": draw(st.booleans()),
        "data_format": draw(st.sampled_from(["channels_last", "channels_first"])),
    }
    mask = draw(
        st.none() | st.lists(st.lists(st.booleans(), min_size=time, max_size=time), min_size=batch, max_size=batch)
    )
    return rank, sizes, batch, time, draw(st.integers(1, 3)), options, mask, draw(st.booleans())


@given(cases())
@settings(max_examples=60, deadline=None)
def test_whatever_the_options_it_is_the_loop_in_numpy(case):
    rank, sizes, batch, time, channels, options, mask, from_state = case
    layer = getattr(layers, NAMES[rank])(dtype="float64", bias_initializer="uniform", **options)
    shape = shape_of(rank, options["data_format"], batch, time, channels, sizes)
    x = tensor(*shape, dtype=torch.float64)
    layer.build(shape)
    states = [each.double() for each in states_of(layer, batch)] if from_state else None
    mask = None if mask is None else torch.tensor(mask)
    found = flatten(layer(x, initial_state=states, mask=mask))

    def arranged(array):
        return np.moveaxis(array, -1 - rank, -1) if options["data_format"] == "channels_first" else array

    convolution = [options[name] for name in ("strides", "dilation_rate", "padding")]
    cell = oracle.ConvCell(*(w.astype("float64") for w in layer.get_weights()), *[None] * (3 - layer.use_bias))
    cell = dataclasses.replace(cell, **dict(zip(("strides", "dilation", "padding"), convolution, strict=True)))
    starts = states or [torch.zeros(batch, *size) for size in layer.state_size]
    right = oracle.run_conv(
        cell,
        arranged(x.numpy()),
        [arranged(each.double().numpy()) for each in starts],
        None if mask is None else mask.numpy(),
        options["go_backwards"],
    )
    output = right.outputs if options["return_sequences"] else right.last
    expected = [output, *right.states] if options["return_state"] else [output]
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(arranged(mine.detach().numpy()), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rank", SIZES)
def test_numbers_of_keras(rank):
    """Constant weights on counted inputs, as in its own tests; the number is the one that its test of 2D has."""
    shape = (2, 3, *(4,) * rank, 5)
    x = np.arange(np.prod(shape)).reshape(shape).astype("float32") / 100
    pair = []
    for module in (ostinato, keras):
        values = {"kernel": 0.01, "recurrent": 0.02, "bias": 0.03}
        made = {f"{which}_initializer": module.initializers.Constant(value) for which, value in values.items()}
        pair.append(getattr(module.layers, NAMES[rank])(2, 3, **made)(x))
    torch.testing.assert_close(*pair)
    if rank == 2:
        assert pair[0][0, 0, 0, 0].item() == pytest.approx(0.48694518, rel=1e-6)


# -- the cell ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("rank", SIZES)
def test_the_cell_is_that_of_keras(rank, data_format):
    options = {"filters": 3, "kernel_size": 2, "data_format": data_format, "padding": "same"}
    ours, theirs = ConvLSTMCell(rank, **options), KerasCell(rank, **options)
    shape = (shape := shape_of(rank, data_format))[:1] + shape[2:]
    for cell in (ours, theirs):
        cell.build(shape)
    give_weights(ours, theirs)
    x, states = tensor(*shape), states_of(ours)
    (output, new), (right, right_new) = ours(x, states), theirs(x, states)
    torch.testing.assert_close([output, *new], [right, *right_new], rtol=1e-5, atol=1e-5)
    assert ours.compute_output_shape(shape) == (tuple(output.shape), [tuple(each.shape) for each in new])
    assert [each.shape for each in ours.get_initial_state(3)] == [each.shape for each in new]


@pytest.mark.parametrize("rank", SIZES)
def test_the_cell_step_by_step_is_the_layer(rank):
    layer = twins(rank, return_sequences=True, return_state=True, strides=2)[0]
    x = tensor(*shape_of(rank))
    outputs, *final = layer(x)
    states, found = layer.cell.get_initial_state(3), []
    for t in range(5):
        output, states = layer.cell(x[:, t], states)
        found.append(output)
    torch.testing.assert_close([torch.stack(found, 1), *states], [outputs, *final])


def test_sizes_of_the_state_are_known_once_built():
    layer = layers.ConvLSTM2D(3, 2)
    assert layer.state_size == [torch.Size([-1, -1, 3])] * 2
    layer.build((None, None, 5, 4, 2))
    assert layer.state_size == [torch.Size([4, 3, 3])] * 2
    assert [each.shape for each in layer.get_initial_state(7)] == [(7, 4, 3, 3)] * 2
    first = layers.ConvLSTM2D(3, 2, data_format="channels_first")
    assert first.state_size == [torch.Size([3, -1, -1])] * 2
    first.build((None, None, 2, 5, 4))
    assert first.state_size == [torch.Size([3, 4, 3])] * 2


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("rank", SIZES)
def test_output_shapes_before_it_is_built_and_with_open_sizes(rank, data_format):
    for options in ({}, {"return_sequences": True}, {"return_sequences": True, "return_state": True, "strides": 2}):
        pair = [
            getattr(module.layers, NAMES[rank])(3, 2, data_format=data_format, **options)
            for module in (ostinato, keras)
        ]
        shapes = [
            shape_of(rank, data_format, None, None),
            shape_of(rank, data_format, None, 5, None, (None,) * rank),
            list(shape_of(rank, data_format)),
        ]
        for shape in shapes:
            assert pair[0].compute_output_shape(shape) == pair[1].compute_output_shape(tuple(shape))
        assert not pair[0].built


# -- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", SIZES)
def test_weights_are_made_as_in_keras(rank):
    ours, theirs = (getattr(module.layers, NAMES[rank])(6, 2) for module in (ostinato, keras))
    for layer in (ours, theirs):
        layer.build(shape_of(rank))
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    kernel, recurrent, bias = ours.get_weights()
    assert kernel.shape == (2,) * rank + (2, 24) and recurrent.shape == (2,) * rank + (6, 24)
    assert bias.tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 12
    flat = recurrent.reshape(-1, 24)
    gram = flat @ flat.T if len(flat) < 24 else flat.T @ flat
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)
    limit = np.sqrt(6 / (2**rank * (2 + 24)))
    assert 0.9 * limit < np.abs(kernel).max() <= limit


def test_the_forget_gate_keeps_the_bias_initializer_of_the_others():
    layer = layers.ConvLSTM1D(2, 1, bias_initializer=ostinato.initializers.Constant(3.0))
    layer.build((None, None, 4, 1))
    assert layer.bias.tolist() == [3.0, 3.0, 1.0, 1.0] + [3.0] * 4
    plain = layers.ConvLSTM1D(2, 1, bias_initializer="ones", unit_forget_bias=False)
    plain.build((None, None, 4, 1))
    assert plain.bias.tolist() == [1.0] * 8
    none = layers.ConvLSTM1D(2, 1, use_bias=False)
    none.build((None, None, 4, 1))
    assert none.bias is None and len(none.weights) == 2


def test_regularizers_add_up_as_in_keras():
    options = {f"{which}_regularizer": "l2" for which in ("kernel", "recurrent", "bias", "activity")}
    ours, theirs = twins(2, return_sequences=True, **options)
    x = tensor(*shape_of(2))
    ours(x), theirs(x)
    assert len(ours.losses) == len(theirs.losses) == 4
    torch.testing.assert_close(sum(ours.losses), sum(theirs.losses).to(torch.float32), rtol=1e-5, atol=1e-5)


def test_constraints_hold_after_a_step_of_training():
    options = {f"{which}_constraint": "non_neg" for which in ("kernel", "recurrent", "bias")}
    model = ostinato.Sequential([layers.ConvLSTM2D(2, 2, **options), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.random.default_rng(0).normal(size=(4, 3, 4, 4, 1)), np.zeros((4, 1)), epochs=2, verbose=0)
    assert all(weight.min() >= 0 for weight in model.layers[0].weights)


def test_the_layer_answers_for_its_cell():
    layer = layers.ConvLSTM2D(
        4, 3, (2, 1), "SAME", "channels_first", activation="relu", use_bias=False, dropout=0.25, seed=3
    )
    assert (layer.filters, layer.kernel_size, layer.strides, layer.padding) == (4, (3, 3), (2, 1), "same")
    assert (layer.data_format, layer.dilation_rate, layer.use_bias) == ("channels_first", (1, 1), False)
    assert (layer.dropout, layer.recurrent_dropout, layer.seed, layer.unit_forget_bias) == (0.25, 0.0, 3, True)
    assert layer.activation is layer.cell.activation
    for which in ("kernel", "recurrent", "bias"):
        for what in ("initializer", "regularizer", "constraint"):
            assert getattr(layer, f"{which}_{what}") is getattr(layer.cell, f"{which}_{what}")
    with pytest.raises(AttributeError):
        layer.filters = 5


@pytest.mark.parametrize("name", NAMES.values())
def test_arguments_stand_in_the_order_of_keras(name):
    mine, theirs = (
        list(inspect.signature(getattr(module.layers, name).__init__).parameters.items())[1:-1]
        for module in (ostinato, keras)
    )
    assert [(key, each.default) for key, each in mine[: len(theirs)]] == [(key, each.default) for key, each in theirs]


# -- dropout ----------------------------------------------------------------------------------------------------------


def masks_drawn(layer, batch):
    """The masks that a layer with this seed draws first."""
    stream, like = Stream(layer.seed), torch.zeros((), dtype=torch.float64)
    step, state = layer.cell._step_sizes()
    drawn = []
    for rate, size in ((layer.dropout, step), (layer.recurrent_dropout, state)):
        drawn.append(dropout_mask((4, batch, *size), rate, like, stream).numpy() if rate else None)
    return drawn


@pytest.mark.parametrize("rates", [(0.5, 0.0), (0.0, 0.5), (0.3, 0.6)], ids=str)
@pytest.mark.parametrize("rank", [1, 2])
def test_numbers_with_known_masks(rank, rates):
    """A mask for each gate, whichever is dropped, as in Keras; held over time; scaled up."""
    layer = getattr(layers, NAMES[rank])(
        3, 2, dropout=rates[0], recurrent_dropout=rates[1], seed=7, return_sequences=True, dtype="float64"
    )
    x = tensor(*shape_of(rank), dtype=torch.float64)
    got = layer(x, training=True)
    cell = oracle.ConvCell(*layer.get_weights(), *masks_drawn(layer, 3))
    for mask, rate in zip((cell.dropout, cell.recurrent_dropout), rates, strict=True):
        assert mask is None or set(np.unique(mask)) <= {0, 1 / (1 - rate)}
        assert mask is None or not np.array_equal(mask[0], mask[1])
    right = oracle.run_conv(cell, x.numpy(), [np.zeros((3, *size)) for size in layer.state_size])
    np.testing.assert_allclose(got.detach().numpy(), right.outputs, rtol=0, atol=1e-12)


def test_what_dropout_draws_and_when():
    layer = layers.ConvLSTM2D(3, 2, dropout=0.4, recurrent_dropout=0.4, seed=3)
    x = tensor(*shape_of(2))
    quiet = layer(x, training=False)
    assert layer.cell._stream.counter == 0 and torch.equal(layer(x, training=False), quiet)
    first, second = layer(x, training=True), layer(x, training=True)
    assert layer.cell._stream.counter == 4  # one draw for the input, one for the state, a call
    assert not torch.equal(first, second) and not torch.equal(first, quiet)
    twin = layers.ConvLSTM2D.from_config(layer.get_config())
    twin.build(x.shape)
    twin.set_weights(layer.get_weights())
    assert torch.equal(twin(x, training=True), first)
    before = DEFAULT.counter
    layers.ConvLSTM2D(3, 2)(x, training=True)
    assert DEFAULT.counter <= before + 2  # the initializers


def test_dropout_of_a_cell_called_alone():
    layer = layers.ConvLSTM1D(3, 2, dropout=0.5, recurrent_dropout=0.5, seed=5, dtype="float64")
    x = tensor(*shape_of(1), dtype=torch.float64)[:, 0]
    layer.build(shape_of(1))
    states = [each.double() for each in states_of(layer)]
    output, new = layer.cell(x, states, training=True)
    cell = oracle.ConvCell(*layer.get_weights(), *masks_drawn(layer, 3))
    right = oracle.run_conv(cell, x.numpy()[:, None], [each.numpy() for each in states])
    for mine, theirs in zip([output, *new], [right.last, *right.states], strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), theirs, rtol=0, atol=1e-12)
