"""Cells written for Keras 3: the same source text runs with only its import line changed, and gives the same."""

import keras
import numpy as np
import pytest
import torch

import ostinato

MINIMAL = """
class MinimalCell(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, self.units), initializer="uniform", name="recurrent_kernel"
        )

    def call(self, inputs, states):
        prev_output = states[0]
        h = keras.ops.matmul(inputs, self.kernel)
        output = h + keras.ops.matmul(prev_output, self.recurrent_kernel)
        return output, [output]


def cell():
    return MinimalCell(5)
"""

LAYER_NORM_LSTM = """
@keras.saving.register_keras_serializable(package="cells")
class LayerNormLSTMCell(keras.layers.Layer):
    def __init__(self, units, epsilon=1e-3, activation="tanh", **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.epsilon = epsilon
        self.activation = keras.activations.get(activation)
        self.state_size = [units, units]
        self.output_size = units

    def build(self, input_shape):
        shape = (input_shape[-1] + self.units, 4 * self.units)
        self.kernel = self.add_weight(
            shape=shape, initializer="orthogonal", regularizer=keras.regularizers.L2(1e-3), name="kernel"
        )
        self.gamma = self.add_weight(shape=(4 * self.units,), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(4 * self.units,), initializer="zeros", name="beta")
        self.built = True

    def normalized(self, x):
        mean = keras.ops.mean(x, axis=-1, keepdims=True)
        variance = keras.ops.var(x, axis=-1, keepdims=True)
        return (x - mean) * keras.ops.rsqrt(variance + self.epsilon)

    def call(self, inputs, states, training=False):
        h, c = states
        z = keras.ops.dot(keras.ops.concatenate([inputs, h], axis=-1), self.kernel)
        z = keras.ops.add(keras.ops.multiply(self.normalized(z), self.gamma), self.beta)
        i, f, g, o = keras.ops.split(z, 4, axis=1)
        c = keras.ops.sigmoid(f + 1.0) * c + keras.ops.sigmoid(i) * self.activation(g)
        c = keras.ops.clip(c, -3.0, 3.0)
        h = keras.ops.sigmoid(o) * self.activation(self.normalized(c))
        h = keras.ops.where(keras.ops.isfinite(h), h, keras.ops.zeros_like(h))
        return h, [h, c]

    def get_initial_state(self, batch_size=None):
        return [keras.ops.zeros((batch_size, self.units)), keras.ops.full((batch_size, self.units), 0.1)]

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "epsilon": self.epsilon,
            "activation": keras.activations.serialize(self.activation),
        }


def cell():
    return LayerNormLSTMCell(5, activation="hard_tanh")
"""

NESTED = """
class AttentiveCell(layers.Layer):
    '''Reads a memory of slots by attention and writes it by gates; its states are the memory, flat, and a vector.'''

    def __init__(self, slots, units, **kwargs):
        super().__init__(**kwargs)
        self.slots, self.units = slots, units
        self.state_size = [slots * units, units]
        self.output_size = units

    def build(self, input_shape):
        self.query = self.add_weight(shape=(input_shape[-1], self.units), initializer="he_normal", name="query")
        self.write = self.add_weight(
            shape=(input_shape[-1], self.slots, self.units), initializer="glorot_uniform", name="write"
        )

    def call(self, inputs, states):
        memory, last = states
        memory = ops.reshape(memory, (-1, self.slots, self.units))
        asked = ops.tanh(ops.matmul(inputs, self.query) + last)
        scores = ops.einsum("bsu,bu->bs", memory, asked) / ops.sqrt(ops.cast(self.units, inputs.dtype))
        weights = ops.softmax(scores, axis=-1)
        read = ops.sum(memory * ops.expand_dims(weights, -1), axis=1)
        gate = ops.expand_dims(ops.one_hot(ops.argmax(weights, axis=-1), self.slots, dtype=inputs.dtype), axis=2)
        new = ops.silu(ops.tensordot(inputs, self.write, axes=1))
        memory = (1 - 0.5 * gate) * memory + 0.5 * gate * ops.reshape(new, (-1, self.slots, self.units))
        output = ops.maximum(read + ops.log1p(ops.abs(asked)), ops.power(asked, 2))
        norm = ops.norm(output, axis=-1, keepdims=True)
        output = output / ops.maximum(norm, 1e-6)
        last = ops.squeeze(ops.take(ops.stack([output, asked], axis=1), [0], axis=1), axis=1)
        return output, [ops.reshape(memory, (-1, self.slots * self.units)), last]

    def get_initial_state(self, batch_size=None):
        start = ops.linspace(-1.0, 1.0, self.slots * self.units)
        start = ops.broadcast_to(ops.expand_dims(start, 0), (batch_size, self.slots * self.units))
        return [start, ops.zeros((batch_size, self.units))]


def cell():
    return AttentiveCell(3, 4)
"""

SOURCES = {
    "minimal": ("import {}", MINIMAL),
    "layer norm": ("import {}", LAYER_NORM_LSTM),
    "nested": ("from {} import layers, ops", NESTED),
}


def layer(library, source, **options):
    """An RNN around the cell that the source text defines when its import line names this library."""
    line, text = SOURCES[source]
    names = {}
    exec(
        line.format(library.__name__) + (" as keras" if library is ostinato and "from" not in line else "") + text,
        names,
    )
    return library.layers.RNN(names["cell"](), **options)


def both(source, x, **options):
    ours, theirs = layer(ostinato, source, **options), layer(keras, source, **options)
    ours.build(x.shape)
    theirs.build(x.shape)
    rng = np.random.default_rng(3)
    values = [0.5 * rng.standard_normal(weight.shape) for weight in theirs.get_weights()]
    assert [weight.shape for weight in ours.get_weights()] == [value.shape for value in values]
    ours.set_weights(values)
    theirs.set_weights(values)
    return ours, theirs


def leaves(out):
    return [leaf for each in out for leaf in leaves(each)] if isinstance(out, (list, tuple)) else [out]


@pytest.mark.parametrize(
    "options", [{}, {"return_sequences": True, "return_state": True}, {"go_backwards": True}], ids=str
)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_values_and_gradients(source, masked, options):
    x = torch.randn(3, 6, 2)
    ours, theirs = both(source, x, **options)
    mask = (
        torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 0]], dtype=torch.bool) if masked else None
    )
    results = []
    for made, weights in ((ours, ours.trainable_weights), (theirs, [w.value for w in theirs.trainable_weights])):
        start = x.clone().requires_grad_()
        outputs = leaves(made(start, mask=mask))
        total = sum((out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum() for out in outputs)
        results.append((outputs, torch.autograd.grad(total, [start, *weights], allow_unused=True)))
    for a, b in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("source", SOURCES)
def test_in_a_functional_model(source):
    x = torch.randn(3, 6, 2)
    ours, theirs = both(source, x)
    start, keras_start = ostinato.Input((None, 2)), keras.Input((None, 2))
    drawn = ostinato.Model(start, ours(start))
    right = keras.Model(keras_start, theirs(keras_start))
    torch.testing.assert_close(drawn(x), right(x), rtol=1e-5, atol=1e-5)


def test_the_config_of_a_cell_of_ones_own_comes_back():
    x = torch.randn(2, 4, 3)
    ours, _ = both("layer norm", x)
    again = type(ours).from_config(ours.get_config())
    again.build(x.shape)
    again.set_weights(ours.get_weights())
    torch.testing.assert_close(again(x), ours(x), rtol=0, atol=0)
    assert [loss.item() for loss in again.losses] == [loss.item() for loss in ours.losses] != []
