"""`RNN` over cells of one's own: nests, sizes, initial states, modes."""

import numpy as np
import pytest
import torch

from cells import Counting, Minimal, Nested, TensorShape
from ostinato import Input, Model, layers
from ostinato.recurrence.nests import flatten, map_nest
from side_by_side import tensor

# -- states of every form ------------------------------------------------------------------------------------------

SIZES = {
    "int": (4, [(4,)]),
    "list of one": ([4], [(4,)]),
    "torch.Size": (torch.Size([4]), [(4,)]),
    "torch.Size, a matrix": (torch.Size([2, 3]), [(2, 3)]),
    "TensorShape": (TensorShape([4]), [(4,)]),
    "list": ([4, 3], [(4,), (3,)]),
    "tuple": ((5, 5), [(5,), (5,)]),
    "shapes in a list": ([TensorShape([2]), torch.Size([2, 3])], [(2,), (2, 3)]),
    "dict": ({"b": 2, "a": 3}, [(3,), (2,)]),
    "nest": ([4, (2, {"z": torch.Size([3, 1])})], [(4,), (2,), (3, 1)]),
}


@pytest.mark.parametrize("kind", SIZES)
def test_state_sizes(kind):
    """A state of each form reaches the cell in the form of its size, zeros first, and comes back counted."""
    size, shapes = SIZES[kind]
    cell = Counting(size)
    layer = layers.RNN(cell, return_sequences=True, return_state=True)
    x = tensor(2, 3, 5)
    outputs, *states = layer(x)
    assert [tuple(leaf.shape) for leaf in flatten(states)] == [(2, *shape) for shape in shapes]
    means = x.mean(2)
    for leaf in flatten(states):
        torch.testing.assert_close(leaf.flatten(1), means.sum(1, keepdim=True).expand(2, leaf[0].numel()))
    torch.testing.assert_close(outputs.flatten(2)[..., 0], means.cumsum(1))
    assert outputs.shape == (2, 3, *shapes[0])
    assert layer.compute_output_shape((2, 3, 5))[0] == (2, 3, *shapes[0])
    assert [tuple(shape) for shape in flatten(list(layer.compute_output_shape((2, 3, 5))[1:]), is_tuple)] == [
        (2, *shape) for shape in shapes
    ]
    _, handed = cell.seen[-1]
    expected = [size] if isinstance(size, int | torch.Size | TensorShape) else size
    assert type(handed) is type(expected) and len(handed) == len(expected)
    if isinstance(size, dict):
        assert set(handed) == set(size)


def is_tuple(value):
    return isinstance(value, tuple) and all(isinstance(each, int) for each in value)


@pytest.mark.parametrize("kind", SIZES)
def test_states_can_be_handed_back(kind):
    """What return_state gave starts the next call; two halves make the whole."""
    layer = layers.RNN(Counting(SIZES[kind][0]), return_state=True)
    x = tensor(2, 6, 5)
    _, *half = layer(x[:, :2])
    output, *states = layer(x[:, 2:], initial_state=half)
    expected, *final = layer(x)
    torch.testing.assert_close(output, expected)
    for mine, right in zip(flatten(states), flatten(final), strict=True):
        torch.testing.assert_close(mine, right)


# -- inputs and outputs of every form ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["list", "tuple", "dict", "deep"])
def test_nested_inputs(form):
    a, b = tensor(2, 4, 3), tensor(2, 4, 2, 5, seed=1)
    inputs = {"list": [a, b], "tuple": (a, b), "dict": {"b": b, "a": a}, "deep": [a, {"x": (b,)}]}[form]
    cell = Counting(3)
    output = layers.RNN(cell)(inputs)
    torch.testing.assert_close(output[:, 0], a.mean(2).sum(1) + b.mean((2, 3)).sum(1))
    step, _ = cell.seen[-1]
    assert type(step) is type(inputs)
    assert (
        map_nest(lambda leaf: tuple(leaf.shape), step)
        == {
            "list": [(2, 3), (2, 2, 5)],
            "tuple": ((2, 3), (2, 2, 5)),
            "dict": {"a": (2, 3), "b": (2, 2, 5)},
            "deep": [(2, 3), {"x": ((2, 2, 5),)}],
        }[form]
    )


@pytest.mark.parametrize("form", ["list", "tuple", "dict"])
def test_nested_outputs(form):
    class Several(Counting):
        output_size = {"list": [3, 2], "tuple": (3, 2), "dict": {"q": 2, "p": 3}}[form]

        def call(self, inputs, states):
            first, new = super().call(inputs, states)
            pair = (first, 2 * first[:, :2])
            return {"list": list(pair), "tuple": pair, "dict": {"q": pair[1], "p": pair[0]}}[form], new

    layer = layers.RNN(Several(3), return_sequences=True)
    x = tensor(2, 4, 5)
    output = layer(x)
    assert type(output) is type(Several.output_size)
    first, second = (output["p"], output["q"]) if form == "dict" else output
    torch.testing.assert_close(first[..., 0], x.mean(2).cumsum(1))
    torch.testing.assert_close(second, 2 * first[..., :2])
    shapes = layer.compute_output_shape((2, 4, 5))
    assert shapes == map_nest(lambda leaf: tuple(leaf.shape), output)
    symbols = layer(Input((None, 5)))
    assert map_nest(lambda leaf: leaf.shape, symbols) == map_nest(lambda n: (None, None, n[2]), shapes, is_tuple)


def nested_by_hand(cell, x1, x2, order):
    """(outputs, states) of the guide's cell in NumPy, in the given order of time steps."""
    w1, w2 = cell.get_weights()
    outputs = [(x1[:, t] @ w1, np.einsum("bij,ijkl->bkl", x2[:, t], w2)) for t in order]
    return outputs, (sum(a for a, _ in outputs), sum(b for _, b in outputs))


@pytest.mark.parametrize("backwards", [False, True])
def test_the_nested_cell_of_the_guide(backwards):
    x1, x2 = tensor(3, 4, 5), tensor(3, 4, 2, 3, seed=1)
    cell = Nested(2, 3, 4)
    layer = layers.RNN(cell, return_sequences=True, return_state=True, go_backwards=backwards)
    (y1, y2), s1, s2 = layer((x1, x2))
    outputs, states = nested_by_hand(cell, x1.numpy(), x2.numpy(), range(3, -1, -1) if backwards else range(4))
    for t, (first, second) in enumerate(outputs):
        np.testing.assert_allclose(y1[:, t].detach(), first, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(y2[:, t].detach(), second, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(s1.detach(), states[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(s2.detach(), states[1], rtol=1e-5, atol=1e-6)
    last = layers.RNN(cell, go_backwards=backwards)((x1, x2))
    assert isinstance(last, tuple) and last[0].shape == (3, 2) and last[1].shape == (3, 3, 4)


def test_the_nested_cell_in_a_drawn_model():
    first, second = Input((None, 5)), Input((None, 2, 3))
    outputs = layers.RNN(Nested(2, 3, 4))((first, second))
    assert [symbol.shape for symbol in outputs] == [(None, 2), (None, 3, 4)]
    model = Model([first, second], outputs)
    found = model([tensor(3, 4, 5), tensor(3, 4, 2, 3)])
    assert isinstance(found, list) and [tuple(leaf.shape) for leaf in found] == [(3, 2), (3, 3, 4)]
    assert [weight.shape for weight in model.get_weights()] == [(5, 2), (2, 3, 3, 4)]


def test_the_nested_cell_masked_and_stateful():
    """The first mask counts for all inputs; the states of both inputs go on where they ended."""
    x1, x2 = tensor(2, 4, 5), tensor(2, 4, 2, 3, seed=1)
    layer = layers.RNN(Nested(2, 3, 4), return_state=True, stateful=True)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1]], dtype=torch.bool)
    (y1, _), s1, s2 = layer((x1, x2), mask=[mask, None])
    w1, w2 = layer.get_weights()
    kept = (x1 * mask[..., None]).numpy(), (x2 * mask[..., None, None]).numpy()
    np.testing.assert_allclose(s1.detach(), kept[0].sum(1) @ w1, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(s2.detach(), np.einsum("bij,ijkl->bkl", kept[1].sum(1), w2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y1.detach(), np.stack([x1[0, 1], x1[1, 3]]) @ w1, rtol=1e-5, atol=1e-6)
    _, again, _ = layer((x1, x2), mask=mask)
    torch.testing.assert_close(again, 2 * s1)
    assert [tuple(state.shape) for state in layer.states] == [(2, 2), (2, 3, 4)]


def test_a_mask_on_any_nested_input_counts():
    x = tensor(2, 3, 4)
    mask = torch.tensor([[1, 0, 1], [1, 1, 0]], dtype=torch.bool)
    layer = layers.RNN(Counting(2))
    torch.testing.assert_close(layer([x, x], mask=[None, mask])[:, 0], 2 * (x.mean(2) * mask).sum(1))


# -- what a cell may be --------------------------------------------------------------------------------------------


def test_gradients_of_a_cell_of_ones_own_match_a_loop():
    layer = layers.RNN(Minimal(3), return_sequences=True)
    x = tensor(2, 4, 5).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0]], dtype=torch.bool)
    got = torch.autograd.grad((layer(x, mask=mask) * tensor(2, 4, 3)).sum(), [x, *layer.trainable_weights])
    kernel, recurrent = layer.trainable_weights
    h = output = torch.zeros(2, 3)
    outputs = []
    for t in range(4):
        new = x[:, t] @ kernel + h @ recurrent
        h = output = torch.where(mask[:, t, None], new, h)
        outputs.append(output)
    expected = torch.autograd.grad((torch.stack(outputs, 1) * tensor(2, 4, 3)).sum(), [x, kernel, recurrent])
    for mine, right in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-5, atol=1e-6)


def test_an_initial_state_of_the_cells_own():
    class Ones(Counting):
        def get_initial_state(self, batch_size=None):
            return [torch.ones(batch_size, 3)]

    class Legacy(Counting):
        def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
            assert batch_size in inputs.shape
            return torch.full((batch_size, 3), 2.0, dtype=dtype)

    x = torch.zeros(2, 4, 5)
    assert layers.RNN(Ones(3))(x).eq(1).all()
    assert layers.RNN(Legacy(3))(x).eq(2).all()
    stateful = layers.RNN(Ones(3), stateful=True)
    assert stateful(torch.ones(2, 4, 5)).eq(5).all()
    assert stateful(x).eq(5).all()
    stateful.reset_states()
    assert stateful(x).eq(1).all()


def test_initial_states_of_stacked_cells_are_their_own():
    class Threes(layers.GRUCell):
        def get_initial_state(self, batch_size=None):
            return [torch.full((batch_size, self.units), 3.0)]

    cells = layers.StackedRNNCells([layers.LSTMCell(2), Threes(4)])
    lstm, gru = cells.get_initial_state(batch_size=5)
    assert [state.eq(0).all().item() for state in lstm] == [True, True]
    assert gru.eq(3).all() and gru.shape == (5, 4)
    layer = layers.RNN(cells)
    x = tensor(5, 3, 2)
    torch.testing.assert_close(layer(x), layer(x, initial_state=[torch.zeros(5, 2)] * 2 + [torch.full((5, 4), 3.0)]))


@pytest.mark.parametrize("training", [True, False])
def test_a_cell_is_told_the_mode(training):
    class Asking(Counting):
        def call(self, inputs, states, training=None):
            self.mode = training
            return super().call(inputs, states)

    cell = Asking(3)
    layers.RNN(cell)(torch.ones(1, 2, 3), training=training)
    assert cell.mode is training


def test_a_plain_torch_module_as_a_cell():
    class Plain(torch.nn.Module):
        state_size = 3

        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(5, 3)

        def forward(self, inputs, states):
            h = torch.tanh(self.linear(inputs) + states[0])
            return h, [h]

    cell = Plain()
    layer = layers.RNN(cell, return_state=True)
    x = tensor(2, 4, 5)
    h = torch.zeros(2, 3)
    for t in range(4):
        h = torch.tanh(cell.linear(x[:, t]) + h)
    output, state = layer(x)
    torch.testing.assert_close(output, h)
    torch.testing.assert_close(state, h)
    assert len(layer.trainable_weights) == 2 and "cell.linear.weight" in layer.state_dict()


def test_a_cell_that_is_no_module():
    class Bare:
        state_size = 2

        def call(self, inputs, states):
            h = states[0] + inputs.sum(1, keepdim=True)
            return h, [h]

    layer = layers.RNN(Bare())
    assert layer(torch.ones(1, 3, 2)).tolist() == [[6.0, 6.0]]
    assert layer.weights == []


def test_a_subclass_of_a_cell_with_a_call_of_its_own_is_called():
    class Doubling(layers.LSTMCell):
        def call(self, inputs, states, training=False):
            output, states = super().call(inputs, states, training)
            return 2 * output, states

    doubled, plain = layers.RNN(Doubling(4)), layers.LSTM(4)
    for layer in (doubled, plain):
        layer.build((None, None, 3))
    doubled.set_weights(plain.get_weights())
    torch.testing.assert_close(doubled(tensor(2, 5, 3)), 2 * plain(tensor(2, 5, 3)))


@pytest.mark.parametrize("cell", [layers.GRUCell, layers.SimpleRNNCell])
def test_a_cell_returns_its_one_state_as_it_was_given(cell):
    """As in Keras: a tensor for a tensor, a list for a list."""
    cell = cell(3)
    output, state = cell(tensor(2, 4), torch.zeros(2, 3))
    assert torch.equal(state, output)
    output, states = cell(tensor(2, 4), [torch.zeros(2, 3)])
    assert isinstance(states, list) and torch.equal(states[0], output)


def test_a_user_cell_among_stacked_cells():
    layer = layers.RNN([layers.LSTMCell(4), Minimal(3), layers.GRUCell(2)], return_state=True)
    x = tensor(2, 5, 3)
    output, lstm, own, gru = layer(x)
    assert [state.shape for state in lstm] == [(2, 4), (2, 4)] and own.shape == (2, 3)
    torch.testing.assert_close(output, gru)
    first, second, third = layer.cell.cells
    states = [[torch.zeros(2, 4)] * 2, [torch.zeros(2, 3)], [torch.zeros(2, 2)]]
    for t in range(5):
        value = x[:, t]
        for i, cell in enumerate((first, second, third)):
            value, states[i] = cell(value, states[i])
    torch.testing.assert_close(output, value, rtol=1e-5, atol=1e-6)


def test_constants_reach_the_cell():
    class Shifted(Counting):
        def call(self, inputs, states, constants):
            output, new = super().call(inputs, states)
            return output + constants[0], new

    x = tensor(2, 3, 4)
    shift = torch.tensor([[1.0], [2.0]])
    output = layers.RNN(Shifted(2))(x, constants=[shift])
    torch.testing.assert_close(output, x.mean(2).sum(1, keepdim=True) + shift.expand(2, 2))


# -- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell])
def test_time_major(cell):
    major, minor = (layers.RNN(cell(4), return_sequences=True, time_major=each) for each in (True, False))
    x, mask = tensor(2, 5, 3), torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1]], dtype=torch.bool)
    for layer in (major, minor):
        layer.build((None, None, 3))
    major.set_weights(minor.get_weights())
    torch.testing.assert_close(major(x.transpose(0, 1), mask=mask.t()).transpose(0, 1), minor(x, mask=mask))
    assert major.compute_output_shape((5, 2, 3)) == (5, 2, 4)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", "Bidirectional", "stacked"])
def test_output_shapes_are_those_of_outputs(name, sequences, state):
    options = {"return_sequences": sequences, "return_state": state}
    layer = {
        "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(4, **options)),
        "stacked": lambda: layers.RNN([layers.LSTMCell(4), layers.GRUCell(2)], **options),
    }.get(name, lambda: getattr(layers, name)(4, **options))()
    shapes = layer.compute_output_shape((2, 5, 3))
    outputs = layer(tensor(2, 5, 3))
    outputs = outputs if state else [outputs]
    shapes = list(shapes) if state else [shapes]
    assert [tuple(leaf.shape) for leaf in flatten(list(outputs))] == flatten(shapes, is_tuple)
    symbols = layer(Input((None, 3)))
    symbols = list(symbols) if state else [symbols]
    lead = (None, None) if sequences else (None,)
    assert flatten(symbols)[0].shape == (*lead, flatten(shapes, is_tuple)[0][-1])


def test_masks_out_of_a_layer():
    mask = torch.tensor([[True, True, False]])
    x = tensor(1, 3, 2)
    sequence = layers.LSTM(2, return_sequences=True)
    assert sequence.compute_mask(x, mask) is mask
    assert layers.LSTM(2).compute_mask(x, mask) is None
    assert sequence.compute_mask(x, None) is None
    both = layers.LSTM(2, return_sequences=True, return_state=True)
    assert both.compute_mask(x, mask)[0] is mask and both.compute_mask(x, mask)[1:] == [None, None]
    backwards = layers.LSTM(2, return_sequences=True, go_backwards=True)
    assert backwards.compute_mask(x, mask).tolist() == [[False, True, True]]
    merged = layers.Bidirectional(layers.LSTM(2, return_sequences=True), merge_mode=None)
    assert [each is mask for each in merged.compute_mask(x, mask)] == [True, True]
    assert layers.Embedding(3, 2).compute_mask(torch.tensor([[0, 1]])) is None
    assert layers.Embedding(3, 2, mask_zero=True).compute_mask(torch.tensor([[0, 1]])).tolist() == [[False, True]]


def test_an_integer_mask_and_a_numpy_mask():
    layer = layers.GRU(3)
    x = tensor(2, 4, 2)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0]])
    expected = layer(x, mask=mask.bool())
    assert torch.equal(layer(x, mask=mask), expected)
    assert torch.equal(layer(x, mask=mask.numpy()), expected)
    assert torch.equal(layer(x.numpy(), mask=mask.bool().numpy()), expected)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_no_steps_and_no_rows(name):
    """An empty sequence ends where it began; an empty batch gives an empty result."""
    layer = getattr(layers, name)(3, return_sequences=True, return_state=True)
    states = [tensor(2, 3, seed=i) for i in range(len(layer.states or layer._sizes))]
    sequence, *final = layer(torch.zeros(2, 0, 4), initial_state=states)
    assert sequence.shape == (2, 0, 3)
    for mine, given in zip(final, states, strict=True):
        assert torch.equal(mine, given)
    sequence, *final = layer(torch.zeros(0, 5, 4))
    assert sequence.shape == (0, 5, 3) and all(state.shape == (0, 3) for state in final)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_weights_are_those_of_the_cell(name):
    layer = getattr(layers, name)(3)
    layer(tensor(2, 4, 5))
    assert layer.kernel is layer.cell.kernel and layer.bias is layer.cell.bias
    assert [weight is mine for weight, mine in zip(layer.weights, layer.cell.weights, strict=True)] == [True] * 3
    assert list(layer.state_dict()) == ["cell.kernel", "cell.recurrent_kernel", "cell.bias"]
    assert layer.units == 3 and layer.state_size == layer.cell.state_size
