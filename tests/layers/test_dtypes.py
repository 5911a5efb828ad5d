"""The dtype of what is inside a layer is that of the layer around it."""

import numpy as np
import pytest
import torch

from ostinato import layers

AROUND = {
    "RNN": lambda: layers.RNN(layers.LSTMCell(4, dtype="float64")),
    "stacked": lambda: layers.RNN([layers.GRUCell(4, dtype="float64"), layers.LSTMCell(3, dtype="float64")]),
    "Bidirectional": lambda: layers.Bidirectional(layers.GRU(4, dtype="float64")),
    "Bidirectional of RNN": lambda: layers.Bidirectional(layers.RNN(layers.SimpleRNNCell(4, dtype="float64"))),
    "LSTM": lambda: layers.LSTM(4, dtype="float64"),
}


@pytest.mark.parametrize("name", AROUND)
def test_float64_inside_takes_and_gives_float64(name):
    layer = AROUND[name]()
    assert layer.dtype is torch.float64
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    found = layer(x)
    assert found.dtype is torch.float64
    torch.testing.assert_close(layer(x.numpy()), found, rtol=0, atol=0)
    assert {weight.dtype for weight in layer.weights} == {torch.float64}


@pytest.mark.parametrize("name", AROUND)
def test_float64_inside_refuses_float32(name):
    layer = AROUND[name]()
    with pytest.raises(TypeError, match=r"expected a torch\.float64 tensor, got torch\.float32"):
        layer(torch.zeros(2, 5, 3))


def test_a_dtype_that_is_named_wins():
    layer = layers.RNN(layers.LSTMCell(4), dtype="float32")
    assert layer.dtype is torch.float32
    assert layer(np.zeros((2, 5, 3))).dtype is torch.float32
