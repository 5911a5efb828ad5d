"""Masking over sequences of images masks places: ConvLSTM holds state and output place by place, as in Keras."""

import keras
import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers
from side_by_side import give_weights, tensor
from side_by_side import run as outputs_and_gradients

RANKS = {1: (6,), 2: (5, 4), 3: (3, 4, 2)}


def images(rank, seed=0):
    """(x, mask) of two rows of five steps: places, whole steps, and all of one step's row masked; zeros there."""
    sizes = RANKS[rank]
    mask = torch.rand(2, 5, *sizes, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[0, 1] = mask[1, 0] = mask[1, 4] = False
    return tensor(2, 5, *sizes, 2, seed=seed).masked_fill(~mask.unsqueeze(-1), 0), mask


def pair(rank, **options):
    ours = getattr(layers, f"ConvLSTM{rank}D")(3, 3, padding="same", **options)
    theirs = getattr(keras.layers, f"ConvLSTM{rank}D")(3, 3, padding="same", **options)
    for each in (ours, theirs):
        each.build((2, 5, *RANKS[rank], 2))
    give_weights(ours, theirs)
    return ours, theirs


OPTIONS = {
    "last": {},
    "sequences": {"return_sequences": True},
    "states": {"return_sequences": True, "return_state": True},
    "last and states": {"return_state": True},
    "zeroed": {"return_sequences": True, "zero_output_for_mask": True},
    "backwards": {"return_sequences": True, "go_backwards": True},
    "stateful": {"stateful": True, "return_sequences": True},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("rank", RANKS)
def test_after_masking_as_in_keras(rank, options):
    ours, theirs = pair(rank, **OPTIONS[options])
    x, mask = images(rank)
    for _ in range(2):  # stateful: the second call goes on
        mine, right = ours(layers.Masking()(x)), theirs(keras.layers.Masking()(x))
        mine, right = (list(each) if isinstance(each, (list, tuple)) else [each] for each in (mine, right))
        for got, expected in zip(mine, right, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    if "return_sequences" in OPTIONS[options]:
        expected = mask.flip(1) if options == "backwards" else mask  # which Keras leaves as it is
        assert torch.equal(mine[0]._keras_mask, expected)


def test_gradients_as_in_keras():
    ours, theirs = pair(2, return_sequences=True)
    x, mask = images(2)
    mine = outputs_and_gradients(ours, ours.trainable_weights, x, mask=mask)
    right = outputs_and_gradients(theirs, [variable.value for variable in theirs.trainable_weights], x, mask=mask)
    for got, expected in zip([*mine[0], *mine[1]], [*right[0], *right[1]], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def by_place(layer, x, mask, states, backwards=False):
    """One step after the other with `step`, places by hand: (outputs, last, states)."""
    output, shown = None, []
    order = range(x.shape[1] - 1, -1, -1) if backwards else range(x.shape[1])
    plain = layers.ConvLSTM2D.from_config({**layer.get_config(), "go_backwards": False})
    plain.build((None, *x.shape[1:]))
    plain.set_weights(layer.get_weights())
    for t in order:
        used = mask[:, t].unsqueeze(-1)
        new, found = plain.step(x[:, t], states)
        output = torch.zeros_like(new) if output is None else output
        output = torch.where(used, new, output)
        states = [torch.where(used, a, b) for a, b in zip(found, states, strict=True)]
        shown.append(output)
    return torch.stack(shown, 1), output, states


@pytest.mark.parametrize("backwards", [False, True])
def test_from_states_step_by_step(backwards):
    layer = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True, return_state=True, go_backwards=backwards)
    x, mask = images(2, seed=3)
    states = [tensor(2, *RANKS[2], 3, seed=i) for i in range(2)]
    outputs, *finals = layer(x, initial_state=states, mask=mask)
    expected, last, ends = by_place(layer, x, mask, states, backwards)
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-6)
    for got, end in zip(finals, ends, strict=True):
        torch.testing.assert_close(got, end, rtol=1e-5, atol=1e-6)
    layer.return_sequences = False
    torch.testing.assert_close(layer(x, initial_state=states, mask=mask)[0], last, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("merge_mode", ["concat", "sum", None])
def test_both_ways(merge_mode):
    both = layers.Bidirectional(layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True), merge_mode=merge_mode)
    x, mask = images(2)
    found = both(x, mask=mask)
    halves = [half(x, mask=mask) for half in (both.forward_layer, both.backward_layer)]
    halves[1] = halves[1].flip(1)
    if merge_mode is None:
        assert all(torch.equal(a, b) for a, b in zip(found, halves, strict=True))
    else:
        expected = torch.cat(halves, -1) if merge_mode == "concat" else sum(halves)
        torch.testing.assert_close(found, expected)
    assert all(torch.equal(half._keras_mask, mask) for half in [halves[0]])


def test_steps_without_a_used_place_may_hold_anything():
    layer = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)
    x, mask = images(2)
    layer(x)
    nothing = ~mask.flatten(2).any(2)
    found = []
    for garbage in (0.0, torch.nan, torch.inf, 1e38):
        filled = x.clone()
        filled[nothing] = garbage
        filled.requires_grad_()
        outputs = layer(filled, mask=mask)
        found.append([outputs, *torch.autograd.grad(outputs.square().sum(), [filled, *layer.trainable_weights])])
    for each in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(each, found[0], strict=True))


def test_nan_in_a_masked_place():
    layer = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)
    x, mask = images(2)
    clean = layer(x, mask=mask)
    x = x.masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_()
    outputs = layer(x, mask=mask)
    assert torch.equal(outputs, clean)
    assert all(g.isfinite().all() for g in torch.autograd.grad(outputs.sum(), [x, *layer.trainable_weights]))


def test_loss_and_metrics_as_in_keras():
    """One above the other: what is held at a masked place is seen from the places around it."""

    def build(library):
        model = library.Sequential(
            [
                library.layers.Masking(),
                library.layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True),
                library.layers.ConvLSTM2D(1, 3, padding="same", return_sequences=True),
            ]
        )
        model.build((None, 5, *RANKS[2], 2))
        model.compile("sgd", "mse", metrics=["mae"])
        return model

    ours, theirs = build(ostinato), build(keras)
    give_weights(ours, theirs)
    x, _ = images(2)
    targets = tensor(2, 5, *RANKS[2], 1, seed=1)
    for _ in range(2):
        mine, right = (m.evaluate(x.numpy(), targets.numpy(), verbose=0) for m in (ours, theirs))
        np.testing.assert_allclose(mine, right, rtol=1e-5)
        mine, right = (m.train_on_batch(x.numpy(), targets.numpy()) for m in (ours, theirs))
        np.testing.assert_allclose(mine, right, rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_rows_and_no_steps(shape):
    layer = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True, return_state=True)
    outputs, h, c = layer(torch.zeros(*shape, 5, 4, 2), mask=torch.ones(*shape, 5, 4))
    assert tuple(outputs.shape) == (*shape, 5, 4, 3) and tuple(h.shape) == tuple(c.shape) == (shape[0], 5, 4, 3)


def test_a_cell_of_ones_own_over_images():
    """A mask of places holds every state, whose axes begin with them."""

    class Sum(layers.Layer):
        state_size = torch.Size([5, 4, 2])

        def call(self, inputs, states):
            return inputs + states[0], [inputs + states[0]]

    x, mask = images(2)
    found = layers.RNN(Sum(), return_sequences=True)(x, mask=mask)
    expected = (x * mask.unsqueeze(-1)).cumsum(1)
    torch.testing.assert_close(found, expected)


REFUSED = {
    "other places": (
        lambda x: layers.ConvLSTM2D(3, 2)(layers.Masking()(x)),
        r"mask has the places \(5, 4\).*\(4, 3, 3\)",
    ),
    "strides": (
        lambda x: layers.ConvLSTM2D(3, 3, padding="same", strides=2)(layers.Masking()(x)),
        r"Choose padding='same' and strides=1, or pass a mask of steps",
    ),
    "other sizes": (
        lambda x: layers.ConvLSTM2D(3, 3, padding="same")(x, mask=torch.ones(2, 5, 4, 4)),
        r"mask must be \(batch, time\) = \(2, 5\), got \(2, 5, 4, 4\)",
    ),
    "channels": (
        lambda x: layers.ConvLSTM2D(3, 3, padding="same")(x, mask=torch.ones(2, 5, 5, 4, 2)),
        r"mask must be \(batch, time\) = \(2, 5\), got \(2, 5, 5, 4, 2\)",
    ),
    "vectors": (
        lambda x: layers.LSTM(3)(x.flatten(2), mask=torch.ones(2, 5, 40)),
        r"mask must be \(batch, time\) = \(2, 5\), got \(2, 5, 40\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    act, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        act(images(2)[0])
