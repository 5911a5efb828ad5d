"""What ConvLSTM layers refuse, and in which words."""

import pytest
import torch

import ostinato
from conv_twins import shape_of, twins
from ostinato import layers
from ostinato.layers.conv_lstm import ConvLSTMCell
from side_by_side import tensor

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
    "a mask of pixels": (
        lambda: built()(X, mask=torch.ones(3, 5, 5, 4)),
        r"mask has the places \(5, 4\) of each step, and states and outputs have others, \(4, 3, 3\)",
    ),
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
