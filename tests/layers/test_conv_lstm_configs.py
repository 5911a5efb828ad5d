"""ConvLSTM layers: configs, ours and Keras's; compilers, transforms, dtypes, copies."""

import copy
import json

import keras
import pytest
import torch
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell as KerasCell

import ostinato
from conv_twins import NAMES, SIZES, shape_of, states_of, twins
from ostinato import layers
from ostinato.layers.conv_lstm import ConvLSTMCell
from ostinato.recurrence.nests import flatten
from side_by_side import mask_of, tensor

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


@pytest.mark.parametrize(
    ("data_format", "training", "masked"),
    [("channels_last", False, False), ("channels_last", True, True), ("channels_first", True, False)],
)
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
