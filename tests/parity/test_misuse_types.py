"""What is refused raises the type of error that Keras raises, where Keras refuses it on purpose."""

import keras
import numpy as np
import pytest
import torch

from ostinato import layers

zeros = torch.zeros


def built(layer, *shape):
    layer.build(shape)
    return layer


def twice(layer, first, second):
    layer(first)
    layer(second)


MISUSES = {
    "no units": lambda of: of.LSTM(0),
    "units below zero": lambda of: of.GRUCell(-2),
    "an unknown activation": lambda of: of.LSTM(3, activation="tanhh"),
    "an unknown recurrent activation": lambda of: of.GRU(3, recurrent_activation="sig"),
    "an unknown initializer": lambda of: of.LSTM(3, kernel_initializer="glorat"),
    "an unknown regularizer": lambda of: of.LSTM(3, kernel_regularizer="l3"),
    "an unknown constraint": lambda of: of.LSTM(3, kernel_constraint="maxnorn"),
    "an unknown dtype": lambda of: of.LSTM(3, dtype="float33"),
    "an unknown argument": lambda of: of.LSTM(3, unit=4),
    "an unknown argument of a cell": lambda of: of.GRUCell(3, retrn=True),
    "a word for use_cudnn": lambda of: of.LSTM(2, use_cudnn="maybe"),
    "a number for a name": lambda of: of.LSTM(3, name=3),
    "a path for a name": lambda of: of.LSTM(3, name="../lstm"),
    "one axis too few": lambda of: of.LSTM(3)(zeros(2, 5)),
    "one axis too few, SimpleRNN": lambda of: of.SimpleRNN(3)(zeros(2, 5)),
    "one axis too many": lambda of: of.GRU(3)(zeros(2, 5, 3, 1)),
    "nothing for an input": lambda of: of.LSTM(3)(None),
    "numbers for an input": lambda of: of.LSTM(3)([[1.0, 2.0]]),
    "a sequence after a last output": lambda of: of.LSTM(3)(of.LSTM(3)(zeros(2, 5, 3))),
    "features unknown": lambda of: of.LSTM(2).build((None, 5, None)),
    "another batch of a stateful layer": lambda of: twice(of.LSTM(2, stateful=True), zeros(2, 5, 3), zeros(3, 5, 3)),
    "a cell without call": lambda of: of.RNN(object()),
    "a number for a cell": lambda of: of.RNN(3),
    "a cell without state_size": lambda of: of.RNN(of.Dense(3)),
    "a stack with a layer that is no cell": lambda of: of.RNN([of.LSTMCell(3), of.Dense(2)]),
    "stacked cells that are none": lambda of: of.StackedRNNCells([of.Dense(2)]),
    "a cell without states": lambda of: of.LSTMCell(3)(zeros(2, 3)),
    "an unknown merge_mode": lambda of: of.Bidirectional(of.LSTM(2), merge_mode="cat"),
    "a word for a layer": lambda of: of.Bidirectional("lstm"),
    "a number for a backward layer": lambda of: of.Bidirectional(of.LSTM(2), backward_layer=3),
    "two layers in one direction": lambda of: of.Bidirectional(of.LSTM(2), backward_layer=of.LSTM(2)),
    "one half stateful": lambda of: of.Bidirectional(
        of.LSTM(2), backward_layer=of.LSTM(2, go_backwards=True, stateful=True)
    ),
    "one half in sequences": lambda of: of.Bidirectional(
        of.LSTM(2), backward_layer=of.LSTM(2, go_backwards=True, return_sequences=True)
    ),
    "one half with states": lambda of: of.Bidirectional(
        of.LSTM(2), backward_layer=of.LSTM(2, go_backwards=True, return_state=True)
    ),
    "both ways over vectors": lambda of: of.Bidirectional(of.LSTM(2))(zeros(2, 3)),
    "a number for a layer of each step": lambda of: of.TimeDistributed(3),
    "each step of vectors": lambda of: of.TimeDistributed(of.Dense(2))(zeros(2, 3)),
    "a table of no rows": lambda of: of.Embedding(-1, 3)(zeros(2, 2).long()),
    "a window of nothing": lambda of: of.ConvLSTM2D(2, 0),
    "a window of other axes": lambda of: of.ConvLSTM2D(2, (1, 2, 3)),
    "an unknown padding": lambda of: of.ConvLSTM2D(2, 2, padding="sme"),
    "causal padding": lambda of: of.ConvLSTM1D(2, 2, padding="causal"),
    "strides and dilation": lambda of: of.ConvLSTM2D(2, 2, strides=2, dilation_rate=2),
    "an unknown data_format": lambda of: of.ConvLSTM2D(2, 2, data_format="last"),
    "images of one axis": lambda of: of.ConvLSTM2D(2, 2)(zeros(2, 5, 4, 4)),
    "channels unknown": lambda of: of.ConvLSTM2D(2, 2).build((None, 5, 4, 4, None)),
    "a share above one": lambda of: of.Dropout(1.5),
    "a config with an unknown key": lambda of: of.LSTM.from_config({"units": 3, "foo": 1}),
    "a config without units": lambda of: of.GRU.from_config({}),
    "too few weights": lambda of: built(of.LSTM(2), None, 5, 3).set_weights([np.zeros((3, 8))]),
    "a weight of another shape": lambda of: built(of.LSTM(2), None, 5, 3).set_weights(
        [np.zeros((3, 8)), np.zeros((2, 7)), np.zeros(8)]
    ),
    "another shape assigned": lambda of: built(of.LSTM(2), None, 5, 3).cell.kernel.assign(np.zeros((2, 2))),
}

BY_ACCIDENT = {
    "a word for units": (lambda of: of.SimpleRNN("four"), "'<=' of a word and a number"),
    "features that change": (lambda of: twice(of.LSTM(3), zeros(2, 5, 3), zeros(2, 5, 4)), "torch's own matmul"),
    "both ways of a layer without a direction": (
        lambda of: of.Bidirectional(of.Dense(2)),
        "its go_backwards is missing",
    ),
    "too few states": (lambda of: of.LSTM(2)(zeros(2, 5, 3), initial_state=[zeros(2, 2)]), "an index out of range"),
    "too few states of a cell": (lambda of: of.LSTMCell(3)(zeros(2, 3), [zeros(2, 3)]), "an index out of range"),
    "a state of another width": (
        lambda of: of.GRU(2)(zeros(2, 5, 3), initial_state=[zeros(2, 3)]),
        "torch's own matmul",
    ),
    "the states of one half": (
        lambda of: of.Bidirectional(of.GRU(2))(zeros(2, 5, 3), initial_state=[zeros(2, 2)]),
        "an index out of range",
    ),
}
"""Where Keras fails deep inside, by whatever went wrong first: a ValueError here."""


def raised(misuse, of):
    with pytest.raises(Exception) as caught:
        misuse(of)
    return type(caught.value)


@pytest.mark.filterwarnings("ignore")  # Keras's, of shapes given to layers and of cells without state
@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_the_type_is_keras_type(misuse):
    assert raised(misuse, layers) is raised(misuse, keras.layers)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("misuse", "why"), BY_ACCIDENT.values(), ids=BY_ACCIDENT)
def test_an_accident_of_keras_is_a_value_error(misuse, why):
    assert raised(misuse, layers) is ValueError
    assert raised(misuse, keras.layers) is not ValueError, f"Keras refuses it by now: it was {why}"
