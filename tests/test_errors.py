"""Bad input gets the right type of error, which names what was expected and what came, before anything is computed.

A table: what is prepared, the call that must fail, the type of the error, and what its message must say. The call runs
under a mode that fails the test at the first matrix product or activation.
"""

from functools import partial

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import ostinato
from ostinato import Input, Model, Sequential, layers
from ostinato.errors import NotStatefulError
from ostinato.initializers import VarianceScaling
from ostinato.saving import deserialize_keras_object

zeros = torch.zeros
ones = partial(torch.ones, dtype=torch.bool)

COMPUTING = {"mm", "addmm", "bmm", "baddbmm", "tanh", "sigmoid", "native_batch_norm", "cat"}


class NothingComputed(TorchDispatchMode):
    """Fails at an operation that computes, unless it is on the meta device, where shapes are found."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket.__name__ in COMPUTING and result.device.type != "meta":
            raise AssertionError(f"{function} was computed before the error came")
        return result


def built(layer, *shape):
    layer.build(shape)
    return layer


def compiled(model=None, loss="mse", metrics=None):
    model = Sequential([layers.Dense(2, name="out")]) if model is None else model
    model.compile("sgd", loss, metrics=metrics)
    return model


def pair():
    query, key = Input((3,), name="query"), Input((2,), name="key")
    return Model([query, key], torch.cat([query, key], 1), name="pair")


def recorded():
    layer = layers.LSTM(4, stateful=True)
    layer(zeros(2, 5, 3))
    return layer


def streamed():
    model = Sequential([layers.GRU(4, stateful=True)])
    model(zeros(2, 5, 3))
    return model


def on_engine(name, layer):
    with ostinato.use_engine(name):
        layer(zeros(2, 5, 3))


def x(*shape):
    return Input(shape)


class NoCall:
    state_size = 3


class NoSize(layers.Layer):
    def call(self, inputs, states):
        return inputs, states


class BadSize(NoSize):
    state_size = "many"


class TwoStates(NoSize):
    state_size = 3

    def call(self, inputs, states):
        return inputs, [inputs, inputs]


class NarrowStates(NoSize):
    state_size = 3

    def call(self, inputs, states):
        return inputs, [inputs[:, :2]]


class NoStates(NoSize):
    state_size = 3

    def call(self, inputs, states):
        return inputs, []


class OpenWeight(layers.Layer):
    def build(self, input_shape):
        self.w = self.add_weight(shape=(None, 3), name="w")

    def call(self, inputs):
        return inputs


SHAPES = {
    "LSTM of rank 2": (lambda: partial(layers.LSTM(4), zeros(2, 3)), r"LSTM.*\(batch, time, features\), got \(2, 3\)"),
    "GRU of rank 4": (lambda: partial(layers.GRU(4), zeros(2, 5, 3, 1)), r"GRU.*features\), got \(2, 5, 3, 1\)"),
    "stack of rank 4": (
        lambda: partial(layers.RNN([layers.GRUCell(4)]), zeros(2, 5, 3, 1)),
        r"GRUCell.*\(batch, features\).*got \(2, 3, 1\)",
    ),
    "RNN of rank 1": (lambda: partial(layers.RNN(TwoStates()), zeros(2)), r"RNN.*features\), got \(2,\)"),
    "LSTM of another rank than built": (
        lambda: partial(built(layers.LSTM(4), None, None, 3), zeros(2, 3)),
        r"LSTM.*expected \(batch, time, 3\), got \(2, 3\)",
    ),
    "LSTM of another width": (
        lambda: partial(built(layers.LSTM(4), None, None, 3), zeros(2, 5, 7)),
        r"LSTM.*expected \(batch, time, 3\), got \(2, 5, 7\)",
    ),
    "symbolic input of another width": (
        lambda: partial(built(layers.GRU(4), None, None, 3), x(None, 7)),
        r"GRU.*expected \(batch, time, 3\), got \(None, None, 7\)",
    ),
    "LSTM of unknown features": (lambda: partial(layers.LSTM(4), x(5, None)), r"features known, got \(None, None\)"),
    "Bidirectional of rank 2": (
        lambda: partial(layers.Bidirectional(layers.GRU(4)), zeros(2, 3)),
        r"expected input \(batch, time, features\), got \(2, 3\)",
    ),
    "cell of rank 3": (
        lambda: partial(layers.LSTMCell(4), zeros(2, 5, 3), [zeros(2, 4)] * 2),
        r"LSTMCell.*\(batch, features\).*got \(2, 5, 3\)",
    ),
    "cell of another width": (
        lambda: partial(built(layers.GRUCell(4), None, 3), zeros(2, 7), zeros(2, 4)),
        r"GRUCell.*expected \(batch, 3\), got \(2, 7\)",
    ),
    "Dense of rank 1": (lambda: partial(layers.Dense(4), zeros(3)), r"Dense.*\(batch, \.\.\., features\).*got \(3,\)"),
    "Dense of another width": (
        lambda: partial(built(layers.Dense(4), None, 3), zeros(2, 7)),
        r"Dense.*at least 2 dimensions, size 3 along axis -1, got \(2, 7\)",
    ),
    "Dense of unknown features": (lambda: partial(layers.Dense(4), x(None)), r"features known, got \(None, None\)"),
    "BatchNormalization of another width": (
        lambda: partial(built(layers.BatchNormalization(), None, 3), zeros(2, 7)),
        r"expected \(any, 3\), got \(2, 7\)",
    ),
    "BatchNormalization axis out of range": (
        lambda: partial(layers.BatchNormalization(axis=3), zeros(2, 3)),
        r"axis 3 .*got \(2, 3\)",
    ),
    "BatchNormalization mask": (
        lambda: partial(layers.BatchNormalization(), zeros(2, 5, 3), training=True, mask=ones(2, 4)),
        r"mask must .*\(2, 5\), got \(2, 4\)",
    ),
    "Dropout noise_shape": (
        lambda: partial(layers.Dropout(0.5, noise_shape=(2,)), zeros(2, 3), training=True),
        r"noise_shape \(2,\) does not fit an input of shape \(2, 3\)",
    ),
    "nested inputs of different lengths": (
        lambda: partial(layers.RNN(TwoStates()), [zeros(2, 5, 3), zeros(2, 4, 3)]),
        r"same batch and time, got \[\(2, 5, 3\), \(2, 4, 3\)\]",
    ),
    "mask of another length": (
        lambda: partial(layers.LSTM(4), zeros(2, 5, 3), mask=ones(2, 4)),
        r"mask must be \(batch, time\) = \(2, 5\), got \(2, 4\)",
    ),
    "mask of another rank": (
        lambda: partial(layers.LSTM(4), zeros(2, 5, 3), mask=ones(2, 5, 3)),
        r"mask must be \(batch, time\) = \(2, 5\), got \(2, 5, 3\)",
    ),
    "mask as an array, transposed": (
        lambda: partial(layers.LSTM(4), zeros(2, 5, 3), mask=np.ones((5, 2), bool)),
        r"mask must be \(batch, time\) = \(2, 5\), got \(5, 2\)",
    ),
    "torch function on shapes that do not fit": (
        lambda: partial(torch.matmul, x(3), zeros(4, 2)),
        r"torch\.matmul cannot run .*\(None, 3\)",
    ),
}

STATES = {
    "too few": (
        lambda: partial(layers.LSTM(4), zeros(2, 5, 3), initial_state=[zeros(2, 4)]),
        r"initial_state has 1 tensor\(s\); this cell carries 2 \(h, c\).*Pass initial_state=\[h, c\]",
    ),
    "of another width": (
        lambda: partial(layers.LSTM(4), zeros(2, 5, 3), initial_state=[zeros(2, 5)] * 2),
        r"\(batch, 4\), \(batch, 4\) with batch 2, got \[\(2, 5\), \(2, 5\)\]",
    ),
    "of another batch": (
        lambda: partial(layers.GRU(4), zeros(2, 5, 3), initial_state=zeros(3, 4)),
        r"\(batch, 4\) with batch 2, got \[\(3, 4\)\]",
    ),
    "no tensor": (
        lambda: partial(layers.GRU(4), zeros(2, 5, 3), initial_state="zeros"),
        r"initial_state must be \(batch, 4\), got \['zeros'\]",
    ),
    "for one half only": (
        lambda: partial(layers.Bidirectional(layers.LSTM(4)), zeros(2, 5, 3), initial_state=[zeros(2, 4)] * 2),
        r"has 2 tensor\(s\); the forward half carries 2 and the backward half 2",
    ),
    "for one layer of a stack only": (
        lambda: partial(
            layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)]), zeros(2, 5, 3), initial_state=[zeros(2, 4)] * 2
        ),
        r"2 tensor\(s\); this cell carries 3: \(batch, 4\), \(batch, 4\), \(batch, 3\)",
    ),
    "symbolic, too few": (
        lambda: partial(layers.LSTM(4), x(5, 3), initial_state=[x(4)]),
        r"initial_state must be \[\(None, 4\), \(None, 4\)\], got \[\(None, 4\)\]",
    ),
    "symbolic, of another width": (
        lambda: partial(layers.GRU(4), x(5, 3), initial_state=x(5)),
        r"initial_state must be \[\(None, 4\)\], got \[\(None, 5\)\]",
    ),
    "symbolic, for one half only": (
        lambda: partial(layers.Bidirectional(layers.GRU(4)), x(5, 3), initial_state=[x(4)]),
        r"has 1 tensor\(s\); the forward half carries 1 and the backward half 1",
    ),
    "of a cell, too few": (
        lambda: partial(layers.LSTMCell(4), zeros(2, 3), [zeros(2, 4)]),
        r"LSTMCell.*states must be \[\(2, 4\), \(2, 4\)\], got \[\(2, 4\)\]",
    ),
    "of a cell, of another width": (
        lambda: partial(layers.LSTMCell(4), zeros(2, 3), [zeros(2, 5)] * 2),
        r"LSTMCell.*states must be \[\(2, 4\), \(2, 4\)\], got \[\(2, 5\), \(2, 5\)\]",
    ),
    "of stacked cells, too few": (
        lambda: partial(layers.StackedRNNCells([layers.GRUCell(4), layers.GRUCell(4)]), zeros(2, 3), [zeros(2, 4)]),
        r"StackedRNNCells.*states must be \[\(2, 4\), \(2, 4\)\], got \[\(2, 4\)\]",
    ),
    "recorded for another batch": (
        lambda: partial(recorded(), zeros(3, 5, 3)),
        r"recorded states are for a batch of 2, got 3\. Call reset_states\(\) or pass batches of 2",
    ),
    "reset to too few": (
        lambda: partial(recorded().reset_states, [zeros(2, 4)]),
        r"has 1 tensor\(s\); this cell carries 2",
    ),
    "returned by a cell, too many": (
        lambda: partial(layers.RNN(TwoStates()), zeros(2, 5, 3)),
        r"TwoStates.*returned states \[\(2, 3\), \(2, 3\)\]; it was given \[\(2, 3\)\]",
    ),
    "returned by a cell, too narrow": (
        lambda: partial(layers.RNN(NarrowStates()), zeros(2, 5, 3)),
        r"NarrowStates.*returned states \[\(2, 2\)\]; it was given \[\(2, 3\)\]",
    ),
    "returned by a cell, none": (
        lambda: partial(layers.RNN(NoStates()), zeros(2, 5, 3)),
        r"NoStates.*returned states \[\]; it was given \[\(2, 3\)\]",
    ),
}

NAMES = {
    "a name that is no string": (lambda: partial(layers.Dense, 3, name=4), r"name must be a string without '/', got 4"),
    "activation": (lambda: partial(layers.LSTM, 4, activation="tahn"), r"activation 'tahn'.*mean 'tanh'"),
    "recurrent_activation": (
        lambda: partial(layers.GRU, 4, recurrent_activation="sigmoyd"),
        r"activation 'sigmoyd'.*mean 'sigmoid'",
    ),
    "activation that is none": (lambda: partial(layers.Dense, 4, activation=3), r"activations: .*callable, got 3"),
    "initializer": (
        lambda: partial(layers.LSTM, 4, kernel_initializer="glorot_unform"),
        r"initializer 'glorot_unform'.*mean 'glorot_uniform'",
    ),
    "regularizer": (
        lambda: partial(layers.LSTM, 4, kernel_regularizer="l1_l3"),
        r"regularizer 'l1_l3'.*mean 'l1_l2'",
    ),
    "constraint": (
        lambda: partial(layers.Dense, 4, kernel_constraint="non_ng"),
        r"constraint 'non_ng'.*mean 'non_neg'",
    ),
    "optimizer": (lambda: partial(compiled().compile, "adm", "mse"), r"optimizer 'adm'.*mean 'adam'"),
    "optimizer that is none": (lambda: partial(compiled().compile, 3, "mse"), r"optimizers: .*callable, got 3"),
    "loss": (
        lambda: partial(compiled().compile, "adam", "mean_square_error"),
        r"loss 'mean_square_error'.*mean 'mean_squared_error'",
    ),
    "metric": (
        lambda: partial(compiled().compile, "adam", "mse", metrics=["acuracy"]),
        r"metric 'acuracy'.*mean 'accuracy'",
    ),
    "layer of a model": (
        lambda: partial(Sequential([layers.Dense(2, name="encoder")]).get_layer, "encodr"),
        r"no layer 'encodr'\. Did you mean 'encoder'\?",
    ),
    "layer by an index that is not there": (
        lambda: partial(Sequential([layers.Dense(2)]).get_layer, index=3),
        r"has 1 layers; there is none at index 3",
    ),
    "layer by nothing": (lambda: Sequential([layers.Dense(2)]).get_layer, r"either a name or an index"),
    "class in a config": (
        lambda: partial(deserialize_keras_object, {"class_name": "LSTMM", "config": {}, "module": "ostinato.layers"}),
        r"layer 'LSTMM'.*mean 'LSTM'",
    ),
    "argument": (
        lambda: partial(layers.LSTM, 4, return_sequence=True),
        r"LSTM takes no argument 'return_sequence'\. Did you mean 'return_sequences'\?",
    ),
    "argument in a config": (
        lambda: partial(layers.LSTM.from_config, {"units": 3, "unitz": 4}),
        r"LSTM takes no argument 'unitz'\. Did you mean 'units'\?",
    ),
    "dtype": (lambda: partial(layers.Dense, 3, dtype="float31"), r"dtype 'float31'.*mean 'float32'"),
    "merge_mode": (
        lambda: partial(layers.Bidirectional, layers.LSTM(4), merge_mode="cat"),
        r"merge_mode must be one of .*'concat'.*got 'cat'",
    ),
    "use_cudnn": (lambda: partial(layers.LSTM, 4, use_cudnn="yes"), r"use_cudnn must be .*got 'yes'"),
    "verbose": (
        lambda: partial(compiled().fit, zeros(4, 3), zeros(4, 2), verbose=7),
        r"verbose must be 0, 1, 2 or 'auto', got 7",
    ),
    "output in a loss": (
        lambda: partial(_named_outputs().fit, zeros(4, 3), [zeros(4, 3)] * 2, verbose=0),
        r"'left_', which is no output\. Did you mean 'left'\?",
    ),
}


def _named_outputs():
    start = x(3)
    left, right = layers.Dense(3, name="left")(start), layers.Dense(3, name="right")(start)
    return compiled(Model(start, [left, right]), loss={"left_": "mse", "right": "mse"})


def positive(what, got):
    return rf"`{what}` must be a positive integer, got {got}"


OPTIONS = {
    "units 0": (lambda: partial(layers.LSTM, 0), positive("units", "0")),
    "units negative": (lambda: partial(layers.GRU, -1), positive("units", "-1")),
    "units a float": (lambda: partial(layers.SimpleRNN, 4.0), positive("units", r"4\.0")),
    "units a bool": (lambda: partial(layers.LSTM, True), positive("units", "True")),
    "units a string": (lambda: partial(layers.GRUCell, "4"), positive("units", "'4'")),
    "units of Dense 0": (lambda: partial(layers.Dense, 0), positive("units", "0")),
    "units of Dense a float": (lambda: partial(layers.Dense, 2.5), positive("units", r"2\.5")),
    "rows of Embedding": (lambda: partial(layers.Embedding, 0, 3), positive("input_dim", "0")),
    "width of Embedding": (lambda: partial(layers.Embedding, 3, -2), positive("output_dim", "-2")),
    "dropout 1": (lambda: partial(layers.LSTM, 4, dropout=1.0), r"dropout must be in \[0, 1\), got 1\.0"),
    "dropout negative": (lambda: partial(layers.GRU, 4, dropout=-0.1), r"dropout must be in \[0, 1\), got -0\.1"),
    "recurrent_dropout a string": (
        lambda: partial(layers.SimpleRNN, 4, recurrent_dropout="a"),
        r"recurrent_dropout must be in \[0, 1\), got 'a'",
    ),
    "rate of Dropout above 1": (lambda: partial(layers.Dropout, 2), r"rate must be in \[0, 1\], got 2"),
    "rate of Dropout a string": (lambda: partial(layers.Dropout, "a"), r"rate must be in \[0, 1\], got 'a'"),
    "axis of BatchNormalization": (
        lambda: partial(layers.BatchNormalization, axis=1.5),
        r"axis must be a whole number, got 1\.5",
    ),
    "Bidirectional of no recurrent layer": (
        lambda: partial(layers.Bidirectional, layers.Dense(3)),
        r"expected a recurrent layer .*got Dense",
    ),
    "backward_layer of the same direction": (
        lambda: partial(layers.Bidirectional, layers.LSTM(4), backward_layer=layers.LSTM(4)),
        r"other direction.*both have go_backwards=False",
    ),
    "backward_layer of other options": (
        lambda: partial(
            layers.Bidirectional,
            layers.LSTM(4),
            backward_layer=layers.LSTM(4, go_backwards=True, return_sequences=True),
        ),
        r"agree in return_sequences, got False and True",
    ),
    "backward_layer of another size, to be summed": (
        lambda: partial(layers.Bidirectional, layers.LSTM(4), "sum", backward_layer=layers.GRU(3, go_backwards=True)),
        r"merge_mode 'sum' needs outputs of one size, got 4 and 3",
    ),
    "cell without call": (lambda: partial(layers.RNN, NoCall()), r"must have call\(inputs, states\), got NoCall"),
    "cell without state_size": (lambda: partial(layers.RNN, NoSize()), r"cell NoSize must have state_size"),
    "cell of a strange state_size": (lambda: partial(layers.RNN, BadSize()), r"ints or shapes, got 'many'"),
    "cell that is a number": (lambda: partial(layers.RNN, 4), r"must have call\(inputs, states\), got int"),
    "no stacked cells": (lambda: partial(layers.StackedRNNCells, []), r"one or more cells, got \[\]"),
    "a stacked cell that is none": (
        lambda: partial(layers.StackedRNNCells, [layers.GRUCell(2), 3]),
        r"StackedRNNCells: cell must have call.*got int",
    ),
    "scale of VarianceScaling": (lambda: partial(VarianceScaling, scale=0), r"scale must be above 0, got 0"),
    "mode of VarianceScaling": (lambda: partial(VarianceScaling, mode="fan"), r"mode 'fan' is not one of .*fan_in"),
    "distribution of VarianceScaling": (
        lambda: partial(VarianceScaling, distribution="gamma"),
        r"distribution 'gamma' is not one of .*uniform",
    ),
    "learning_rate": (
        lambda: partial(ostinato.optimizers.SGD, learning_rate=-1),
        r"learning_rate must be at least 0, got -1",
    ),
    "weight of unknown size": (
        lambda: partial(OpenWeight(), zeros(2, 3)),
        r"weight 'w' has shape \(None, 3\): every size must be known",
    ),
    "Input without a shape": (lambda: Input, r"pass either shape .*or batch_shape"),
    "Input of a strange shape": (lambda: partial(Input, ("a", 3)), r"whole numbers and None, got \('a', 3\)"),
    "Input of a negative size": (lambda: partial(Input, (-1, 3)), r"whole numbers and None, got \(-1, 3\)"),
    "Input of a strange batch": (
        lambda: partial(Input, (3,), batch_size="a"),
        r"whole numbers and None, got \('a', 3\)",
    ),
}

MODELS = {
    "add of no layer": (lambda: partial(Sequential().add, 3), r"add takes a layer or a torch module, got 3"),
    "add of a class": (lambda: partial(Sequential().add, layers.Dense), r"add takes a layer .*got <class"),
    "add of a name that is there": (
        lambda: partial(Sequential([layers.Dense(2, name="a")]).add, layers.Dense(2, name="a")),
        r"there is a layer 'a' already",
    ),
    "add of a layer that does not fit": (
        lambda: partial(Sequential([x(5, 3), layers.LSTM(3)]).add, layers.LSTM(2)),
        r"\(batch, time, features\), got \(None, 3\)",
    ),
    "add of a layer with several outputs": (
        lambda: partial(Sequential([x(5, 3)]).add, layers.LSTM(3, return_state=True)),
        r"LSTM.*has several outputs; a Sequential passes on one",
    ),
    "add of a second Input": (lambda: partial(Sequential([x(5, 3)]).add, x(5, 3)), r"input is \(None, 5, 3\) already"),
    "pop of an empty model": (lambda: Sequential().pop, r"pop from a model without layers"),
    "call of an empty model": (lambda: partial(Sequential(), zeros(2, 3)), r"has no layers"),
    "build without a shape": (lambda: Sequential([layers.Dense(2)]).build, r"takes one shape.*got None"),
    "inputs of an unbuilt model": (
        lambda: lambda: Sequential([layers.Dense(2)]).inputs,
        r"not built: call it on data, or build\(input_shape\)",
    ),
    "outputs of a subclassed model": (lambda: lambda: Model().outputs, r"not drawn from symbolic tensors"),
    "missing input": (
        lambda: partial(pair(), {"query": zeros(2, 3)}),
        r"no \['key'\]; the inputs are \['query', 'key'\], got \['query'\]",
    ),
    "misspelt input": (
        lambda: partial(pair(), {"query": zeros(2, 3), "kez": zeros(2, 2)}),
        r"no \['key'\]; the inputs are \['query', 'key'\], got \['kez', 'query'\]",
    ),
    "too many inputs": (
        lambda: partial(pair(), [zeros(2, 3), zeros(2, 2), zeros(2, 2)]),
        r"expected 2 inputs \['query', 'key'\], got 3",
    ),
    "too few inputs": (lambda: partial(pair(), zeros(2, 3)), r"expected 2 inputs \['query', 'key'\], got 1"),
    "input of another width": (
        lambda: partial(pair(), [zeros(2, 3), zeros(2, 4)]),
        r"input 'key' takes \(any, 2\), got \(2, 4\)",
    ),
    "input of None": (lambda: partial(pair(), [zeros(2, 3), None]), r"input 'key' takes a tensor .*got None"),
    "too few masks": (
        lambda: partial(pair(), [zeros(2, 3), zeros(2, 2)], mask=[ones(2)]),
        r"expected 2 masks, one for each input, got 1",
    ),
    "missing input to predict": (
        lambda: partial(pair().predict, {"query": np.zeros((2, 3))}, verbose=0),
        r"no \['key'\]; the inputs are",
    ),
    "Model of data": (lambda: partial(Model, zeros(2, 3), zeros(2, 3)), r"pass symbolic inputs and outputs"),
    "Model without outputs": (lambda: partial(Model, x(3)), r"pass symbolic inputs and outputs.*outputs=None"),
    "Model with a number among its inputs": (
        lambda: (lambda start: partial(Model, [start, 3], start * 2))(x(3)),
        r"must be symbolic tensors.*got 3",
    ),
    "Model with a number among its outputs": (
        lambda: (lambda start: partial(Model, start, [start * 2, 3]))(x(3)),
        r"must be symbolic tensors.*got 3",
    ),
    "Model of another Input": (
        lambda: (lambda start, other: partial(Model, start, start + other))(x(3), Input((3,), name="other")),
        r"depends on InputLayer 'other', which is not among the inputs",
    ),
    "torch function that would lose a tensor's gradient": (
        lambda: partial(torch.add, x(3), torch.ones(3, requires_grad=True)),
        r"torch\.add .*requires grad but is no Parameter",
    ),
    "set_weights of another number": (
        lambda: partial(built(layers.Dense(4), None, 3).set_weights, [np.zeros((3, 4))]),
        r"set_weights got 1 arrays, expected 2",
    ),
    "set_weights of another shape": (
        lambda: partial(built(layers.Dense(4), None, 3).set_weights, [np.zeros((4, 3)), np.zeros(4)]),
        r"shape \(4, 3\) for 'kernel', number 0; expected \(3, 4\)",
    ),
    "set_weights of an unbuilt layer": (
        lambda: partial(layers.Dense(4).set_weights, [np.zeros((3, 4)), np.zeros(4)]),
        r"got 2 arrays, expected 0\. It is not built yet",
    ),
    "torch optimizer over an unbuilt layer": (
        lambda: lambda: torch.optim.SGD(layers.LSTM(4).parameters(), lr=0.1),
        r"LSTM.*is not built: it has no parameters yet.*build\(input_shape\)",
    ),
    "torch optimizer over an unbuilt model": (
        lambda: lambda: torch.optim.SGD(Sequential([layers.LSTM(4)]).parameters(), lr=0.1),
        r"LSTM.*is not built: it has no parameters yet",
    ),
    "our optimizer over an unbuilt layer": (
        lambda: lambda: ostinato.optimizers.SGD().build(layers.LSTM(4).parameters()),
        r"LSTM.*is not built: it has no parameters yet",
    ),
    "count_params of an unbuilt model": (
        lambda: Sequential([layers.LSTM(4)]).count_params,
        r"LSTM.*is not built: it has no parameters yet",
    ),
    "cuDNN where there is none": (
        lambda: partial(built(layers.LSTM(4, use_cudnn=True), None, 5, 3), zeros(2, 5, 3)),
        r"no engine is willing to run lstm.*aten: is not cuDNN, which use_cudnn=True asks for and which needs a GPU",
    ),
}


def fit(*args, **kwargs):
    return lambda: partial(compiled().fit, *args, **{"verbose": 0, **kwargs})


X, Y = zeros(4, 3), zeros(4, 2)

TRAINING = {
    "fit before compile": (
        lambda: partial(Sequential([layers.Dense(2)]).fit, X, Y),
        r"call compile\(optimizer, loss\) before fit\(\)",
    ),
    "evaluate before compile": (
        lambda: partial(Sequential([layers.Dense(2)]).evaluate, X, Y),
        r"call compile\(optimizer, loss\) before evaluate\(\)",
    ),
    "train_on_batch before compile": (
        lambda: partial(Sequential([layers.Dense(2)]).train_on_batch, X, Y),
        r"call compile\(optimizer, loss\) before train_on_batch\(\)",
    ),
    "metrics that are no list": (
        lambda: partial(compiled().compile, "adam", "mse", metrics="accuracy"),
        r"metrics must be a list.*got 'accuracy'",
    ),
    "arrays of different lengths": (fit(X, zeros(5, 2)), r"same length, got \[4, 5\]"),
    "inputs of different lengths": (
        lambda: partial(compiled(pair()).fit, [zeros(4, 3), zeros(5, 2)], zeros(4, 5), verbose=0),
        r"same length, got \[4, 5, 4\]",
    ),
    "no data": (fit(), r"x is missing"),
    "empty data": (fit(zeros(0, 3), zeros(0, 2)), r"the arrays are empty"),
    "a single number": (fit(np.float32(3), Y), r"expected arrays with a batch"),
    "data of the wrong rank": (
        lambda: partial(compiled(Sequential([layers.LSTM(4)])).fit, X, Y, verbose=0),
        r"\(batch, time, features\), got \(4, 3\)",
    ),
    "batch_size 0": (fit(X, Y, batch_size=0), r"batch_size must be a positive whole number, got 0"),
    "batch_size a float": (fit(X, Y, batch_size=2.5), r"batch_size must be a positive whole number, got 2\.5"),
    "epochs negative": (fit(X, Y, epochs=-1), r"epochs must be a whole number.*got -1"),
    "epochs a float": (fit(X, Y, epochs=1.5), r"epochs must be a whole number.*got 1\.5"),
    "validation_data that is no pair": (fit(X, Y, validation_data=X), r"y is missing"),
    "validation_data of different lengths": (
        fit(X, Y, validation_data=(X, zeros(3, 2))),
        r"validation_data: .*same length, got \[4, 3\]",
    ),
}

TENSORS = {
    "None into Dense": (lambda: partial(layers.Dense(3), None), r"Dense.*expected a tensor or an array, got None"),
    "None into a built Dense": (
        lambda: partial(built(layers.Dense(3), None, 2), None),
        r"Dense.*expected a tensor or an array, got None",
    ),
    "None into LSTM": (lambda: partial(layers.LSTM(3), None), r"LSTM.*expected a tensor or an array, got None"),
    "an object": (lambda: partial(layers.Dense(3), object()), r"expected a tensor or an array, got <object"),
    "a string": (lambda: partial(layers.LSTM(3), "abc"), r"expected a tensor or an array, got 'abc'"),
    "a list of numbers": (
        lambda: partial(layers.Dense(3), [[1.0, 2.0]]),
        r"expected a tensor or an array, got 1\.0\. .*torch\.tensor or np\.array",
    ),
}

CASTS = {
    "float64 into LSTM": (
        lambda: partial(layers.LSTM(3), zeros(2, 5, 3, dtype=torch.float64)),
        r"expected a torch\.float32 tensor, got torch\.float64.*dtype='float64'",
    ),
    "float64 into a built Dense": (
        lambda: partial(built(layers.Dense(3), None, 3), zeros(2, 3, dtype=torch.float64)),
        r"expected a torch\.float32 tensor, got torch\.float64",
    ),
    "complex numbers into Dense": (
        lambda: partial(layers.Dense(3), zeros(2, 3, dtype=torch.complex64)),
        r"expected a torch\.float32 tensor, got torch\.complex64",
    ),
    "complex numbers into LSTM": (
        lambda: partial(layers.LSTM(3), zeros(2, 5, 3, dtype=torch.complex64)),
        r"expected a torch\.float32 tensor, got torch\.complex64",
    ),
    "complex numbers into Embedding": (
        lambda: partial(layers.Embedding(5, 3), zeros(2, 3, dtype=torch.complex64)),
        r"indices must be whole numbers, got torch\.complex64",
    ),
    "nothing into Embedding": (
        lambda: partial(layers.Embedding(5, 3), None),
        r"expected a tensor or array of indices, got NoneType",
    ),
    "config of an Embedding without rows": (
        lambda: partial(layers.Embedding.from_config, {"input_dim": 0, "output_dim": 2}),
        r"Embedding\.from_config: .*`input_dim` must be a positive integer, got 0",
    ),
    "text to fit": (fit(np.array(["a"]), zeros(1, 2)), r"expected numbers, got an array of dtype <U1"),
    "an argument that call does not take": (
        lambda: partial(layers.Dense(3), zeros(2, 3), foo=3),
        r"unexpected keyword argument 'foo'",
    ),
    "a symbolic tensor as a condition": (lambda: partial(bool, x(3)), r"has no value: .* cannot branch on data"),
    "a symbolic tensor iterated over": (lambda: partial(list, x(3)), r"cannot be iterated over; index it"),
    "a symbolic tensor as an array": (lambda: partial(np.asarray, x(3)), r"cannot become a NumPy array"),
}

INDICES = {
    "index too high": (
        lambda: partial(layers.Embedding(5, 3), torch.tensor([[1, 5]])),
        r"indices must be in \[0, 5\), got 1 to 5",
    ),
    "index below 0": (
        lambda: partial(layers.Embedding(5, 3), torch.tensor([[-1, 2]])),
        r"indices must be in \[0, 5\), got -1 to 2",
    ),
    "NaN as an index": (
        lambda: partial(layers.Embedding(5, 3), np.array([[1.0, np.nan]])),
        r"indices must be in \[0, 5\), got nan to nan",
    ),
    "infinite index": (
        lambda: partial(layers.Embedding(5, 3), torch.tensor([[1.0, torch.inf]])),
        r"indices must be in \[0, 5\), got 1\.0 to inf",
    ),
    "float index too high": (
        lambda: partial(layers.Embedding(5, 3), torch.tensor([[0.0, 5.0]])),
        r"indices must be in \[0, 5\), got 0\.0 to 5\.0",
    ),
    "float index below 0": (
        lambda: partial(layers.Embedding(5, 3), torch.tensor([[-0.5, 2.0]])),
        r"indices must be in \[0, 5\), got -0\.5 to 2\.0",
    ),
}

UNDEFINED = {
    "Layer without call": (lambda: partial(layers.Layer(), zeros(2)), r"Layer must define call\(inputs"),
    "Model without call": (lambda: partial(Model(), zeros(2)), r"Model must define call\(inputs\), or be made with"),
}

ATTRIBUTES = {
    "attribute that tensors do not have": (lambda: lambda: x(3).foo, r"has no attribute 'foo'"),
}

NOT_STATEFUL = {
    "reset of a layer that records none": (lambda: layers.LSTM(4).reset_states, r"not stateful.*stateful=True"),
    "states of a layer that records none": (
        lambda: partial(setattr, layers.GRU(4), "states", zeros(2, 4)),
        r"GRU .*is not stateful and records no states",
    ),
}

LENGTHS = {
    "too many": (
        lambda: partial(layers.GRU(4), zeros(2, 5, 3), lengths=[1, 2, 3]),
        r"GRU .*lengths must be \(batch,\) = \(2,\), got \(3,\)",
    ),
    "of another rank": (
        lambda: partial(layers.GRU(4), zeros(2, 5, 3), lengths=ones(2, 5).long()),
        r"lengths must be \(batch,\) = \(2,\), got \(2, 5\)",
    ),
    "longer than the sequence": (
        lambda: partial(layers.LSTM(4), zeros(2, 5, 3), lengths=[5, 6]),
        r"LSTM .*lengths must be from 0 to the number of steps, 5; got 6 for row 1",
    ),
    "below zero": (
        lambda: partial(layers.Bidirectional(layers.LSTM(4)), zeros(2, 5, 3), lengths=torch.tensor([-1, 2])),
        r"Bidirectional .*lengths must be from 0 .*got -1 for row 0",
    ),
    "a mask in its place": (
        lambda: partial(layers.LSTM(4), zeros(2, 5, 3), lengths=ones(2)),
        r"lengths must be whole numbers of steps, got torch\.bool\. Masks go into mask=",
    ),
    "floats": (
        lambda: partial(layers.SimpleRNN(4), zeros(2, 5, 3), lengths=np.array([1.0, 2.0])),
        r"lengths must be whole numbers of steps, got torch\.float",
    ),
    "with a mask": (
        lambda: partial(layers.LSTM(4), zeros(2, 5, 3), mask=ones(2, 5), lengths=[1, 2]),
        r"LSTM .*got both a mask and lengths; pass one of the two",
    ),
}

STREAMS = {
    "rows that are not there": (
        lambda: partial(recorded().reset_states, rows=[2]),
        r"different numbers from 0 to 1, got \[2\]",
    ),
    "rows twice": (
        lambda: partial(recorded().reset_states, rows=[1, 1]),
        r"different numbers from 0 to 1, got \[1, 1\]",
    ),
    "rows from the end": (
        lambda: partial(recorded().reset_states, rows=[-1]),
        r"different numbers from 0 to 1, got \[-1\]",
    ),
    "rows as floats": (lambda: partial(recorded().reset_states, rows=[0.5]), r"rows must be numbers of rows"),
    "rows as booleans of another batch": (
        lambda: partial(recorded().reset_states, rows=[True, False, True]),
        r"rows as booleans must be \(batch,\) = \(2,\), got \(3,\)",
    ),
    "states of more rows than were named": (
        lambda: partial(recorded().reset_states, [zeros(2, 4), zeros(2, 4)], rows=[0]),
        r"states must be .*with batch 1, got \[\(2, 4\), \(2, 4\)\]",
    ),
    "rows before there are states": (
        lambda: partial(layers.GRU(4, stateful=True).reset_states, zeros(1, 4), rows=[0]),
        r"GRU .*no states yet to set rows of\. Call it first",
    ),
    "parked states of another layer": (
        lambda: partial(streamed().set_states, {"1": [zeros(2, 4)]}),
        r"set_states takes a dict .*here of \['0'\]; got \['1'\]",
    ),
    "parked states that are none": (lambda: partial(streamed().set_states, zeros(2, 4)), r"takes a dict .*got Tensor"),
    "parked states of another width": (
        lambda: partial(streamed().set_states, {"0": [zeros(2, 5)]}),
        r"GRU .*states must be \(batch, 4\) with batch 2, got \[\(2, 5\)\]",
    ),
    "a step of both directions": (
        lambda: partial(layers.Bidirectional(layers.GRU(4)).step, zeros(2, 3)),
        r"Bidirectional .*there is no step",
    ),
    "a step from the end": (
        lambda: partial(layers.GRU(4, go_backwards=True).step, zeros(2, 3)),
        r"GRU .*go_backwards=True starts from the last step",
    ),
    "a step of a sequence": (
        lambda: partial(built(layers.GRU(4), None, None, 3).step, zeros(2, 5, 3)),
        r"GRU .*expected \(batch, time, 3\), got \(2, 1, 5, 3\)",
    ),
    "a step from a state of another batch": (
        lambda: partial(built(layers.GRU(4), None, None, 3).step, zeros(2, 3), zeros(3, 4)),
        r"GRU .*initial_state must be \(batch, 4\) with batch 2, got \[\(3, 4\)\]",
    ),
}

ENGINE = {
    "unknown": (lambda: partial(on_engine, "atn", layers.GRU(4)), r"engine 'atn' is not known.* Did you mean 'aten'"),
    "that refuses": (
        lambda: partial(on_engine, "aten", layers.GRU(4, reset_after=False)),
        r"engine 'aten' refuses gru float32 on cpu.*takes reset_after=True only.*'auto' would run 'native'",
    ),
    "that refuses for several reasons": (
        lambda: partial(on_engine, "aten", layers.LSTM(4, activation="relu", recurrent_activation="hard_sigmoid")),
        r"takes activation tanh, not relu; takes recurrent_activation sigmoid, not hard_sigmoid",
    ),
}

TABLE = [
    pytest.param(make, error, message, id=f"{group}: {name}")
    for group, error, rows in (
        ("shape", ValueError, SHAPES),
        ("states", ValueError, STATES),
        ("lengths", ValueError, LENGTHS),
        ("streams", ValueError, STREAMS),
        ("engine", ValueError, ENGINE),
        ("name", ValueError, NAMES),
        ("option", ValueError, OPTIONS),
        ("model", ValueError, MODELS),
        ("training", ValueError, TRAINING),
        ("tensor", ValueError, TENSORS),
        ("cast", TypeError, CASTS),
        ("not stateful", NotStatefulError, NOT_STATEFUL),
        ("index", IndexError, INDICES),
        ("undefined", NotImplementedError, UNDEFINED),
        ("attribute", AttributeError, ATTRIBUTES),
    )
    for name, (make, message) in rows.items()
]


@pytest.mark.parametrize(("make", "error", "message"), TABLE)
def test_bad_input(make, error, message):
    act = make()
    with NothingComputed(), pytest.raises(error, match=message) as caught:
        act()
    assert type(caught.value) is error


def test_the_guard_of_this_table_sees_a_computation():
    dense = built(layers.Dense(3), None, 2)
    with NothingComputed(), pytest.raises(AssertionError, match="was computed before the error came"):
        dense(zeros(2, 2))


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("mse", zeros(4, 5), r"y_true has shape \(4, 5\) and y_pred \(4, 2\)"),
        ("sparse_categorical_crossentropy", torch.tensor([0, 1, 2, 1]), r"labels must be from 0 to 1; got .*0 to 2"),
        (["mse", "mse"], Y, r"loss has 2 entries for 1 outputs \['out'\]"),
        ({"oout": "mse"}, Y, r"'oout', which is no output\. Did you mean 'out'"),
        (None, Y, r"there is no loss"),
    ],
)
def test_what_only_the_outputs_can_tell_is_told_before_a_weight_is_changed(loss, y, message):
    model = compiled(loss=loss)
    model.build((None, 3))
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(torch.ones(4, 3), y, verbose=0)
    for kept, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_set_weights_of_one_wrong_shape_writes_nothing():
    layer = built(layers.Dense(4), None, 3)
    before = layer.get_weights()
    with pytest.raises(ValueError, match=r"'bias', number 1; expected \(4,\)"):
        layer.set_weights([np.ones((3, 4)), np.ones(5)])
    for kept, now in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_a_layer_before_the_last_that_gives_several_outputs():
    model = Sequential([layers.LSTM(3, return_state=True), layers.Dense(2, name="after")])
    with pytest.raises(ValueError, match=r"the layer before Dense 'after' has several outputs"):
        model(zeros(2, 5, 3))


def test_data_in_a_dict_may_hold_more_than_the_inputs_as_in_keras():
    query, key = torch.ones(2, 3), torch.ones(2, 2)
    torch.testing.assert_close(
        pair()({"query": query, "key": key, "label": zeros(2)}), torch.cat([query, key], 1), rtol=0, atol=0
    )
