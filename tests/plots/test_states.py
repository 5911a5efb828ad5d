"""The heat map of states: its numbers are those of the cell, called step by step."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ostinato import Input, Model, Sequential, layers
from ostinato.plots.states import plot_states
from ostinato.recurrence.nests import flatten

SIGNATURE = b"\x89PNG\r\n\x1a\n"
B, T, F, U = 3, 7, 4, 5


class Minimal(layers.Layer):
    """A cell of one's own with two states of different shapes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.state_size = [torch.Size([2, 3]), 4]
        self.output_size = 4

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 4), name="kernel")

    def call(self, inputs, states):
        matrix, vector = states
        vector = torch.tanh(inputs @ self.kernel + 0.5 * vector + matrix.flatten(1)[:, :4])
        return -vector, [matrix * 0.9 + vector[:, None, :3], vector]


MAKE = {
    "lstm": lambda **options: layers.LSTM(U, **options),
    "gru": lambda **options: layers.GRU(U, **options),
    "gru before": lambda **options: layers.GRU(U, reset_after=False, **options),
    "simple": lambda **options: layers.SimpleRNN(U, **options),
    "stacked": lambda **options: layers.RNN([layers.LSTMCell(U), layers.GRUCell(3)], **options),
    "own": lambda **options: layers.RNN(Minimal(), **options),
}


def data(time=T, batch=B, seed=0):
    return torch.randn(batch, time, F, generator=torch.Generator().manual_seed(seed))


def gapped(time=T):
    mask = torch.ones(B, time, dtype=torch.bool)
    mask[0, :2] = mask[0, 4] = mask[1, 5:] = False
    return mask


@torch.no_grad()
def stepped(layer, x, mask=None, start=None):
    """For each state, `(batch, time, ...)`: the cell called step by step, masked steps held."""
    states = layer.get_initial_state(x.shape[0]) if start is None else start
    found = {}
    for t in range(x.shape[1] - 1, -1, -1) if layer.go_backwards else range(x.shape[1]):
        new = layer.cell(x[:, t], states, training=False)[1]
        if mask is not None:
            keep = [mask[:, t].reshape(-1, *[1] * (leaf.dim() - 1)) for leaf in flatten(new)]
            pairs = zip(keep, flatten(new), flatten(states), strict=True)
            leaves = iter([torch.where(k, a, b) for k, a, b in pairs])
            new = [[next(leaves) for _ in each] if isinstance(each, (list, tuple)) else next(leaves) for each in new]
        states = new
        found[t] = flatten(states)
    return [torch.stack([found[t][i] for t in range(x.shape[1])], 1) for i in range(len(found[0]))]


def shown(figure) -> list[np.ma.MaskedArray]:
    return [axis.images[0].get_array() for axis in figure.axes if axis.images]


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", MAKE)
def test_the_image_is_the_states_step_by_step(kind, masked, backwards, sequences):
    layer = MAKE[kind](return_sequences=sequences, go_backwards=backwards)
    x, mask = data(), gapped() if masked else None
    layer(x)
    for state, expected in enumerate(stepped(layer, x, mask)):
        for sample in (0, 2, -2):
            (image,) = shown(plot_states(layer, x, state=state, sample=sample, mask=mask))
            values = expected[sample].flatten(1).T
            assert image.shape == values.shape
            np.testing.assert_allclose(image.data, values, atol=1e-6)
            hidden = np.zeros(T, bool) if mask is None else ~mask[sample].numpy()
            np.testing.assert_array_equal(np.ma.getmaskarray(image), np.broadcast_to(hidden, image.shape))


@pytest.mark.parametrize("merge", ["concat", "sum", None])
@pytest.mark.parametrize("sequences", [False, True])
def test_both_halves_of_a_bidirectional_speak_of_the_same_step(merge, sequences):
    layer = layers.Bidirectional(layers.LSTM(U, return_sequences=sequences), merge_mode=merge)
    x, mask = data(), gapped()
    layer(x)
    for state in (0, 1):
        figure = plot_states(layer, x, state=state, mask=mask)
        halves = (layer.forward_layer, layer.backward_layer)
        for image, half in zip(shown(figure), halves, strict=True):
            np.testing.assert_allclose(image.data, stepped(half, x, mask)[state][0].T, atol=1e-6)
        assert [axis.get_title().split(":")[0] for axis in figure.axes[:2]] == [half.name for half in halves]


@pytest.mark.parametrize("kind", MAKE)
def test_the_first_state_may_be_given(kind):
    layer, x, mask = MAKE[kind](), data(), gapped()
    layer(x)
    generator = torch.Generator().manual_seed(5)
    start = [[torch.randn(each.shape, generator=generator) for each in part] if isinstance(part, (list, tuple)) else
             torch.randn(part.shape, generator=generator) for part in layer.get_initial_state(B)]  # fmt: skip
    for state, expected in enumerate(stepped(layer, x, mask, start)):
        (image,) = shown(plot_states(layer, x, state=state, mask=mask, initial_state=start))
        np.testing.assert_allclose(image.data, expected[0].flatten(1).T, atol=1e-6)


def test_time_first():
    layer = layers.GRU(U, time_major=True)
    x, mask = data(), gapped()
    layer(x.transpose(0, 1))
    (image,) = shown(plot_states(layer, x.transpose(0, 1), mask=mask.T))
    np.testing.assert_allclose(image.data, stepped(layer, x, mask)[0][0].T, atol=1e-6)


@pytest.mark.parametrize("wrap", [lambda each: each, layers.Bidirectional], ids=["alone", "both ways"])
def test_nothing_of_the_layer_changes(wrap):
    layer = wrap(layers.LSTM(U, stateful=True, dropout=0.5, recurrent_dropout=0.5))
    x = data()
    layer(x, training=False)
    layer.train()
    recorded, weights = [each.clone() for each in layer.states], [w.detach().clone() for w in layer.weights]
    before = shown(plot_states(layer, x))
    after = shown(plot_states(layer, x))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(recorded, layer.states, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights, layer.weights, strict=True))
    assert layer.training and not layer.return_sequences and not layer._forward_pre_hooks


def test_a_stateful_layer_goes_on_from_what_it_recorded():
    layer, x = layers.GRU(U, stateful=True), data()
    layer(x)
    (image,) = shown(plot_states(layer, x))
    np.testing.assert_allclose(image.data, stepped(layer, x, start=layer.states)[0][0].T, atol=1e-6)


def test_a_layer_of_a_model_by_its_name():
    words = torch.tensor([[3, 1, 2, 0, 0], [4, 4, 4, 4, 0]])
    model = Sequential(
        [
            layers.Embedding(5, F, mask_zero=True),
            layers.GRU(3, return_sequences=True, stateful=True),
            layers.Dropout(0.5),
            layers.LSTM(U, name="second"),
            layers.Dense(1),
        ]
    )
    model(words, training=False)
    recorded = model.layers[1].states[0].clone()
    with torch.no_grad():
        inner = model.layers[1](model.layers[0](words))
    model.layers[1].reset_states([recorded])
    figure = plot_states("second", words, model=model, state=1)
    (image,) = shown(figure)
    np.testing.assert_allclose(image.data, stepped(model.layers[3], inner, words != 0)[1][0].T, atol=1e-6)
    np.testing.assert_array_equal(np.ma.getmaskarray(image)[0], [False, False, False, True, True])
    assert "masked" in figure.axes[0].get_xlabel() and figure.axes[0].get_title() == "second: c, sample 0"
    assert torch.equal(model.layers[1].states[0], recorded) and not model.layers[3]._forward_pre_hooks
    (again,) = shown(plot_states(model.layers[3], words, model=model, state=1))
    np.testing.assert_array_equal(image, again)


def test_a_decoder_is_drawn_from_the_state_that_the_model_gives_it():
    first, second = Input((None, F)), Input((None, F))
    _, h, c = layers.LSTM(U, return_state=True)(first)
    decoder = layers.LSTM(U, name="decoder")
    model = Model([first, second], layers.Dense(2)(decoder(second, initial_state=[h, c])))
    a, b = data(4, seed=1), data(6, seed=2)
    with torch.no_grad():
        start = model.layers[1](a) if isinstance(model.layers[1], layers.LSTM) else model.layers[2](a)
    (image,) = shown(plot_states("decoder", [a.numpy(), b.numpy()], model=model))
    np.testing.assert_allclose(image.data, stepped(decoder, b, start=list(start[1:]))[0][0].T, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes(dtype):
    layer = layers.LSTM(U, dtype=dtype)
    (image,) = shown(plot_states(layer, data().to(getattr(torch, dtype))))
    x = data().to(getattr(torch, dtype))
    np.testing.assert_allclose(
        image.data, stepped(layer, x)[0][0].float().T, atol=1e-2 if dtype == "bfloat16" else 1e-6
    )


@pytest.mark.parametrize(("units", "time"), [(1, 1), (1, 40), (40, 1), (200, 3), (2, 500)])
def test_any_size_has_whole_ticks_and_zero_in_the_middle(units, time, tmp_path: Path):
    path = tmp_path / "states.png"
    figure = plot_states(layers.SimpleRNN(units), np.ones((1, time, 2), "float32"), path)
    axis, image = figure.axes[0], figure.axes[0].images[0]
    assert image.get_array().shape == (units, time) and path.read_bytes().startswith(SIGNATURE)
    low, high = image.get_clim()
    assert low == -high < 0
    for ticks, (start, stop) in ((axis.get_xticks(), axis.get_xlim()), (axis.get_yticks(), sorted(axis.get_ylim()))):
        inside = [tick for tick in ticks if start <= tick <= stop]
        assert inside and all(tick == round(tick) for tick in inside)
    for each in figure.axes:
        box = each.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_wholly_masked_and_all_zero():
    layer = layers.GRU(2)
    (image,) = shown(plot_states(layer, torch.zeros(1, 3, 2), mask=torch.zeros(1, 3, dtype=torch.bool)))
    assert np.ma.getmaskarray(image).all() and not image.data.any()


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: plot_states(layers.Dense(2, name="top"), data()), ValueError, "expected a recurrent layer.*'top'"),
        (lambda: plot_states("lstm", data()), TypeError, "pass model="),
        (lambda: plot_states(layers.LSTM(2), data(), state=2), ValueError, r"carries 2 state\(s\).*state=2"),
        (lambda: plot_states(layers.GRU(2), data(), state=-1), ValueError, r"carries 1 state\(s\)"),
        (lambda: plot_states(layers.GRU(2), data(), sample=B), ValueError, r"3 sample\(s\).*sample=3"),
        (lambda: plot_states(layers.GRU(2), data(batch=0)), ValueError, r"0 sample\(s\)"),
        (lambda: plot_states(layers.GRU(2), data(time=0)), ValueError, "without steps"),
        (lambda: plot_states(layers.GRU(2), data()[0]), ValueError, "expected"),
        (lambda: plot_states(layers.GRU(2), data(), mask=gapped(T + 1)), ValueError, "mask must be"),
        (lambda: plot_states("x", data(), model=torch.nn.Linear(4, 2)), TypeError, "model must be a Model"),
        (lambda: plot_states("nope", data(), model=Sequential([layers.GRU(2)])), ValueError, "no layer 'nope'"),
        (lambda: plot_states(layers.GRU(2), data(), model=Sequential([layers.GRU(2)])), ValueError, "did not call"),
        (
            lambda: plot_states("g", data(), model=Sequential([layers.GRU(2, name="g")]), mask=gapped()),
            ValueError,
            "mask",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ostinato\[plots\]'"):
        plot_states(layers.GRU(2), data())
