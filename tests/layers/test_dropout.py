"""Dropout: numbers with known masks, what a mask is constant over, and who draws when."""

import itertools

import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers
from ostinato.random import DEFAULT, Stream, dropout_mask
from side_by_side import tensor

SEED = 7


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(name, weights, x, dropped, held, units):
    """The layer's equations in NumPy float64, with Keras's masks: `dropped` for inputs, `held` for states.

    Each mask is `(gates, batch, ...)`; a GRU is the one with the reset gate after the product.
    """
    kernel, recurrent, bias = (np.asarray(weight, dtype="float64") for weight in weights)
    gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[name]
    h = c = np.zeros((x.shape[0], units))
    outputs = []
    w, u = np.split(kernel, gates, -1), np.split(recurrent, gates, -1)
    for t in range(x.shape[1]):
        a = [(x[:, t] * dropped[g]) @ w[g] for g in range(gates)]
        b = [(h * held[g]) @ u[g] for g in range(gates)]
        if name == "SimpleRNN":
            h = np.tanh(a[0] + b[0] + bias)
        elif name == "LSTM":
            i, f, g, o = (p + q + r for p, q, r in zip(a, b, np.split(bias, 4), strict=True))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            first, second = np.split(bias[0], 3), np.split(bias[1], 3)
            z, r = (sigmoid(a[g] + b[g] + first[g] + second[g]) for g in (0, 1))
            h = z * h + (1 - z) * np.tanh(a[2] + first[2] + r * (b[2] + second[2]))
        outputs.append(h)
    return np.stack(outputs, 1)


@pytest.mark.parametrize("rates", [(0.5, 0.0), (0.0, 0.5), (0.3, 0.6)], ids=str)
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_numbers_with_known_masks(name, rates):
    """A mask for each gate with recurrent dropout, else one for all; each held over time; scaled up."""
    dropout, recurrent_dropout = rates
    units, gates = 4, {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[name]
    layer = getattr(layers, name)(
        units,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        seed=SEED,
        return_sequences=True,
        bias_initializer="uniform",
    )
    x = tensor(3, 6, 5)
    got = layer(x, training=True).detach()
    stream, like = Stream(SEED), torch.zeros(())
    per_gate = recurrent_dropout > 0 and gates > 1
    lead = (gates, 3) if per_gate else (3,)
    dropped, held = np.ones((gates, 3, 5)), np.ones((gates, 3, units))
    if dropout:
        dropped = dropped * dropout_mask((*lead, 5), dropout, like, stream).numpy()
        assert set(np.unique(dropped)) == {0, np.float32(1 / (1 - dropout))}
    if recurrent_dropout:
        held = held * dropout_mask((*lead, units), recurrent_dropout, like, stream).numpy()
    if per_gate and dropout:
        assert not np.array_equal(dropped[0], dropped[1])
    expected = by_hand(name, layer.get_weights(), x.numpy().astype("float64"), dropped, held, units)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_a_mask_is_constant_over_time_and_differs_between_rows_and_calls(name):
    """The input is dropped as a whole: what the layer does with a step depends on the row, never on the step."""
    layer = getattr(layers, name)(
        1, dropout=0.5, recurrent_initializer="zeros", kernel_initializer="ones", return_sequences=True
    )
    layer.build((None, None, 1))
    x = torch.ones(64, 9, 1)
    first, second = (layer(x, training=True)[:, :, 0] for _ in range(2))
    rows = [first.abs().sum(1) == 0, second.abs().sum(1) == 0]
    if name == "SimpleRNN":
        assert (first == first[:, :1]).all()
        assert {round(each, 5) for each in first.unique().tolist()} == {0.0, round(float(np.tanh(2)), 5)}
    for dropped, output in zip(rows, (first, second), strict=True):
        assert 10 < dropped.sum() < 54
        assert (output[~dropped] != 0).all()
    assert not torch.equal(*rows)


def test_a_rate_from_numpy():
    layer = layers.LSTM(2, dropout=np.float32(0.5), recurrent_dropout=np.float64(0.25))
    assert (layer.dropout, layer.recurrent_dropout) == (0.5, 0.25)
    assert layers.Dropout(np.float32(0.5)).rate == 0.5


def test_rates_as_frequencies():
    mask = dropout_mask((400, 500), 0.3, torch.zeros(()), Stream(1))
    assert (mask == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert mask.mean().item() == pytest.approx(1, abs=0.01)


def test_gradients_pass_where_the_mask_does():
    layer = layers.Dropout(0.5, seed=SEED)
    x = torch.ones(4, 50, requires_grad=True)
    y = layer(x, training=True)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_noise_shape_drops_together():
    layer = layers.Dropout(0.5, noise_shape=(None, 1, None), seed=SEED)
    y = layer(torch.ones(20, 7, 3), training=True)
    assert (y == y[:, :1]).all() and 10 < (y[:, 0] == 0).sum() < 50


def test_a_rate_of_one_gives_zeros_and_of_nought_the_input():
    x = tensor(3, 4)
    assert layers.Dropout(1.0)(x, training=True).eq(0).all()
    assert layers.Dropout(0.0)(x, training=True) is x


MADE = {
    "Dropout": lambda **seed: layers.Dropout(0.5, **seed),
    "LSTM": lambda **seed: layers.LSTM(4, dropout=0.3, recurrent_dropout=0.3, **seed),
    "GRU": lambda **seed: layers.GRU(4, dropout=0.3, **seed),
    "stacked": lambda **seed: layers.RNN([layers.GRUCell(4, dropout=0.3, **seed), layers.LSTMCell(3)]),
    "Bidirectional": lambda **seed: layers.Bidirectional(layers.LSTM(4, recurrent_dropout=0.3, **seed)),
}


@pytest.mark.parametrize("name", MADE)
def test_a_seed_of_ones_own_repeats_itself(name):
    """Two layers with the same seed and weights drop the same, whatever is drawn elsewhere."""
    pair = [MADE[name](seed=SEED) for _ in range(2)]
    x = tensor(2, 5, 3)
    for layer in pair:
        layer.build((None, None, 3))
    pair[1].set_weights(pair[0].get_weights())
    for _ in range(3):
        first = pair[0](x, training=True)
        torch.rand(3)
        DEFAULT.next()
        assert torch.equal(first, pair[1](x, training=True))


@pytest.mark.parametrize("name", MADE)
def test_set_random_seed_governs_the_rest(name):
    layer = MADE[name]()
    x = tensor(2, 5, 3)
    layer.build((None, None, 3))
    found = []
    for seed in (3, 3, 4):
        ostinato.utils.set_random_seed(seed)
        found.append([layer(x, training=True) for _ in range(2)])
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][0], found[0][1])
    assert not torch.equal(found[0][0], found[2][0])


@pytest.mark.parametrize("name", MADE)
def test_inference_draws_nothing(name):
    """Neither the common stream nor torch's generator moves on, and nothing is dropped."""
    layer = MADE[name]()
    x = tensor(2, 5, 3)
    layer(x, training=False)
    before = (DEFAULT.counter, torch.get_rng_state())
    first = layer(x, training=False)
    assert torch.equal(layer(x, training=False), first)
    assert DEFAULT.counter == before[0] and torch.equal(torch.get_rng_state(), before[1])


def test_inference_between_does_not_change_what_training_draws():
    x = tensor(2, 5, 3)
    found = []
    for between in (0, 3):
        layer = layers.GRU(4, dropout=0.3, seed=SEED, kernel_initializer="ones", recurrent_initializer="ones")
        first = layer(x, training=True)
        for _ in range(between):
            layer(x, training=False)
        found.append((first, layer(x, training=True)))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_a_layer_without_dropout_draws_nothing_in_training():
    before = DEFAULT.counter
    layer = layers.LSTM(4)
    layer.build((None, None, 3))
    built = DEFAULT.counter
    layer(tensor(2, 5, 3), training=True)
    assert DEFAULT.counter == built > before


def test_a_cell_keeps_no_mask_between_calls():
    """Masks belong to the call: a cell called twice in training draws twice."""
    cell = layers.LSTMCell(4, dropout=0.5)
    x, states = tensor(8, 3), [torch.zeros(8, 4)] * 2
    first, second = (cell(x, states, training=True)[0] for _ in range(2))
    assert not torch.equal(first, second)
    still, again = (cell(x, states, training=False)[0] for _ in range(2))
    assert torch.equal(still, again)


def test_dropped_padding_stays_padding():
    """A masked step changes nothing in training either."""
    layer = layers.LSTM(4, dropout=0.5, recurrent_dropout=0.5, seed=SEED, return_sequences=True)
    twin = layers.LSTM(4, dropout=0.5, recurrent_dropout=0.5, seed=SEED, return_sequences=True)
    x = tensor(2, 5, 3)
    for each in (layer, twin):
        each.build((None, None, 3))
    twin.set_weights(layer.get_weights())
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2, dtype=torch.bool)
    masked = layer(x.masked_fill(~mask[..., None], float("nan")), mask=mask, training=True)
    torch.testing.assert_close(masked[:, :3], twin(x[:, :3], training=True))
    assert torch.equal(masked[:, 3], masked[:, 2])


class Inside(layers.Layer):
    """A cell around cells: a stack in it, one of them called twice, and a whole layer."""

    def __init__(self, cells, layer=None, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.layer = layers.StackedRNNCells(cells), layer
        self.state_size, self.output_size = self.inner.state_size, self.inner.output_size

    def call(self, inputs, states, training=False):
        if self.layer is not None:
            self.seen.append(self.layer(torch.ones(len(inputs), 2, 4), training=training))
        return self.inner(inputs, states, training=training)


class Plain(layers.GRUCell):
    """A built-in cell with a `call` of its own."""

    def call(self, inputs, states, training=False):
        return super().call(inputs, states, training)


@pytest.mark.parametrize("kind", ["a subclass", "inside", "deeper", "a plain module"])
def test_masks_are_held_in_cells_of_ones_own(kind):
    """Stepping through a sequence, a built-in cell draws once for all steps, wherever it is called from."""

    class Module(torch.nn.Module):
        state_size = 5

        def __init__(self, cell):
            super().__init__()
            self.cell = cell

        def forward(self, inputs, states, training=False):
            return self.cell(inputs, states, training=training)

    options = {"dropout": 0.5, "recurrent_dropout": 0.4, "seed": 3}
    cell = {
        "a subclass": lambda: Plain(5, **options),
        "inside": lambda: Inside([layers.GRUCell(5, **options)]),
        "deeper": lambda: Inside([Inside([Plain(5, **options)])]),
        "a plain module": lambda: Module(layers.GRUCell(5, **options)),
    }[kind]()
    own, built_in = layers.RNN(cell, return_sequences=True), layers.GRU(5, return_sequences=True, **options)
    x = torch.ones(3, 6, 4)
    built_in.build(x.shape)
    own(x, training=False)
    own.set_weights(built_in.get_weights())
    for _ in range(2):
        torch.testing.assert_close(own(x, training=True), built_in(x, training=True))
    assert not torch.equal(own(x, training=True), own(x, training=True))
    torch.testing.assert_close(own(x, training=False), built_in(x, training=False))


def test_a_layer_in_a_cell_draws_at_each_of_its_calls():
    cell = Inside([layers.GRUCell(3)], layer=layers.LSTM(6, dropout=0.5))
    cell.seen = []
    layers.RNN(cell)(torch.ones(2, 4, 4), training=True)
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(cell.seen))
