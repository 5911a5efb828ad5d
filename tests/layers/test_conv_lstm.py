"""ConvLSTM1D, 2D and 3D: against the real Keras and the NumPy oracle; states, wrappers, models, configs, refusals."""

import copy
import dataclasses
import inspect
import json

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell as KerasCell

import oracle
import ostinato
from ostinato import layers
from ostinato.layers.conv_lstm import ConvLSTMCell
from ostinato.random import DEFAULT, Stream, dropout_mask
from ostinato.recurrence.nests import flatten
from side_by_side import MASKS, assert_same, give_weights, mask_of, tensor

SIZES = {1: (6,), 2: (5, 4), 3: (3, 4, 2)}
NAMES = {rank: f"ConvLSTM{rank}D" for rank in SIZES}


def shape_of(rank, data_format="channels_last", batch=3, time=5, channels=2, sizes=None):
    sizes = sizes or SIZES[rank]
    return (batch, time, channels, *sizes) if data_format == "channels_first" else (batch, time, *sizes, channels)


def twins(rank, shape=None, **options):
    """Our layer and Keras's, built, with the same random weights."""
    options = {"filters": 3, "kernel_size": 2, **options}
    pair = [getattr(module.layers, NAMES[rank])(**options) for module in (ostinato, keras)]
    for layer in pair:
        layer.build(shape or shape_of(rank, options.get("data_format")))
    give_weights(*pair, scale=0.25)
    return pair


def states_of(layer, batch=3):
    return [tensor(batch, *size, seed=20 + i) for i, size in enumerate(layer.state_size)]


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


# -- masks and garbage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e38])
@pytest.mark.parametrize("wrap", [lambda layer: layer, layers.Bidirectional], ids=["alone", "Bidirectional"])
@pytest.mark.parametrize("mask", ["right padding", "left padding", "gaps", "a row without steps"])
def test_what_stands_in_a_masked_step_changes_no_bit(mask, wrap, bad):
    layer, mask = wrap(layers.ConvLSTM2D(3, 2, return_sequences=True, return_state=True)), mask_of(mask)

    def run(x):
        x = x.clone().requires_grad_()
        outputs = layer(x, mask=mask)
        loss = sum((leaf * tensor(*leaf.shape, seed=i)).sum() for i, leaf in enumerate(outputs))
        return outputs, torch.autograd.grad(loss, [x, *layer.trainable_weights])

    x = tensor(*shape_of(2))
    dirty = x.clone()
    dirty[~mask] = bad
    (clean, gradients), (found, others) = run(x), run(dirty)
    assert all(torch.equal(a, b) for a, b in zip([*clean, *gradients], [*found, *others], strict=True))
    assert others[0][~mask].eq(0).all()


def test_an_implicit_mask_meets_an_initial_state_and_passes_on():
    first, second = layers.ConvLSTM2D(3, 2, return_sequences=True), layers.ConvLSTM2D(2, 2, return_sequences=True)
    mask = mask_of("gaps")
    x = tensor(*shape_of(2))
    first.build(x.shape)
    states = states_of(first)
    hung = x.clone()
    hung._keras_mask = mask
    found = second(first(hung, initial_state=states))
    assert torch.equal(found._keras_mask, mask)
    assert torch.equal(found, second(first(x, initial_state=states, mask=mask), mask=mask))


# -- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_two_stateful_batches_equal_one_long_one(data_format):
    options = {"return_sequences": True, "data_format": data_format}
    stateful, plain = twins(2, stateful=True, **options)[0], twins(2, **options)[0]
    x = tensor(*shape_of(2, data_format))
    pieces = [stateful(piece) for piece in (x[:, :2], x[:, 2:3], x[:, 3:])]
    torch.testing.assert_close(torch.cat(pieces, 1), plain(x))
    stateful.reset_states()
    assert stateful.states is None and torch.equal(stateful(x[:, :2]), pieces[0])


def test_stateful_training_replaces_states():
    """Two calls and then backward: Keras on torch fails here."""
    layer = layers.ConvLSTM2D(3, 2, stateful=True)
    x = tensor(*shape_of(2))
    total = layer(x).sum()
    kept = flatten(layer.states)
    total = total + layer(x).square().sum()
    assert all(a is not b for a, b in zip(kept, flatten(layer.states), strict=True))
    assert not any(leaf.requires_grad for leaf in kept)
    got = torch.autograd.grad(total, layer.trainable_weights)
    layer.stateful = False
    right = torch.autograd.grad(layer(x).sum() + layer(x, initial_state=kept).square().sum(), layer.trainable_weights)
    torch.testing.assert_close(got, right)


def test_states_are_set_before_and_after_it_is_built():
    x = tensor(*shape_of(2))
    layer = layers.ConvLSTM2D(3, 2, stateful=True)
    given = [tensor(3, 4, 3, 3, seed=i) for i in range(2)]
    layer.reset_states(given)
    found = layer(x)
    plain = layers.ConvLSTM2D(3, 2)
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    assert torch.equal(found, plain(x, initial_state=given))
    layer.reset_states([leaf.numpy() for leaf in given])
    assert torch.equal(layer(x), found)
    other = layers.ConvLSTM2D(3, 2)
    other.build(x.shape)
    assert other(x, initial_state=layer.states).shape == (3, 4, 3, 3)


def test_gradients_reach_initial_states():
    layer, _ = twins(1)
    states = [leaf.requires_grad_() for leaf in states_of(layer)]
    layer(tensor(*shape_of(1)), initial_state=states).sum().backward()
    assert all(leaf.grad.ne(0).any() for leaf in states)


# -- layers around it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["none", "right padding", "gaps", "a row without steps"])
@pytest.mark.parametrize("sequences", [False, True], ids=["last", "sequences"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul", None])
def test_bidirectional_is_that_of_keras(merge_mode, data_format, sequences, mask):
    """Last output and no mask at its step: Keras zeroes a masked last output, against what it documents."""
    shape = shape_of(2, data_format)
    pair = [
        module.layers.Bidirectional(
            module.layers.ConvLSTM2D(3, 2, return_sequences=sequences, return_state=True, data_format=data_format),
            merge_mode=merge_mode,
        )
        for module in (ostinato, keras)
    ]
    for layer in pair:
        layer.build(shape)
    give_weights(*pair)
    x, mask = tensor(*shape), mask_of(mask)
    if mask is None or sequences:
        states = states_of(pair[0].forward_layer) + states_of(pair[0].backward_layer)
        outputs, _ = assert_same(*pair, x, states, tolerance=1e-5, mask=mask)
    else:
        outputs = flatten(pair[0](x, mask=mask))
        halves = [half(x, mask=mask) for half in (pair[0].forward_layer, pair[0].backward_layer)]
        torch.testing.assert_close(outputs[-4:], [*halves[0][1:], *halves[1][1:]])
    computed = pair[0].compute_output_shape(shape)
    assert list(computed) == [tuple(leaf.shape) for leaf in outputs]


def test_bidirectional_stateful_and_its_states():
    layer = layers.Bidirectional(layers.ConvLSTM2D(3, 2, stateful=True))
    x = tensor(*shape_of(2))
    first, second = layer(x), layer(x)
    recorded = layer.states
    assert [leaf.shape for leaf in recorded] == [(3, 4, 3, 3)] * 4 and not torch.equal(first, second)
    layer.reset_states()
    assert torch.equal(layer(x), first)
    layer.reset_states(recorded)
    third = layer(x)
    assert torch.equal(layer(x, initial_state=recorded), third)


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_stacked_cells_are_layers_one_after_the_other(backwards, mask):
    x, mask = tensor(*shape_of(2)), mask_of(mask)
    cells = [ConvLSTMCell(2, 3, 2, padding="same"), ConvLSTMCell(2, 2, 3, strides=2)]
    stack = layers.RNN(cells, return_sequences=True, return_state=True, go_backwards=backwards)
    assert stack.compute_output_shape((None, 5, 5, 4, 2))[0] == (None, 5, None, None, 2)
    output, *states = stack(x, mask=mask)
    options = {"return_sequences": True, "return_state": True}
    lower = layers.ConvLSTM2D(3, 2, padding="same", go_backwards=backwards, **options)
    upper = layers.ConvLSTM2D(2, 3, strides=2, **options)
    between = lower.compute_output_shape(x.shape)[0]
    for layer, cell, shape in ((lower, cells[0], x.shape), (upper, cells[1], between)):
        layer.build(shape)
        layer.set_weights(cell.get_weights())
    middle, *first = lower(x, mask=mask)
    turned = mask.flip(1) if mask is not None and backwards else mask
    right, *second = upper(middle, mask=turned)
    torch.testing.assert_close(output, right)
    torch.testing.assert_close(flatten(states), [*first, *second])
    assert stack.compute_output_shape(x.shape)[0] == tuple(output.shape)
    assert [[tuple(leaf.shape) for leaf in each] for each in states] == [
        list(each) for each in stack.compute_output_shape(x.shape)[1:]
    ]
    assert isinstance(stack.cell, layers.StackedRNNCells)


def test_a_cell_in_rnn_is_the_layer():
    ours = layers.RNN(ConvLSTMCell(2, 3, 2), return_sequences=True, stateful=True)
    layer = twins(2, return_sequences=True, stateful=True)[0]
    x = tensor(*shape_of(2))
    ours.build(x.shape)
    ours.set_weights(layer.get_weights())
    for _ in range(2):
        assert torch.equal(ours(x), layer(x))
    wrapped = layers.Bidirectional(layers.RNN(ConvLSTMCell(1, 3, 2), return_sequences=True))
    assert wrapped(tensor(*shape_of(1))).shape == (3, 5, 5, 6)


def test_time_distributed_after_it():
    pair = []
    for module in (ostinato, keras):
        convolved = module.layers.ConvLSTM2D(3, 2, padding="same", return_sequences=True)
        pair.append(
            module.Sequential(
                [
                    module.layers.Input((5, 5, 4, 2)),
                    convolved,
                    module.layers.TimeDistributed(module.layers.Conv2D(2, 2)),
                    module.layers.TimeDistributed(module.layers.Flatten()),
                    module.layers.LSTM(3),
                ]
            )
        )
    give_weights(*pair)
    assert_same(*pair, tensor(*shape_of(2)), tolerance=1e-5)


def test_time_distributed_around_it():
    layer = layers.ConvLSTM1D(3, 2)
    x = tensor(2, 4, 5, 6, 2)
    found = layers.TimeDistributed(layer)(x)
    right = torch.stack([layer(x[:, t]) for t in range(4)], 1)
    torch.testing.assert_close(found, right)


def test_time_major():
    layer, _ = twins(2, return_sequences=True, return_state=True)
    turned = layers.ConvLSTM2D(3, 2, return_sequences=True, return_state=True, time_major=True)
    x, mask = tensor(*shape_of(2)), mask_of("gaps")
    turned.build((5, 3, 5, 4, 2))
    turned.set_weights(layer.get_weights())
    found, right = turned(x.transpose(0, 1), mask=mask.T), layer(x, mask=mask)
    assert torch.equal(found[0].transpose(0, 1), right[0]) and torch.equal(found[1], right[1])
    assert turned.compute_output_shape((5, 3, 5, 4, 2))[0] == tuple(found[0].shape)


# -- models -----------------------------------------------------------------------------------------------------------


def frames(batch=4, time=5):
    """Rows that light up one after the other, and the next frame."""
    film = torch.eye(6)[(torch.arange(time + 1)[None] + torch.arange(batch)[:, None]) % 6]
    film = film[:, :, :, None, None].expand(batch, time + 1, 6, 6, 1)
    return film[:, :-1].numpy(), film[:, -1].numpy()


def test_a_functional_model_of_open_length_learns_the_next_frame():
    inputs = ostinato.Input((None, 6, 6, 1))
    x = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ConvLSTM2D(4, 3, padding="same")(x)
    model = ostinato.Model(inputs, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x))
    assert model.output_shape == (None, 6, 6, 1)
    model.compile(ostinato.optimizers.Adam(0.02), "binary_crossentropy")
    x, y = frames()
    losses = model.fit(x, y, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert model.predict(x[:, :3], verbose=0).shape == (4, 6, 6, 1)


def test_an_encoder_gives_its_states_to_a_decoder():
    past, future = ostinato.Input((None, 5, 4, 2)), ostinato.Input((None, 5, 4, 1))
    encoder = layers.ConvLSTM2D(3, 2, padding="same", return_state=True)
    decoder = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)
    _, h, c = encoder(past)
    model = ostinato.Model([past, future], decoder(future, initial_state=[h, c]))
    x, y = tensor(3, 5, 5, 4, 2), tensor(3, 7, 5, 4, 1)
    right = decoder(y, initial_state=encoder(x)[1:])
    assert torch.equal(model([x, y]), right)
    both = layers.Bidirectional(layers.ConvLSTM2D(3, 2, padding="same"))
    assert both(past, initial_state=[h, c, h, c]).shape == (None, 5, 4, 6)


def test_the_first_layer_of_a_sequential_model():
    model = ostinato.Sequential([layers.ConvLSTM1D(3, 2, input_shape=(None, 6, 2)), layers.Flatten(), layers.Dense(1)])
    assert model.built and model.output_shape == (None, 1)
    late = ostinato.Sequential([layers.ConvLSTM2D(3, 2, return_sequences=True), layers.ConvLSTM2D(2, 2)])
    assert late(tensor(*shape_of(2))).shape == (3, 3, 2, 2)


# -- configs ----------------------------------------------------------------------------------------------------------

MADE = {
    "ConvLSTM1D": lambda: layers.ConvLSTM1D(3, 2),
    "ConvLSTM2D, positional": lambda: layers.ConvLSTM2D(
        3, (2, 1), 2, "same", "channels_first", 1, "relu", "tanh", False
    ),
    "ConvLSTM2D, all options": lambda: layers.ConvLSTM2D(
        3,
        2,
        dilation_rate=(1, 2),
        kernel_initializer=ostinato.initializers.RandomNormal(stddev=0.1, seed=3),
        bias_initializer="ones",
        unit_forget_bias=False,
        kernel_regularizer=ostinato.regularizers.L1L2(0.1, 0.2),
        recurrent_constraint="max_norm",
        activity_regularizer="l2",
        dropout=0.25,
        recurrent_dropout=0.5,
        seed=3,
        return_sequences=True,
        return_state=True,
        go_backwards=True,
        stateful=True,
        unroll=True,
        zero_output_for_mask=True,
        name="film",
        dtype="float64",
    ),
    "ConvLSTM3D": lambda: layers.ConvLSTM3D(2, [1, 2, 2], padding="same", time_major=False),
    "RNN of a cell": lambda: layers.RNN(ConvLSTMCell(2, 3, 2, seed=5), return_state=True),
    "RNN of cells": lambda: layers.RNN([ConvLSTMCell(2, 3, 2), ConvLSTMCell(2, 2, 1)]),
    "Bidirectional": lambda: layers.Bidirectional(layers.ConvLSTM2D(3, 2, return_state=True), merge_mode="sum"),
}


@pytest.mark.parametrize("name", MADE)
def test_config_there_and_back(name):
    layer = MADE[name]()
    config = json.loads(json.dumps(layer.get_config()))
    rank = 1 if "1D" in name else 3 if "3D" in name else 2
    shape = shape_of(rank, getattr(layer, "data_format", None))
    x = tensor(*shape, dtype=layer.dtype if isinstance(layer.dtype, torch.dtype) else getattr(torch, layer.dtype))
    layer(x, training=False)
    for again in (
        type(layer).from_config(config),
        layers.deserialize(json.loads(json.dumps(layers.serialize(layer)))),
    ):
        assert type(again) is type(layer)
        assert json.loads(json.dumps(again.get_config())) == config
        again.build(shape)
        again.set_weights(layer.get_weights())
        if getattr(layer, "stateful", False):
            layer.reset_states()
        found, right = (flatten(each(x, training=False)) for each in (again, layer))
        assert all(torch.equal(a, b) for a, b in zip(found, right, strict=True))


KERAS = {
    "ConvLSTM1D": lambda: keras.layers.ConvLSTM1D(3, 2, recurrent_activation="hard_sigmoid", dropout=0.5, seed=3),
    "ConvLSTM2D": lambda: keras.layers.ConvLSTM2D(
        3,
        (2, 1),
        padding="same",
        kernel_regularizer="l2",
        bias_constraint="non_neg",
        bias_initializer=keras.initializers.Constant(2.0),
        return_sequences=True,
        go_backwards=True,
        dtype="float64",
    ),
    "ConvLSTM3D": lambda: keras.layers.ConvLSTM3D(2, 2, strides=(1, 2, 1), stateful=True, unroll=True),
    "RNN": lambda: keras.layers.RNN(KerasCell(2, 3, 2)),
    "StackedRNNCells": lambda: keras.layers.StackedRNNCells([KerasCell(2, 3, 2), KerasCell(2, 2, 1)]),
    "Bidirectional": lambda: keras.layers.Bidirectional(keras.layers.ConvLSTM2D(3, 2), merge_mode="mul"),
}


@pytest.mark.parametrize("name", KERAS)
def test_a_config_that_keras_3_wrote(name):
    """From get_config, and from the serialized layer, build_config and all."""
    theirs = KERAS[name]()
    config, whole = theirs.get_config(), json.loads(json.dumps(keras.layers.serialize(theirs)))
    cls = getattr(layers, name)
    for ours in (cls.from_config(config), layers.deserialize(whole)):
        assert type(ours) is cls and ours.name == theirs.name
        got = ours.get_config()
        plain = [key for key, value in config.items() if isinstance(value, bool | int | float | str) and key in got]
        assert {key: got[key] for key in plain} == {key: config[key] for key in plain}


@pytest.mark.parametrize("name", NAMES.values())
def test_a_layer_from_the_config_of_keras_gives_its_numbers(name):
    theirs, rank = KERAS[name](), int(name[-2])
    x = tensor(*shape_of(rank), dtype=getattr(torch, theirs.dtype))
    ours = getattr(layers, name).from_config(theirs.get_config())
    right = theirs(x, training=False)
    for key in ("filters", "kernel_size", "strides", "padding", "dilation_rate", "data_format", "seed"):
        assert getattr(ours, key) == theirs.get_config()[key], key
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())
    torch.testing.assert_close(ours(x, training=False), right, rtol=1e-5, atol=1e-5)


def test_the_rank_of_a_cell_that_keras_described_is_that_of_its_window():
    """Keras leaves it out, so that it cannot open such a config itself."""
    config = KerasCell(2, 3, 2).get_config()
    assert "rank" not in config and ConvLSTMCell.from_config(config).rank == 2


def test_a_config_that_keras_2_wrote():
    config = {
        "name": "conv_lst_m2d",
        "trainable": True,
        "batch_input_shape": [None, None, 6, 6, 1],
        "dtype": "float32",
        "return_sequences": True,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "time_major": False,
        "implementation": 1,
        "filters": 4,
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "padding": "same",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "activation": "tanh",
        "recurrent_activation": "hard_sigmoid",
        "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "unit_forget_bias": True,
        "dropout": 0.0,
    }
    layer = layers.deserialize({"class_name": "ConvLSTM2D", "config": config})
    assert (layer.kernel_size, layer.strides, layer.name) == ((3, 3), (1, 1), "conv_lst_m2d")
    assert ostinato.Sequential([layer]).output_shape == (None, None, 6, 6, 4)


def test_names_are_those_of_keras():
    for name in NAMES.values():
        assert getattr(layers, name)(1, 1).name.startswith(keras.src.utils.naming.to_snake_case(name))


# -- torch ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_it_compiles_whole_with_its_gradients(data_format, training, masked):
    """There is no operator of it: the loop itself is what is compiled."""
    layer, _ = twins(2, return_sequences=True, return_state=True, data_format=data_format)
    x, mask = tensor(*shape_of(2, data_format)), mask_of("gaps") if masked else None

    def run(call):
        inputs = x.clone().requires_grad_()
        outputs = call(inputs)
        grads = torch.autograd.grad(sum(leaf.square().sum() for leaf in outputs), [inputs, *layer.trainable_weights])
        return [*outputs, *grads]

    def call(inputs):
        return layer(inputs, mask=mask, training=training)

    found = run(torch.compile(call, fullgraph=True, backend="aot_eager"))
    torch.testing.assert_close(found, run(call), rtol=1e-5, atol=1e-5)
    torch._dynamo.reset()


def test_compiled_dropout_draws_anew():
    layer = layers.ConvLSTM2D(3, 2, dropout=0.5, recurrent_dropout=0.5)
    x = tensor(*shape_of(2))
    layer(x, training=False)
    compiled = torch.compile(lambda x: layer(x, training=True), fullgraph=True, backend="aot_eager")
    assert not torch.equal(compiled(x), compiled(x))
    torch._dynamo.reset()


def test_explain_says_which_engine():
    layer = layers.ConvLSTM2D(3, 2, name="film")
    with torch.no_grad():
        told = ostinato.explain(layer, tensor(*shape_of(2)), mask=mask_of("gaps"))
    assert told.startswith("film: conv_lstm float32 on cpu, lengths, inference: engine 'reference'")


def test_transforms_of_torch_func():
    layer, _ = twins(1)
    double = layers.ConvLSTM1D(3, 2, dtype="float64")
    double.build(shape_of(1))
    double.set_weights(layer.get_weights())
    x = tensor(*shape_of(1, batch=2, time=3), dtype=torch.float64)
    by_row = torch.func.vmap(lambda row: double(row[None])[0])(x)
    torch.testing.assert_close(by_row, double(x))
    jacobian, tangent = torch.func.jacrev(double)(x), torch.randn_like(x)
    _, pushed = torch.func.jvp(double, (x,), (tangent,))
    torch.testing.assert_close(torch.einsum("...btwc,btwc->...", jacobian, tangent), pushed)
    weights = dict(double.named_parameters())
    moved = {name: weight + 0.25 for name, weight in weights.items()}
    found = torch.func.functional_call(double, moved, (x,))
    double.set_weights([weight + 0.25 for weight in double.get_weights()])
    torch.testing.assert_close(found, double(x))


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("rank", SIZES)
def test_dtypes(rank, dtype):
    layer = getattr(layers, NAMES[rank])(3, 2, dtype=dtype, return_state=True)
    wanted = getattr(torch, dtype)
    x = tensor(*shape_of(rank))
    outputs = layer(x.to(wanted))
    single = getattr(layers, NAMES[rank])(3, 2, return_state=True)
    single.build(x.shape)
    single.set_weights(layer.get_weights())
    assert {leaf.dtype for leaf in outputs} == {weight.dtype for weight in layer.weights} == {wanted}
    tolerance = 1e-5 if dtype == "float64" else 0.05
    torch.testing.assert_close([y.float() for y in outputs], list(single(x)), rtol=tolerance, atol=tolerance)
    with torch.autocast("cpu", torch.bfloat16):
        assert {leaf.dtype for leaf in single(x)} == {torch.float32}


def test_no_samples_and_no_steps():
    layer, _ = twins(2, return_sequences=True, return_state=True, dropout=0.5, recurrent_dropout=0.5)
    for training in (False, True):
        empty = layer(torch.zeros(0, 5, 5, 4, 2), training=training)
        assert [tuple(leaf.shape) for leaf in empty] == [(0, 5, 4, 3, 3), (0, 4, 3, 3), (0, 4, 3, 3)]
        states = states_of(layer)
        outputs, h, c = layer(torch.zeros(3, 0, 5, 4, 2), initial_state=states, training=training)
        assert outputs.shape == (3, 0, 4, 3, 3) and torch.equal(h, states[0]) and torch.equal(c, states[1])
    empty = layer(torch.zeros(0, 5, 5, 4, 2), training=False)
    grads = torch.autograd.grad(sum(leaf.sum() for leaf in empty), layer.trainable_weights)
    assert all(grad.eq(0).all() for grad in grads)


def test_copies_and_state_dicts():
    layer, _ = twins(2, stateful=True)
    x = tensor(*shape_of(2))
    layer(x)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))
    fresh = layers.ConvLSTM2D(3, 2)
    fresh.build(x.shape)
    fresh.load_state_dict(layer.state_dict())
    layer.reset_states()
    assert torch.equal(fresh(x), layer(x))


def test_part_of_the_weights_may_be_frozen():
    layer, _ = twins(2)
    layer.cell.recurrent_kernel.requires_grad_(False)
    layer(tensor(*shape_of(2))).sum().backward()
    assert layer.recurrent_kernel.grad is None and layer.kernel.grad is not None


# -- what is refused --------------------------------------------------------------------------------------------------

OPTIONS_REFUSED = {
    "no filters": ({"filters": 0}, "`filters` must be a positive integer, got 0"),
    "negative filters": ({"filters": -3}, "`filters` must be a positive integer, got -3"),
    "filters a fraction": ({"filters": 2.5}, "`filters` must be a positive integer, got 2.5"),
    "filters a truth": ({"filters": True}, "`filters` must be a positive integer, got True"),
    "no window": ({"kernel_size": 0}, "`kernel_size` must be a positive integer, or 2 of them, got 0"),
    "a window of three sides": ({"kernel_size": (1, 2, 3)}, r"`kernel_size` .*2 of them, got \(1, 2, 3\)"),
    "a negative window": ({"kernel_size": (2, -1)}, r"`kernel_size` .*got \(2, -1\)"),
    "a window of fractions": ({"kernel_size": 2.5}, "`kernel_size` .*got 2.5"),
    "no strides": ({"strides": 0}, "`strides` must be a positive integer"),
    "negative strides": ({"strides": -1}, "`strides` must be a positive integer"),
    "no dilation": ({"dilation_rate": 0}, "`dilation_rate` must be a positive integer"),
    "strides and dilation": (
        {"strides": (1, 2), "dilation_rate": (2, 1)},
        "`strides > 1` is not compatible with `dilation_rate > 1`",
    ),
    "padding": ({"padding": "sam"}, r"padding must be one of \('valid', 'same'\), got 'sam'. Did you mean 'same'"),
    "causal padding": ({"padding": "causal"}, "padding must be one of"),
    "data format": ({"data_format": "nchw"}, "data_format must be one of .*got 'nchw'"),
    "activation": ({"activation": "tahn"}, "'tahn'.*Did you mean 'tanh'"),
    "recurrent activation": ({"recurrent_activation": "sigmod"}, "'sigmod'.*Did you mean 'sigmoid'"),
    "initializer": ({"kernel_initializer": "ortogonal"}, "'ortogonal'.*Did you mean"),
    "dropout of everything": ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    "negative dropout": ({"recurrent_dropout": -0.5}, r"recurrent_dropout must be in \[0, 1\), got -0.5"),
    "an unknown option": ({"kernel_sise": 3}, "takes no argument 'kernel_sise'.*Did you mean 'kernel_size'"),
    "units": ({"units": 3}, "takes no argument 'units'"),
}


@pytest.mark.parametrize("case", OPTIONS_REFUSED)
def test_options_refused(case):
    options, message = OPTIONS_REFUSED[case]
    with pytest.raises(ValueError, match=message):
        layers.ConvLSTM2D(**{"filters": 3, "kernel_size": 2, **options})


def test_causal_padding_is_refused_of_one_axis_too():
    with pytest.raises(ValueError, match=r"padding must be one of \('valid', 'same'\), got 'causal'"):
        layers.ConvLSTM1D(3, 2, padding="causal")


@pytest.mark.parametrize("rank", [0, 4, -1, "2"])
def test_ranks_refused(rank):
    with pytest.raises(ValueError, match=f"rank must be 1, 2 or 3, got {rank!r}"):
        ConvLSTMCell(rank, 3, 2)


def built():
    return twins(2, return_state=True, stateful=True)[0]


X = tensor(*shape_of(2))
CALLS_REFUSED = {
    "no space": (
        lambda: layers.ConvLSTM2D(3, 2)(X[:, :, 0, 0]),
        r"expected input \(batch, time, rows, columns, channels",
    ),
    "an image": (lambda: layers.ConvLSTM2D(3, 2)(X[:, 0]), r"columns, channels\), got \(3, 5, 4, 2\)"),
    "a volume": (lambda: layers.ConvLSTM2D(3, 2)(X[..., None]), r"columns, channels\), got \(3, 5, 5, 4, 2, 1\)"),
    "a film, of one axis": (lambda: layers.ConvLSTM1D(3, 2)(X), r"expected input \(batch, time, rows, channels\)"),
    "a film, of three": (lambda: layers.ConvLSTM3D(3, 2)(X), r"\(batch, time, depth, rows, columns, channels\)"),
    "channels first": (
        lambda: layers.ConvLSTM2D(3, 2, data_format="channels_first")(X[0]),
        r"expected input \(batch, time, channels, rows, columns\)",
    ),
    "time major": (
        lambda: layers.ConvLSTM2D(3, 2, time_major=True)(X[0]),
        r"expected input \(time, batch, rows, columns, channels\)",
    ),
    "a cell on vectors": (
        lambda: layers.RNN(ConvLSTMCell(2, 3, 2))(X[:, :, 0, 0]),
        r"expected a step's input \(batch, rows, columns, channels\)",
    ),
    "rows unknown": (
        lambda: layers.ConvLSTM2D(3, 2)(ostinato.Input((None, None, 4, 2))),
        "all sizes but the batch known",
    ),
    "channels unknown": (
        lambda: layers.ConvLSTM2D(3, 2)(ostinato.Input((5, 5, 4, None))),
        "all sizes but the batch known",
    ),
    "no channels": (lambda: layers.ConvLSTM2D(3, 2)(X[..., :0]), r"with channels, got \(3, 5, 4, 0\)"),
    "no rows": (
        lambda: layers.ConvLSTM2D(3, 2, padding="same")(X[:, :, :0]),
        r"does not fit into steps of \(0, 4\) \(rows",
    ),
    "too small": (lambda: layers.ConvLSTM2D(3, (2, 5))(X), r"window of \(2, 5\).*does not fit.*\(columns\)"),
    "too small, drawn": (lambda: layers.ConvLSTM2D(3, 7)(ostinato.Input((None, 5, 4, 2))), "does not fit"),
    "too small, of a shape": (lambda: layers.ConvLSTM2D(3, 7).compute_output_shape(X.shape), "does not fit"),
    "another size": (lambda: built()(X[:, :, :4]), r"expected \(batch, time, 5, 4, 2\), got \(3, 5, 4, 4, 2\)"),
    "other channels": (lambda: built()(X[..., :1]), r"expected \(batch, time, 5, 4, 2\), got \(3, 5, 5, 4, 1\)"),
    "one state": (lambda: built()(X, initial_state=[tensor(3, 4, 3, 3)]), r"initial_state has 1 tensor.*carries 2"),
    "states of the input's size": (
        lambda: built()(X, initial_state=[tensor(3, 5, 4, 3)] * 2),
        r"initial_state must be \(batch, 4, 3, 3\).*got \[\(3, 5, 4, 3\), \(3, 5, 4, 3\)\]",
    ),
    "states of another batch": (lambda: built()(X, initial_state=[tensor(2, 4, 3, 3)] * 2), "with batch 3"),
    "drawn states of another size": (
        lambda: layers.ConvLSTM2D(3, 2)(ostinato.Input((None, 5, 4, 2)), initial_state=[ostinato.Input((5, 4, 3))] * 2),
        r"initial_state must be \[\(None, 4, 3, 3\), \(None, 4, 3, 3\)\], got \[\(None, 5, 4, 3\)",
    ),
    "Bidirectional, drawn states of another size": (
        lambda: layers.Bidirectional(layers.ConvLSTM2D(3, 2))(
            ostinato.Input((None, 5, 4, 2)), initial_state=[ostinato.Input((5, 4, 3))] * 4
        ),
        r"initial_state must be \[\(None, 4, 3, 3\), \(None, 4, 3, 3\)\]",
    ),
    "a mask of another length": (lambda: built()(X, mask=torch.ones(3, 4)), r"mask must be \(batch, time\) = \(3, 5\)"),
    "a mask of pixels": (lambda: built()(X, mask=torch.ones(3, 5, 5, 4)), r"mask must be \(batch, time\) = \(3, 5\)"),
    "zeros before it is built": (
        lambda: layers.ConvLSTM2D(3, 2).get_initial_state(2),
        r"call build\(input_shape\) first",
    ),
    "zeros of a cell before": (lambda: ConvLSTMCell(2, 3, 2).get_initial_state(2), r"call build\(input_shape\) first"),
    "states set before, of other filters": (
        lambda: layers.ConvLSTM2D(3, 2, stateful=True).reset_states([tensor(3, 4, 3, 2)] * 2),
        r"states must be \(batch, None, None, 3\)",
    ),
    "states set, of another size": (
        lambda: built().reset_states([tensor(3, 5, 4, 3)] * 2),
        r"must be \(batch, 4, 3, 3\)",
    ),
    "states of what is not stateful": (lambda: layers.ConvLSTM2D(3, 2).reset_states(), "is not stateful"),
    "a vector cell above": (
        lambda: layers.RNN([ConvLSTMCell(2, 3, 2), layers.LSTMCell(2)])(X),
        r"expected a step's input \(batch, features\)",
    ),
    "a cell's states": (
        lambda: built().cell(X[:, 0], [tensor(3, 5, 4, 3)] * 2),
        r"states must be \[\(3, 4, 3, 3\), \(3, 4, 3, 3\)\], got \[\(3, 5, 4, 3\)",
    ),
    "no input": (lambda: layers.ConvLSTM2D(3, 2)(None), "expected a tensor or an array"),
}


@pytest.mark.parametrize("case", CALLS_REFUSED)
def test_calls_refused(case):
    call, message = CALLS_REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_another_batch_after_recording():
    layer = built()
    layer(X)
    with pytest.raises(ValueError, match=r"recorded states are for a batch of 3, got 2. Call reset_states\(\)"):
        layer(X[:2])


def test_another_dtype_is_refused():
    with pytest.raises(TypeError, match=r"expected a torch.float32 tensor, got torch.float64"):
        layers.ConvLSTM2D(3, 2)(X.double())
