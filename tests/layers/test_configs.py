"""Configs: there and back, Keras's own, Keras 2's, and what must not change them."""

import copy
import json

import keras
import numpy as np
import pytest
import torch

import ostinato
from cells import Nested
from ostinato import initializers, layers, regularizers
from side_by_side import tensor

REGULARIZED = {
    "kernel_initializer": initializers.RandomNormal(stddev=0.1, seed=3),
    "recurrent_initializer": initializers.Orthogonal(gain=0.5),
    "bias_initializer": "ones",
    "kernel_regularizer": regularizers.L1L2(l1=0.1, l2=0.2),
    "recurrent_regularizer": "l2",
    "kernel_constraint": "max_norm",
    "bias_constraint": "non_neg",
    "dropout": 0.25,
    "recurrent_dropout": 0.125,
    "seed": 5,
}
FLAGS = {"return_sequences": True, "go_backwards": True, "stateful": True, "unroll": True, "zero_output_for_mask": True}

MADE = {
    "LSTM": lambda: layers.LSTM(4),
    "LSTM, all options": lambda: layers.LSTM(
        4,
        activation="relu",
        unit_forget_bias=False,
        use_cudnn=False,
        name="mine",
        dtype="float64",
        **REGULARIZED,
        **FLAGS,
    ),
    "GRU, all options": lambda: layers.GRU(
        3, recurrent_activation="hard_sigmoid", reset_after=False, **REGULARIZED, **FLAGS
    ),
    "SimpleRNN, all options": lambda: layers.SimpleRNN(
        3, use_bias=False, activity_regularizer="l1", **REGULARIZED, **FLAGS
    ),
    "positional": lambda: layers.GRU(3, "relu", "tanh", False),
    "RNN of a cell": lambda: layers.RNN(layers.LSTMCell(4, recurrent_dropout=0.5), return_state=True, time_major=True),
    "RNN of cells": lambda: layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)], return_sequences=True),
    "a registered cell": lambda: layers.Bidirectional(layers.RNN(Nested(2, 3, 4), name="inner")),
    "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="mul"),
    "Bidirectional, two": lambda: layers.Bidirectional(layers.LSTM(3), backward_layer=layers.GRU(2, go_backwards=True)),
    "LSTMCell": lambda: layers.LSTMCell(3, **REGULARIZED),
    "GRUCell": lambda: layers.GRUCell(3, reset_after=False),
    "SimpleRNNCell": lambda: layers.SimpleRNNCell(3, activation=torch.tanh),
    "StackedRNNCells": lambda: layers.StackedRNNCells([layers.GRUCell(3), layers.GRUCell(2)]),
    "Dense": lambda: layers.Dense(3, activation="softmax", kernel_regularizer="l1", trainable=False),
    "Embedding": lambda: layers.Embedding(9, 4, mask_zero=True, embeddings_initializer="normal"),
    "BatchNormalization": lambda: layers.BatchNormalization(axis=1, momentum=0.5, scale=False, beta_regularizer="l2"),
    "Dropout": lambda: layers.Dropout(0.25, noise_shape=(None, 1), seed=2),
    "Masking": lambda: layers.Masking(mask_value=-1.0),
}


@pytest.mark.parametrize("name", MADE)
def test_there_and_back(name):
    """The config is plain JSON, and the layer made from it has the same config."""
    layer = MADE[name]()
    config = json.loads(json.dumps(layer.get_config()))
    again = type(layer).from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    whole = json.loads(json.dumps(layers.serialize(layer)))
    assert json.loads(json.dumps(layers.deserialize(whole).get_config())) == config


@pytest.mark.parametrize("name", [name for name in MADE if not name.endswith(("Cell", "Cells", "a registered cell"))])
def test_the_same_weights_give_the_same_numbers(name):
    layer = MADE[name]()
    again = type(layer).from_config(layer.get_config())
    dtype = layer.forward_layer.dtype if name.startswith("Bidirectional") else layer.dtype
    x = torch.randint(1, 9, (3, 4)) if name == "Embedding" else tensor(3, 4, 2, dtype=dtype)
    x = x[:, :, 0] if name == "Dropout" else x
    for each in (layer, again):
        each.build(tuple(x.shape))
    again.set_weights(layer.get_weights())
    first, second = (each(x, training=False) if callable(each) else None for each in (layer, again))
    for mine, right in zip(
        [*first] if isinstance(first, tuple) else [first],
        [*second] if isinstance(second, tuple) else [second],
        strict=True,
    ):
        assert torch.equal(mine, right)


def test_the_config_is_what_the_layer_was_made_with():
    """Attributes changed later do not creep in, but for those declared to be options that change."""
    layer = layers.LSTM(4, dropout=0.25, name="first")
    layer.cell.dropout = 0.5
    layer.go_backwards = True
    layer.something = 3
    layer(tensor(2, 3, 4), training=False)
    config = layer.get_config()
    assert config["dropout"] == 0.25 and config["go_backwards"] is False and "something" not in config
    layer.stateful, layer.return_sequences, layer.return_state, layer.trainable = True, True, True, False
    layer.name = "second"
    config = layer.get_config()
    changed = ("stateful", "return_sequences", "return_state", "trainable", "name")
    assert [config[key] for key in changed] == [True, True, True, False, "second"]


def test_the_config_does_not_change_with_a_list_it_was_made_from():
    cells = [layers.GRUCell(3)]
    layer = layers.RNN(layers.StackedRNNCells(cells))
    before = layer.get_config()
    cells.append(layers.GRUCell(2))
    assert layer.get_config() == before and len(layer.cell.cells) == 1


def test_a_config_as_an_argument():
    layer = layers.Dense(3, kernel_initializer={"class_name": "Constant", "config": {"value": 2.0}})
    assert layer(torch.ones(1, 2)).tolist() == [[4.0] * 3]


def test_the_config_of_a_copy_is_its_own():
    layer = layers.RNN([layers.GRUCell(3), layers.GRUCell(2)])
    twin = copy.deepcopy(layer)
    twin.stateful = True
    assert layer.get_config() == {**twin.get_config(), "stateful": False}


def test_a_layer_of_ones_own_needs_no_get_config():
    @ostinato.utils.register_keras_serializable(package="tests")
    class Scale(layers.Layer):
        def __init__(self, factor, shift=0.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = 10 * factor

        def call(self, inputs):
            return inputs * self.factor

    layer = Scale(2, name="scale")
    assert layer.get_config() == {"factor": 2, "shift": 0.0, "name": "scale", "trainable": True, "dtype": "float32"}
    again = layers.deserialize(layers.serialize(layer))
    assert isinstance(again, Scale) and again(torch.ones(1)).item() == 20


def test_a_config_in_the_manner_of_keras_users():
    @ostinato.utils.register_keras_serializable(package="tests")
    class Mine(layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    config = Mine(3, name="m").get_config()
    assert config == {"units": 3, "name": "m", "trainable": True, "dtype": "float32"}
    assert Mine.from_config(config).get_config() == config


def test_a_function_of_ones_own_is_found_when_it_is_registered():
    @ostinato.utils.register_keras_serializable(package="tests")
    def squared(x):
        return x * x

    layer = layers.Dense(2, activation=squared)
    assert layers.deserialize(layers.serialize(layer)).activation is squared

    def unregistered(x):
        return x

    config = layers.Dense(2, activation=unregistered).get_config()
    with pytest.raises(ValueError, match="'unregistered' is not known"):
        layers.Dense.from_config(config)
    with ostinato.utils.custom_object_scope({"unregistered": unregistered}):
        assert layers.Dense.from_config(config).activation is unregistered


def test_nothing_registered_shadows_a_built_in_name():
    @ostinato.utils.register_keras_serializable(package="tests", name="LSTM")
    class Impostor(layers.Layer):
        pass

    found = layers.deserialize({"class_name": "LSTM", "config": {"units": 3}})
    assert type(found) is layers.LSTM
    assert type(layers.deserialize({"class_name": "tests>LSTM", "config": {}})) is Impostor
    assert type(layers.deserialize(layers.serialize(Impostor()))) is Impostor


def test_a_cell_of_ones_own_with_a_built_in_name_stays_ones_own():
    class LSTMCell(layers.LSTMCell):
        pass

    layer = layers.Bidirectional(layers.RNN(LSTMCell(3)))
    assert type(layer.forward_layer.cell) is type(layer.backward_layer.cell) is LSTMCell


# -- Keras's own configs -------------------------------------------------------------------------------------------

KERAS = {
    "LSTM": lambda: keras.layers.LSTM(4, dropout=0.5, return_sequences=True, kernel_regularizer="l2"),
    "GRU": lambda: keras.layers.GRU(3, reset_after=False, bias_initializer=keras.initializers.Constant(2.0)),
    "SimpleRNN": lambda: keras.layers.SimpleRNN(3, kernel_constraint=keras.constraints.MaxNorm(1.5), dtype="float64"),
    "RNN": lambda: keras.layers.RNN(keras.layers.LSTMCell(3), stateful=True),
    "RNN of cells": lambda: keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.GRUCell(2)]),
    "Bidirectional": lambda: keras.layers.Bidirectional(keras.layers.LSTM(3, return_state=True), merge_mode="sum"),
    "Dense": lambda: keras.layers.Dense(3, activation="relu", kernel_initializer="he_normal"),
    "Embedding": lambda: keras.layers.Embedding(9, 4, mask_zero=True),
    "BatchNormalization": lambda: keras.layers.BatchNormalization(momentum=0.5, center=False),
    "Dropout": lambda: keras.layers.Dropout(0.25, noise_shape=(None, 1)),
    "Masking": lambda: keras.layers.Masking(2.0),
    "StackedRNNCells": lambda: keras.layers.StackedRNNCells([keras.layers.SimpleRNNCell(3)]),
}


@pytest.mark.parametrize("name", KERAS)
def test_a_config_that_keras_3_wrote(name):
    """Both from get_config, and from the serialized layer, build_config and all."""
    theirs = KERAS[name]()
    if name not in ("StackedRNNCells", "Embedding", "Dropout", "Masking"):
        theirs.build((2, 5, 3))
    config = theirs.get_config()
    cls = getattr(layers, type(theirs).__name__)
    mine = cls.from_config(config)
    again = layers.deserialize(json.loads(json.dumps(keras.layers.serialize(theirs))))
    assert type(again) is cls
    for ours in (mine, again):
        got = ours.get_config()
        for key, value in config.items():
            if isinstance(value, bool | int | float | str) and key in got and key != "name":
                assert got[key] == value, key
        assert ours.name == theirs.name
    if hasattr(theirs, "units") or name.startswith("RNN"):
        mine.build((2, 5, 3))
        assert [weight.shape for weight in mine.get_weights()] == [weight.shape for weight in theirs.get_weights()]
        assert {str(weight.dtype) for weight in mine.get_weights()} == {theirs.dtype}


def test_a_model_that_keras_3_wrote():
    theirs = keras.Sequential([keras.layers.Input((5, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)])
    ours = layers.deserialize(json.loads(json.dumps(keras.saving.serialize_keras_object(theirs))))
    assert isinstance(ours, ostinato.Sequential) and ours.built
    ours.set_weights(theirs.get_weights())
    x = tensor(2, 5, 3)
    torch.testing.assert_close(ours(x), theirs(x).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("option", "value"), [("synchronized", True), ("renorm", True)])
def test_what_a_keras_config_asks_for_and_is_not_here_is_refused(option, value):
    config = {**keras.layers.BatchNormalization().get_config(), option: value}
    with pytest.raises(ValueError, match=option):
        layers.BatchNormalization.from_config(config)


OLD = {
    "time_major": ({"class_name": "LSTM", "config": {"units": 3, "time_major": False}}, {"units": 3}),
    "implementation": ({"class_name": "GRU", "config": {"units": 3, "implementation": 1}}, {"units": 3}),
    "cell": (
        {
            "class_name": "RNN",
            "config": {
                "time_major": False,
                "cell": {"class_name": "LSTMCell", "config": {"units": 3, "implementation": 2}},
            },
        },
        {"return_sequences": False},
    ),
    "shapes": (
        {"class_name": "Dense", "config": {"units": 3, "batch_input_shape": [None, 4], "dtype": "float32"}},
        {"units": 3},
    ),
    "axis": ({"class_name": "BatchNormalization", "config": {"axis": [2], "momentum": 0.5}}, {"momentum": 0.5}),
    "input_length": (
        {
            "class_name": "Embedding",
            "config": {"input_dim": 9, "output_dim": 2, "input_length": 5, "activity_regularizer": None},
        },
        {"output_dim": 2},
    ),
    "Bidirectional": (
        {
            "class_name": "Bidirectional",
            "config": {
                "merge_mode": "concat",
                "layer": {"class_name": "GRU", "config": {"units": 3, "time_major": False, "go_backwards": False}},
            },
        },
        {"merge_mode": "concat"},
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_a_config_that_keras_2_wrote(name):
    config, expected = OLD[name]
    got = layers.deserialize(config).get_config()
    assert {key: got[key] for key in expected} == expected


def test_constructor_spellings_of_keras_2():
    model = ostinato.Sequential([layers.LSTM(3, input_shape=(None, 4), implementation=1), layers.Dense(2)])
    assert model.built and model.inputs[0].shape == (None, None, 4)
    batched = ostinato.Sequential([layers.Dense(2, batch_input_shape=(8, 4))])
    assert batched.inputs[0].shape == (8, 4)
    assert ostinato.Sequential([layers.Embedding(9, 2, input_length=5)]).outputs[0].shape == (None, 5, 2)
    assert layers.LSTM(3, time_major=True).time_major


def test_set_weights_writes_in_place_and_get_weights_copies():
    layer = layers.GRU(3)
    layer.build((None, None, 2))
    before = [weight.data_ptr() for weight in layer.weights]
    values = [np.full(weight.shape, i + 1.0) for i, weight in enumerate(layer.get_weights())]
    layer.set_weights(values)
    got = layer.get_weights()
    assert [weight.data_ptr() for weight in layer.weights] == before
    for mine, given in zip(got, values, strict=True):
        np.testing.assert_array_equal(mine, given)
    got[0][:] = 0
    assert layer.kernel.eq(1).all()
    assert all(weight.requires_grad for weight in layer.weights)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"input_dim": 3}, (None, None, 3)),
        ({"input_dim": 3, "input_length": 5}, (None, 5, 3)),
        ({"input_dim": 3, "input_length": None}, (None, None, 3)),
        ({"input_dim": None, "input_length": None}, None),
    ],
)
def test_the_input_of_a_first_recurrent_layer_as_keras_2_said_it(options, shape):
    layer = layers.LSTM(4, **options)
    assert layer._batch_input_shape == shape
    if shape is not None:
        model = ostinato.Sequential([layer])
        assert model.input_shape == shape
        assert layer.kernel.shape == (3, 16)


def test_old_configs_of_layers_that_were_called_with_constants():
    config = {**layers.RNN(layers.GRUCell(4)).get_config(), "num_constants": 1, "time_major": False}
    assert layers.RNN.from_config(config).cell.units == 4
