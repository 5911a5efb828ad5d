"""Models for sequences of three features, as users put them together, and masks for five rows of five steps."""

import torch

import ostinato
from cells import Minimal
from ostinato import layers

MASK = torch.tensor(
    [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool
)
"""A full row, one padded on the right, one on the left, one with gaps, and one without steps."""

EVERY = {"return_sequences": True}


class Flagged(layers.Layer):
    """Hands on what it is given, with a mask; what stands in masked steps is replaced by a value."""

    supports_masking = True

    def __init__(self, mask, garbage=None, **kwargs):
        super().__init__(**kwargs)
        self.mask, self.garbage = mask, garbage

    def compute_mask(self, inputs, mask=None):
        return self.mask

    def call(self, inputs):
        return inputs if self.garbage is None else filled(inputs, self.mask, self.garbage)


def filled(x, mask, value):
    """`x` with a value wherever the mask, of the leading axes, is False."""
    return torch.where(mask.reshape(mask.shape + (1,) * (x.dim() - mask.dim())), x, value)


def drawn(function):
    """A functional model of one sequence."""
    x = ostinato.Input((None, 3))
    return [ostinato.Model(x, function(x))]


def with_states(x):
    """An encoder hands its states to a decoder, which has a mask as well."""
    _, *states = layers.LSTM(4, return_state=True)(x)
    return layers.Dense(2)(layers.LSTM(4, **EVERY)(x, initial_state=states))


def with_states_of_both(x):
    _, *states = layers.Bidirectional(layers.GRU(4, return_state=True))(x)
    return layers.Dense(2)(layers.Bidirectional(layers.GRU(4, **EVERY))(x, initial_state=states))


def both_halves(x):
    forward, backward = layers.Bidirectional(layers.GRU(4, **EVERY), merge_mode=None)(x)
    return layers.Dense(2)(layers.Concatenate()([forward, backward]))


class Subclassed(ostinato.Model):
    def __init__(self):
        super().__init__()
        self.lower, self.norm = layers.GRU(4, **EVERY), layers.LayerNormalization()
        self.upper, self.out = layers.LSTM(4, **EVERY), layers.Dense(2)

    def call(self, x):
        return self.out(self.upper(self.norm(self.lower(x))))


def merged(merge):
    return lambda: drawn(lambda x: layers.Dense(2)(merge()([layers.LSTM(4, **EVERY)(x), layers.Dense(4)(x)])))


SEQUENCES = {
    "SimpleRNN": lambda: [layers.SimpleRNN(4, **EVERY), layers.Dense(2)],
    "GRU": lambda: [layers.GRU(4, **EVERY), layers.Dense(2)],
    "GRU, Keras 1": lambda: [layers.GRU(4, reset_after=False, **EVERY), layers.Dense(2)],
    "LSTM": lambda: [layers.LSTM(4, **EVERY), layers.Dense(2)],
    "zeroed": lambda: [layers.LSTM(4, zero_output_for_mask=True, **EVERY), layers.Dense(2)],
    "unrolled": lambda: [layers.LSTM(4, unroll=True, **EVERY), layers.Dense(2)],
    "backwards": lambda: [layers.GRU(4, go_backwards=True, **EVERY), layers.Dense(2)],
    "backwards, unrolled": lambda: [layers.GRU(4, go_backwards=True, unroll=True, **EVERY), layers.Dense(2)],
    "backwards below": lambda: [layers.GRU(4, go_backwards=True, **EVERY), layers.LSTM(4, **EVERY), layers.Dense(2)],
    "backwards twice": lambda: [layers.GRU(4, go_backwards=True, **EVERY), layers.LSTM(2, go_backwards=True, **EVERY)],
    "one above the other": lambda: [layers.LSTM(4, **EVERY), layers.GRU(3, **EVERY), layers.SimpleRNN(2, **EVERY)],
    "stacked cells": lambda: [layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], **EVERY), layers.Dense(2)],
    "a cell of one's own": lambda: [layers.RNN(Minimal(4), **EVERY), layers.Dense(2)],
    "concat": lambda: [layers.Bidirectional(layers.LSTM(4, **EVERY)), layers.Dense(2)],
    "sum": lambda: [layers.Bidirectional(layers.GRU(4, **EVERY), merge_mode="sum"), layers.Dense(2)],
    "ave": lambda: [layers.Bidirectional(layers.LSTM(4, **EVERY), merge_mode="ave"), layers.Dense(2)],
    "mul": lambda: [layers.Bidirectional(layers.GRU(4, **EVERY), merge_mode="mul"), layers.Dense(2)],
    "both halves": lambda: drawn(both_halves),
    "both ways, twice": lambda: [
        layers.Bidirectional(layers.LSTM(3, **EVERY)),
        layers.Bidirectional(layers.GRU(2, **EVERY)),
        layers.Dense(2),
    ],
    "both ways, backwards": lambda: [layers.Bidirectional(layers.GRU(4, go_backwards=True, **EVERY)), layers.Dense(2)],
    "TimeDistributed": lambda: [
        layers.TimeDistributed(layers.Dense(4, activation="tanh")),
        layers.GRU(4, **EVERY),
        layers.TimeDistributed(layers.Dense(2)),
    ],
    "TimeDistributed torch": lambda: [layers.GRU(4, **EVERY), layers.TimeDistributed(torch.nn.Linear(4, 2))],
    "Dense": lambda: [layers.Dense(4, activation="exponential"), layers.Dense(2)],
    "LayerNormalization": lambda: [layers.LayerNormalization(), layers.LSTM(4, **EVERY), layers.LayerNormalization()],
    "Activation": lambda: [layers.Activation("gelu"), layers.LSTM(4, **EVERY), layers.Activation("softmax")],
    "Softmax": lambda: [layers.LSTM(4, **EVERY), layers.Dense(2), layers.Softmax()],
    "LeakyReLU": lambda: [layers.LSTM(4, **EVERY), layers.LeakyReLU(), layers.Rescaling(2.0, 1.0), layers.Dense(2)],
    "Dropout": lambda: [layers.Dropout(0.5), layers.LSTM(4, **EVERY), layers.SpatialDropout1D(0.5), layers.Dense(2)],
    "Add": merged(layers.Add),
    "Average": merged(layers.Average),
    "Concatenate": merged(layers.Concatenate),
    "Maximum": merged(layers.Maximum),
    "Minimum": merged(layers.Minimum),
    "Multiply": merged(layers.Multiply),
    "Subtract": merged(layers.Subtract),
    "states handed on": lambda: drawn(with_states),
    "states of both": lambda: drawn(with_states_of_both),
    "subclassed": lambda: [Subclassed()],
    "nested": lambda: [ostinato.Sequential([layers.GRU(4, **EVERY)]), ostinato.Sequential([layers.Dense(2)])],
}
"""A value for each step."""

VECTORS = {
    "SimpleRNN": lambda: [layers.SimpleRNN(4), layers.Dense(2)],
    "GRU": lambda: [layers.GRU(4), layers.Dense(2)],
    "LSTM": lambda: [layers.LSTM(4), layers.Dense(2)],
    "backwards": lambda: [layers.LSTM(4, go_backwards=True), layers.Dense(2)],
    "one above the other": lambda: [layers.LSTM(4, **EVERY), layers.Dropout(0.3), layers.GRU(4), layers.Dense(2)],
    "backwards below": lambda: [layers.LSTM(4, go_backwards=True, **EVERY), layers.GRU(4), layers.Dense(2)],
    "stacked cells": lambda: [layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)]), layers.Dense(2)],
    "a cell of one's own": lambda: [layers.RNN(Minimal(4)), layers.Dense(2)],
    "both ways": lambda: [layers.Bidirectional(layers.LSTM(4)), layers.Dense(2)],
    "both ways, sum": lambda: [
        layers.Bidirectional(layers.LSTM(4, **EVERY)),
        layers.Bidirectional(layers.GRU(4), merge_mode="sum"),
        layers.Dense(2),
    ],
    "mean": lambda: [layers.Dense(4, activation="tanh"), layers.GlobalAveragePooling1D(), layers.Dense(2)],
    "largest": lambda: [layers.Bidirectional(layers.GRU(4, **EVERY)), layers.GlobalMaxPooling1D(), layers.Dense(2)],
    "an encoder and a decoder": lambda: [
        layers.GRU(4),
        layers.RepeatVector(3),
        layers.GRU(4, **EVERY),
        layers.TimeDistributed(layers.Dense(2)),
    ],
}
"""A value for each row."""

GARBAGE = [torch.nan, torch.inf, -torch.inf, 1e38, -1e38]
