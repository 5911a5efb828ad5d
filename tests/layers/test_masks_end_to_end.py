"""Masks from where they begin to loss and metrics: a masked row is the shorter sequence of its used steps.

For whole models, in float64: outputs, loss, metrics and the weights after a step of training, each from the shorter
sequences, one by one and without a mask. A row without steps is a sequence of none.
"""

import numpy as np
import pytest
import torch

import ostinato
from masked_models import MASK, SEQUENCES, VECTORS, Flagged
from ostinato import layers
from side_by_side import tensor

CLOSE = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def x_of(rows=5):
    return tensor(rows, MASK.shape[1], 3, dtype=torch.float64)


def source(name, x):
    """(a layer that begins a mask, what to give it, what comes out of it)."""
    if name == "Masking":
        given = x.masked_fill(~MASK.unsqueeze(-1), -7.5)
        return layers.Masking(mask_value=-7.5), given, x.masked_fill(~MASK.unsqueeze(-1), 0)
    if name == "Embedding":
        ids = torch.arange(1, 1 + MASK.numel()).reshape(MASK.shape).masked_fill(~MASK, 0)
        embedding = layers.Embedding(1 + MASK.numel(), 3, mask_zero=True)
        return embedding, ids, embedding(ids).detach()
    return Flagged(MASK), x, x


def made(name, table):
    ostinato.utils.set_random_seed(3)
    body = ostinato.Sequential(table[name]())
    body(x_of(), training=False)
    return body


def shorter(body, values, training=False):
    """What the body makes of the used steps of each row, each as a batch of one."""
    return [body(row[used].unsqueeze(0), training=training)[0] for row, used in zip(values, MASK, strict=True)]


@pytest.mark.parametrize("begins", ["Masking", "Embedding", "Flagged"])
@pytest.mark.parametrize("name", SEQUENCES)
def test_each_step_is_that_of_the_shorter_sequence(name, begins):
    body = made(name, SEQUENCES)
    first, given, values = source(begins, x_of())
    outputs = ostinato.Sequential([first, body])(given, training=False)
    mask = outputs._keras_mask
    assert torch.equal(mask, MASK) or torch.equal(mask, MASK.flip(1))
    for got, used, expected in zip(outputs, mask, shorter(body, values), strict=True):
        torch.testing.assert_close(got[used], expected, **CLOSE)


@pytest.mark.parametrize("begins", ["Masking", "Embedding", "Flagged"])
@pytest.mark.parametrize("name", VECTORS)
def test_each_row_is_that_of_the_shorter_sequence(name, begins):
    body = made(name, VECTORS)
    first, given, values = source(begins, x_of())
    outputs = ostinato.Sequential([first, body])(given, training=False)
    assert getattr(outputs, "_keras_mask", None) is None
    torch.testing.assert_close(outputs, torch.stack(shorter(body, values)), **CLOSE)


@pytest.mark.parametrize("name", SEQUENCES)
def test_an_explicit_mask_is_that_of_a_layer(name):
    body = made(name, SEQUENCES)
    outputs = ostinato.Sequential([Flagged(MASK), body])(x_of(), training=False)
    for mask in (MASK, MASK.to(torch.float64)):
        explicit = body(x_of(), mask=mask, training=False)
        assert torch.equal(explicit, outputs) and torch.equal(explicit._keras_mask != 0, outputs._keras_mask)


# -- loss, metrics and training ------------------------------------------------------------------------------------

RANDOM = {"Dropout", "one above the other"}  # in training


def stepwise(values, targets, backwards):
    """(mean squared error, mean absolute error) over all used steps of all rows."""
    masks = MASK.flip(1) if backwards else MASK
    pairs = [(value, target[used]) for value, target, used in zip(values, targets, masks, strict=True)]
    count = sum(len(value) for value, _ in pairs)
    return tuple(
        sum(distance(value - target).mean(-1).sum() for value, target in pairs) / count
        for distance in (torch.square, torch.abs)
    )


def trained(body, given, first, targets, loss):
    """(evaluate's numbers, the loss of a training step, the gradients it took: SGD with a rate of 1)."""
    model = ostinato.Sequential([first, body])
    model.compile(ostinato.optimizers.SGD(1.0), loss, metrics=["mae"])
    numbers = model.evaluate(given, targets, batch_size=5, verbose=0)
    before = [weight.detach().clone() for weight in body.trainable_weights]
    during = model.fit(given, targets, batch_size=5, shuffle=False, verbose=0).history["loss"][0]
    steps = [old - new.detach() for old, new in zip(before, body.trainable_weights, strict=True)]
    with torch.no_grad():
        for weight, old in zip(body.trainable_weights, before, strict=True):
            weight.copy_(old)
    return numbers, during, steps


@pytest.mark.parametrize("loss", ["mse", "a function of one's own"])
@pytest.mark.parametrize("name", [name for name in SEQUENCES if name not in RANDOM])
def test_loss_metrics_and_gradients_of_each_step(name, loss):
    body = made(name, SEQUENCES)
    first, given, values = source("Masking", x_of())
    width = body(values, training=False).shape[-1]
    targets = tensor(5, 5, width, dtype=torch.float64, seed=1)
    backwards = not torch.equal(ostinato.Sequential([first, body])(given, training=False)._keras_mask, MASK)
    squared, absolute = stepwise(shorter(body, values, training=True), targets, backwards)
    expected = torch.autograd.grad(squared, body.trainable_weights)
    function = loss if loss == "mse" else lambda y, y_pred: (y - y_pred).square().mean(-1)
    numbers, during, steps = trained(body, given, first, targets, function)
    np.testing.assert_allclose(numbers, [squared.item(), absolute.item()], rtol=1e-6)  # logs are float32
    assert during == pytest.approx(squared.item(), rel=1e-6)
    for got, right in zip(steps, expected, strict=True):
        torch.testing.assert_close(got, right, **CLOSE)


@pytest.mark.parametrize("name", [name for name in VECTORS if name not in RANDOM])
def test_loss_metrics_and_gradients_of_each_row(name):
    body = made(name, VECTORS)
    first, given, values = source("Masking", x_of())
    found = torch.stack(shorter(body, values, training=True))
    targets = tensor(*found.shape, dtype=torch.float64, seed=1)
    squared, absolute = (found - targets).square().mean(), (found - targets).abs().mean()
    expected = torch.autograd.grad(squared, body.trainable_weights)
    numbers, during, steps = trained(body, given, first, targets, "mse")
    np.testing.assert_allclose(numbers, [squared.item(), absolute.item()], rtol=1e-6)
    assert during == pytest.approx(squared.item(), rel=1e-6)
    for got, right in zip(steps, expected, strict=True):
        torch.testing.assert_close(got, right, **CLOSE)


def test_sample_weights_beside_a_mask():
    """Weights of rows and of steps: each used step counts by its weight, among the used ones."""
    body = made("GRU", SEQUENCES)
    first, given, values = source("Masking", x_of())
    targets = tensor(5, 5, 2, dtype=torch.float64, seed=1)
    model = ostinato.Sequential([first, body])
    model.compile("sgd", "mse", weighted_metrics=["mae"])
    with torch.no_grad():
        outputs = shorter(body, values)
    for weights in (torch.rand(5), torch.rand(5, 5)):
        by_step = weights if weights.dim() == 2 else weights.unsqueeze(1).expand(5, 5)
        rows = list(zip(outputs, targets, by_step, MASK, strict=True))
        losses = [((y - t[used]).square().mean(-1) * w[used]).sum() for y, t, w, used in rows]
        errors = [((y - t[used]).abs().mean(-1) * w[used]).sum() for y, t, w, used in rows]
        got = model.evaluate(given, targets, sample_weight=weights, batch_size=5, verbose=0)
        expected = [float(sum(losses) / MASK.sum()), float(sum(errors) / by_step[MASK].sum())]
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_metrics_add_up_over_batches_of_unlike_masks():
    """A metric is a mean over used steps, wherever the batches are cut."""
    body = made("LSTM", SEQUENCES)
    first, given, values = source("Masking", x_of())
    targets = tensor(5, 5, 2, dtype=torch.float64, seed=1)
    model = ostinato.Sequential([first, body])
    model.compile("sgd", "mse", metrics=["mae"])
    _, absolute = stepwise(shorter(body, values), targets, False)
    for size in (1, 2, 3, 5):
        found = model.evaluate(given, targets, batch_size=size, verbose=0, return_dict=True)
        assert found["mae"] == pytest.approx(absolute.item(), rel=1e-6)


# -- deeper -------------------------------------------------------------------------------------------------------


def test_sentences_of_words():
    """Embedding -> a recurrent layer over the words of each sentence -> one over the sentences."""
    ids = torch.tensor([[[1, 2, 0], [3, 0, 0], [0, 0, 0]], [[0, 4, 0], [0, 0, 0], [5, 1, 2]]])
    model = ostinato.Sequential(
        [layers.Embedding(6, 3, mask_zero=True), layers.TimeDistributed(layers.LSTM(4)), layers.GRU(3)]
    )
    outputs = model(ids)
    embedding, words, sentences = model.layers
    for got, text in zip(outputs, ids, strict=True):
        vectors = [words.layer(embedding(row[row != 0]).detach().unsqueeze(0)) for row in text if row.any()]
        torch.testing.assert_close(got, sentences(torch.stack(vectors, 1))[0], **CLOSE)


@pytest.mark.parametrize("recurrent", [layers.SimpleRNN, layers.GRU, layers.LSTM])
@pytest.mark.parametrize("both", [False, True])
def test_initial_states_under_a_mask_that_comes_along(recurrent, both):
    """Keras 3 loses the mask; here rows start from their states, and a row without steps keeps its own."""
    layer = recurrent(4, return_sequences=True, return_state=True)
    layer = layers.Bidirectional(layer) if both else layer
    x = Flagged(MASK)(x_of())
    layer(x)
    count = len(layer(x)) - 1
    states = [tensor(5, 4, dtype=torch.float64, seed=i).requires_grad_() for i in range(count)]
    outputs, *finals = layer(x, initial_state=states)
    assert torch.equal(outputs._keras_mask, MASK)
    for row, used in enumerate(MASK):
        start = [state[row : row + 1] for state in states]
        expected, *ends = layer(x_of()[row][used].unsqueeze(0), initial_state=start)
        torch.testing.assert_close(outputs[row][used], expected[0], **CLOSE)
        for got, end in zip(finals, ends, strict=True):
            torch.testing.assert_close(got[row], end[0], **CLOSE)
    for got, state in zip(finals, states, strict=True):
        assert torch.equal(got[4], state[4])
    grads = torch.autograd.grad(sum(final.sum() for final in finals), states)
    assert sum(grad[4].eq(1).all() for grad in grads) == count  # handed through


@pytest.mark.parametrize("name", ["LSTM", "concat", "stacked cells", "a cell of one's own"])
def test_lengths_are_right_padding(name):
    layer = SEQUENCES[name]()[0]
    lengths = torch.tensor([5, 3, 0, 1, 4])
    mask = torch.arange(5) < lengths.unsqueeze(1)
    by_mask, by_lengths = layer(x_of(), mask=mask), layer(x_of(), lengths=lengths)
    assert torch.equal(by_mask, by_lengths) and torch.equal(by_lengths._keras_mask, mask)
    dense = layers.Dense(2)
    assert torch.equal(dense(by_lengths)._keras_mask, mask)


# -- layers made of layers -----------------------------------------------------------------------------------------


class Block(layers.Layer):
    """A layer of one's own around two of the library's, which says nothing of masks."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = layers.LSTM(4, return_sequences=True), layers.Dense(2)

    def call(self, x):
        return self.out(self.inner(x))


class Begun(Block):
    """The mask begins inside."""

    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(6, 3, mask_zero=True)

    def call(self, ids):
        return super().call(self.embedding(ids))


class Several(Block):
    """One output with steps, one without."""

    def call(self, x):
        sequences = self.inner(x)
        return [self.out(sequences), sequences[:, -1]]


def drawn_on(layer, given):
    x = ostinato.Input(tuple(given.shape[1:]), dtype=given.dtype)
    return ostinato.Model(x, layer(x))


@pytest.mark.parametrize("around", ["nothing", "Sequential", "Model"])
def test_a_mask_reaches_the_layers_in_a_layer(around):
    block = Block()
    x = x_of()
    whole = {
        "nothing": lambda: lambda x: block(Flagged(MASK)(x)),
        "Sequential": lambda: ostinato.Sequential([Flagged(MASK), block]),
        "Model": lambda: drawn_on(lambda x: block(Flagged(MASK)(x)), x),
    }[around]()
    outputs = whole(x)
    assert torch.equal(outputs._keras_mask, MASK)
    for got, used, expected in zip(outputs, MASK, shorter(block, x), strict=True):
        torch.testing.assert_close(got[used], expected, **CLOSE)
    assert not hasattr(x, "_keras_mask")
    torch.testing.assert_close(block(x), block.out(block.inner(x)), **CLOSE)  # nothing hangs on x now


@pytest.mark.parametrize("model", [lambda b, x: ostinato.Sequential([b, layers.Dense(1)]), None])
def test_a_mask_that_begins_in_a_layer_goes_on(model):
    block, ids = Begun(), torch.tensor([[1, 2, 0], [3, 0, 0]])
    whole = drawn_on(lambda x: layers.Dense(1)(block(x)), ids) if model is None else model(block, ids)
    assert torch.equal(whole(ids)._keras_mask, ids != 0)


def test_a_layer_with_several_outputs_keeps_what_hangs_on_each():
    block = Several()
    outputs = drawn_on(lambda x: block(Flagged(MASK)(x)), x_of())(x_of())
    assert torch.equal(outputs[0]._keras_mask, MASK) and not hasattr(outputs[1], "_keras_mask")
