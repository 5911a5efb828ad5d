"""`StackedRNNCells` over any mix of cells: against a loop over the cells, and against layers one above the other."""

import copy
import json

import keras
import pytest
import torch

import ostinato
from cell_loop import assert_alike, gradients, leaves, rebuilt, run
from cells import DOUBLE, Attending, Counting, Learned, Minimal, Torch, Weave, states_of, woven
from ostinato import Input, Model, Sequential, layers
from ostinato.layers.conv_lstm import ConvLSTMCell
from side_by_side import MASKS, assert_same, give_weights, mask_of, tensor, values_of

F64 = {"dtype": "float64"}


@ostinato.utils.register_keras_serializable(package="tests")
class Gathering(layers.Layer):
    """Any nest to a vector: `h' = tanh(h / 2 + w * mean of all)`."""

    state_size = 2

    def build(self, input_shape):
        self.w = self.add_weight(shape=(2,), initializer="ones", name="w")

    def call(self, inputs, states):
        mean = sum(leaf.reshape(len(leaf), -1).mean(1, keepdim=True) for leaf in leaves(inputs))
        h = torch.tanh(states[0] / 2 + self.w * mean)
        return h, [h]


MIXES = {
    "the built-in three": lambda: [layers.LSTMCell(3, **F64), layers.GRUCell(4, **F64), layers.SimpleRNNCell(2, **F64)],
    "one": lambda: [layers.LSTMCell(3, **F64)],
    "options": lambda: [
        layers.GRUCell(3, reset_after=False, use_bias=False, **F64),
        layers.LSTMCell(2, activation="relu", recurrent_activation="hard_sigmoid", **F64),
    ],
    "own between": lambda: [layers.GRUCell(3, **F64), Minimal(4, **F64), layers.LSTMCell(2, **F64)],
    "torch's below": lambda: [Torch(4, 3, dtype=DOUBLE), layers.SimpleRNNCell(2, **F64)],
    "stacks in stacks": lambda: [
        layers.StackedRNNCells([layers.LSTMCell(3, **F64), layers.StackedRNNCells([Minimal(2, **F64)], **F64)], **F64),
        layers.GRUCell(4, **F64),
        Torch(4, 2, dtype=DOUBLE),
    ],
    "a start of its own": lambda: [layers.LSTMCell(3, **F64), Learned(2, **F64)],
}
"""Cells for inputs of four features."""


def structure(cell):
    """Zeros, or what the cell says, for its states, as the cell by itself takes them."""
    if isinstance(cell, layers.StackedRNNCells):
        return [structure(each) for each in cell.cells]
    if isinstance(cell, Learned):
        return [cell.start.expand(3, cell.units)]
    sizes = cell.state_size if isinstance(cell.state_size, list) else [cell.state_size]
    return [torch.zeros(3, *((n,) if isinstance(n, int) else n), dtype=DOUBLE) for n in sizes]


def one_above_the_other(cells):
    """The stack as a function of one step, which knows only its cells."""

    def step(inputs, states, **given):
        new = []
        for cell, each in zip(cells, states, strict=True):
            run_cell = one_above_the_other(cell.cells) if isinstance(cell, layers.StackedRNNCells) else cell
            inputs, after = run_cell(inputs, each, **given)
            new.append(after)
        return inputs, new

    return step


def stacked(mix, **options):
    layer = layers.RNN(MIXES[mix](), **options)
    layer.build((None, None, 4))
    return layer


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("mix", MIXES)
def test_a_stack_is_a_loop_over_its_cells(mix, name, backwards):
    """Outputs, states and gradients; from the cells' own states, or given ones, flat or by cell."""
    layer = stacked(mix, return_sequences=True, return_state=True, go_backwards=backwards)
    cells, mask = layer.cell.cells, mask_of(name)
    x = tensor(3, 5, 4, dtype=DOUBLE)
    if mask is not None:
        x[~mask] = float("nan")
    x.requires_grad_()
    own = [structure(cell) for cell in cells]
    drawn = [tensor(*leaf.shape, dtype=DOUBLE, seed=i).requires_grad_() for i, leaf in enumerate(leaves(own))]
    for start, given in ((own, None), (rebuilt(own, drawn), drawn)):
        ran = run(one_above_the_other(cells), x, start, mask, backwards)
        right = ran.outputs + ran.states
        found = layer(x, initial_state=given, mask=mask)
        assert_alike(found, right)
        wanted = [x, *layer.parameters(), *(given or [])]
        assert_alike(gradients(leaves(found), wanted), gradients(right, wanted))
    assert len(found) == 1 + len(cells)
    for form in (found[1:], tuple(found[1:]), rebuilt(own, leaves(found[1:])), leaves(found[1:])):
        again = layer(x, initial_state=form, mask=mask)
        right = run(one_above_the_other(cells), x, rebuilt(own, leaves(found[1:])), mask, backwards)
        assert_alike(again, right.outputs + right.states)
    last = layers.RNN(layer.cell, go_backwards=backwards)(x, mask=mask)
    assert_alike(last, run(one_above_the_other(cells), x, own, mask, backwards).last)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("mix", MIXES)
def test_a_stack_is_layers_one_above_the_other(mix, name):
    layer, mask = stacked(mix, return_sequences=True, return_state=True), mask_of(name)
    x = tensor(3, 5, 4, dtype=DOUBLE)
    found = layer(x, mask=mask)
    value, states = x, []
    for cell in layer.cell.cells:
        value, *after = layers.RNN(cell, return_sequences=True, return_state=True)(value, mask=mask)
        states.extend(after)
    assert_alike(found, [value, *states])
    assert_alike(layer(x, lengths=[5, 5, 5]) if mask is None else layer(x, mask=mask), found)


def test_over_convolutions():
    """ConvLSTM cells at the bottom, what makes a vector of their pictures above, an LSTM on top."""
    for rank, sizes in ((1, (7,)), (2, (5, 6))):
        cells = [
            ConvLSTMCell(rank, 2, 3, padding="same", **F64),
            ConvLSTMCell(rank, 3, 2, strides=2, **F64),
            Gathering(**F64),
            layers.LSTMCell(4, **F64),
        ]
        layer = layers.RNN(cells, return_sequences=True, return_state=True)
        x, mask = tensor(3, 5, *sizes, 2, dtype=DOUBLE), mask_of("gaps")
        x[~mask] = float("inf")
        found = layer(x, mask=mask)
        start = [structure(cell) for cell in cells]
        ran = run(one_above_the_other(cells), x, start, mask)
        assert_alike(found, ran.outputs + ran.states)
        weights = list(layer.parameters())
        assert_alike(gradients(leaves(found), weights), gradients(ran.outputs + ran.states, weights))
        shapes = layer.compute_output_shape((3, 5, *sizes, 2))
        assert shapes[0] == (3, 5, 4) and shapes[3] == (3, 2)


@pytest.mark.parametrize("form", ["list", "dict", "named", "deep"])
def test_over_nests(form):
    """The lowest cell takes and gives nests; the one above it takes what it gives."""
    cells = [Weave(form, form, form, **F64), Gathering(**F64), layers.GRUCell(3, **F64)]
    layer = layers.RNN(cells, return_sequences=True, return_state=True)
    x, mask = woven(form), mask_of("a row without steps")
    found = layer(x, mask=mask)
    start = [rebuilt(states_of(form), [torch.zeros_like(leaf) for leaf in leaves(states_of(form))])]
    start += [structure(cell) for cell in cells[1:]]
    ran = run(one_above_the_other(cells), x, start, mask)
    assert_alike(found, ran.outputs + ran.states)
    assert type(found[1]) is type(start[0])
    given = [states_of(form), tensor(3, 2, dtype=DOUBLE), tensor(3, 3, dtype=DOUBLE, seed=1)]
    right = run(one_above_the_other(cells), x, [given[0], [given[1]], [given[2]]], mask)
    assert_alike(layer(x, initial_state=given, mask=mask), right.outputs + right.states)
    shapes = layer.cell.compute_output_shape(rebuilt(x, [(3, *leaf.shape[2:]) for leaf in leaves(x)]))
    assert shapes[0] == (3, 3)
    top = layers.StackedRNNCells([layers.GRUCell(2, **F64), Counting(3, **F64)])
    assert top.compute_output_shape((7, 4)) == ((7, 3), [(7, 2), (7, 3)])


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("initial", [False, True])
def test_like_keras(name, initial):
    made = []
    for module in (layers, keras.layers):
        cells = [module.LSTMCell(3), module.GRUCell(4), module.SimpleRNNCell(2)]
        layer = module.RNN(module.StackedRNNCells(cells), return_sequences=True, return_state=True)
        layer.build((3, 5, 4))
        made.append(layer)
    give_weights(*made)
    x, mask = tensor(3, 5, 4), mask_of(name)
    if not initial:
        assert_same(*made, x, mask=mask)
        return
    states = [tensor(3, n, seed=n) for n in (3, 3, 4, 2)]
    mine = made[0](x, initial_state=states, mask=mask)
    right = made[1](x, initial_state=[states[:2], [states[2]], [states[3]]], mask=mask)
    assert_alike(list(mine), list(right), tolerance=3e-6)
    assert_alike(
        gradients(leaves(list(mine)), made[0].trainable_weights),
        gradients(leaves(list(right)), values_of(made[1])),
        1e-5,
    )


# -- streams, steps, directions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mix", MIXES)
def test_streams_and_steps(mix):
    layer = stacked(mix, stateful=True, return_state=True)
    x, mask = tensor(3, 6, 4, dtype=DOUBLE), torch.ones(3, 6, dtype=torch.bool)
    mask[1, 2:4], mask[2, :3] = False, False
    whole = layers.RNN(layer.cell, return_state=True)(x, mask=mask)
    first = layer(x[:, :3], mask=mask[:, :3])
    parked = layer.get_states()
    assert_alike(layer(x[:, 3:], mask=mask[:, 3:]), whole)
    layer.set_states(parked)
    assert_alike(layer(x[:, 3:], mask=mask[:, 3:]), whole)
    layer.set_states(parked)
    layer.reset_states(rows=[0])
    anew = layers.RNN(layer.cell, return_state=True)(x[:, 3:], mask=mask[:, 3:])
    mixed = leaves(list(layer(x[:, 3:], mask=mask[:, 3:])))
    assert_alike([leaf[:1] for leaf in mixed], [leaf[:1] for leaf in leaves(list(anew))])
    assert_alike([leaf[1:] for leaf in mixed], [leaf[1:] for leaf in leaves(list(whole))])
    layer.reset_states()
    assert_alike(layer(x[:, :3], mask=mask[:, :3]), first)
    state = None
    for t in range(6):
        _, state = layer.step(x[:, t], state, mask=mask[:, t])
    assert_alike(state, whole[1:])


@pytest.mark.parametrize("mix", MIXES)
def test_in_both_directions(mix):
    layer = layers.Bidirectional(stacked(mix, return_sequences=True, return_state=True))
    x, mask = tensor(3, 5, 4, dtype=DOUBLE), mask_of("gaps")
    layer.build((None, None, 4))
    halves = [layer.forward_layer.cell.cells, layer.backward_layer.cell.cells]
    ran = [
        run(one_above_the_other(cells), x, [structure(cell) for cell in cells], mask, backwards, zero=True)
        for cells, backwards in zip(halves, (False, True), strict=True)
    ]
    merged = torch.cat([ran[0].outputs[0], ran[1].outputs[0].flip(1)], -1)
    assert_alike(layer(x, mask=mask), [merged, *ran[0].states, *ran[1].states])


# -- dropout, mode, constants --------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_each_cell_has_its_own_dropout(training):
    """Held over time, as in layers one above the other whose cells have the same seeds."""

    def cells():
        return [
            layers.LSTMCell(5, dropout=0.5, seed=1, **F64),
            layers.GRUCell(6, dropout=0.3, recurrent_dropout=0.4, seed=2, **F64),
            layers.SimpleRNNCell(4, recurrent_dropout=0.5, seed=3, **F64),
        ]

    layer, chain = (
        layers.RNN(cells(), return_sequences=True),
        [layers.RNN(cell, return_sequences=True) for cell in cells()],
    )
    x, mask = tensor(3, 5, 4, dtype=DOUBLE), mask_of("gaps")
    layer.build((None, None, 4))
    weights = iter(layer.get_weights())
    for each, features in zip(chain, (4, 5, 6), strict=True):
        each.build((None, None, features))
        each.set_weights([next(weights) for _ in each.weights])
    for _ in range(2):
        value = x
        for each in chain:
            value = each(value, mask=mask, training=training)
        torch.testing.assert_close(layer(x, mask=mask, training=training), value)
    again = [layer(x, training=training) for _ in range(2)]
    assert torch.equal(*again) is not training


def test_constants_and_mode_reach_the_cells_that_ask():
    cells = [layers.GRUCell(3, **F64), Attending(2, **F64), layers.LSTMCell(2, **F64)]
    layer = layers.RNN(cells, return_sequences=True)
    x, constant, mask = tensor(3, 5, 4, dtype=DOUBLE), tensor(1, 2, dtype=DOUBLE), mask_of("gaps")
    found = layer(x, constants=[constant], mask=mask, training=True)

    def step(inputs, states):
        inputs, first = cells[0](inputs, states[0])
        inputs, second = cells[1](inputs, states[1], constants=[constant], training=True)
        inputs, third = cells[2](inputs, states[2])
        return inputs, [first, second, third]

    assert_alike(found, run(step, x, [structure(cell) for cell in cells], mask).outputs)
    drawn, given = Input((None, 4), dtype="float64"), Input((2,), dtype="float64")
    model = Model([drawn, given], layer(drawn, constants=given))
    assert_alike(model([x, constant.expand(3, 2)], training=True), layer(x, constants=constant, training=True))


# -- the stack by itself, configs, models --------------------------------------------------------------------------


@pytest.mark.parametrize("mix", MIXES)
def test_a_stack_by_itself_takes_one_step(mix):
    """States in a list for each cell, as Keras 3 has them, a tensor for a cell of one, as Keras 2 had, or flat."""
    layer = stacked(mix)
    cell, x = layer.cell, tensor(3, 4, dtype=DOUBLE)
    start = [structure(each) for each in cell.cells]
    output, states = one_above_the_other(cell.cells)(x, start)
    bare = [each[0] if len(each) == 1 else each for each in start]
    for form in (start, bare, tuple(start), leaves(start), cell.get_initial_state(batch_size=3)):
        found, new = cell(x, form)
        assert_alike(found, output)
        assert_alike(new, states)
        assert isinstance(new, list) and len(new) == len(cell.cells)
    assert cell.state_size == [each.state_size for each in cell.cells]
    assert cell.output_size == layer.compute_output_shape((3, 5, 4))[1]


@pytest.mark.parametrize("mix", [mix for mix in MIXES if "torch" not in mix and "stacks" not in mix])
def test_config_round_trips_and_copies(mix):
    layer = stacked(mix, return_sequences=True)
    x = tensor(3, 5, 4, dtype=DOUBLE)
    made = [layer, Sequential([layers.Bidirectional(layer)]), layers.TimeDistributed(layer)]
    for each in made:
        inputs = x[:, None] if isinstance(each, layers.TimeDistributed) else x
        expected = each(inputs)
        again = type(each).from_config(json.loads(json.dumps(each.get_config())))
        again(inputs)
        again.set_weights(each.get_weights())
        assert torch.equal(again(inputs), expected)
        assert again.get_config() == each.get_config()
        assert torch.equal(copy.deepcopy(each)(inputs), expected)


def test_weights_stand_cell_by_cell():
    layer = stacked("own between")
    shapes = [(4, 9), (3, 9), (2, 9), (3, 4), (4, 4), (4, 8), (2, 8), (8,)]
    assert [weight.shape for weight in layer.get_weights()] == shapes
    assert [tuple(weight.shape) for cell in layer.cell.cells for weight in cell.weights] == shapes


def test_drawn_and_fitted():
    """Encoder and decoder of stacks; the states of all cells are handed over, in either form."""
    drawn, other = Input((None, 4)), Input((None, 4))
    encoder = layers.RNN([layers.LSTMCell(3), Minimal(2), layers.GRUCell(3)], return_state=True)
    decoder = layers.RNN([layers.LSTMCell(3), Minimal(2), layers.GRUCell(3)], return_sequences=True)
    _, *states = encoder(layers.Masking()(drawn))
    x, y = tensor(3, 5, 4), tensor(3, 6, 4, seed=1)
    x[0, 2:], x[1, :2] = 0, 0
    mask = x.ne(0).any(2)
    for form in (states, leaves(states)):
        model = Model([drawn, other], layers.Dense(1)(decoder(other, initial_state=form)))
        after = run(one_above_the_other(encoder.cell.cells), x, zeros_of(encoder), mask).states
        right = run(one_above_the_other(decoder.cell.cells), y, rebuilt(zeros_of(decoder), after)).outputs[0]
        torch.testing.assert_close(model([x, y]), model.layers[-1](right))
    model.compile("adam", "mse")
    before = model.get_weights()
    model.fit([x.numpy(), y.numpy()], torch.ones(3, 6, 1).numpy(), epochs=2, verbose=0)
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def zeros_of(layer):
    return [[leaf.float() for leaf in structure(cell)] for cell in layer.cell.cells]


class Residual(layers.StackedRNNCells):
    """Each cell's output added to its input, in a `call` of its own."""

    def call(self, inputs, states, training=False):
        new = []
        for cell, each in zip(self.cells, states, strict=True):
            output, after = cell(inputs, each, training=training)
            inputs = inputs + output
            new.append(after)
        return inputs, new


class Composite(layers.Layer):
    """A cell made of cells, which is no StackedRNNCells: its states are what it says they are."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.cells = [layers.GRUCell(4, **F64), layers.LSTMCell(4, **F64)]
        self.state_size, self.output_size = [4, [4, 4]], 4

    def call(self, inputs, states):
        assert isinstance(states[0], torch.Tensor)
        first, h = self.cells[0](inputs, states[0])
        second, after = self.cells[1](inputs + first, states[1])
        return inputs + first + second, [h, after]


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize(
    "make", [lambda: Residual([layers.GRUCell(4, **F64), layers.LSTMCell(4, **F64)]), lambda: Composite(**F64)]
)
def test_stacks_of_ones_own(make, name):
    cell, mask = make(), mask_of(name)
    layer = layers.RNN(cell, return_sequences=True, return_state=True)
    x = tensor(3, 5, 4, dtype=DOUBLE)
    found = layer(x, mask=mask)

    def step(inputs, states):
        first, h = cell.cells[0](inputs, states[0])
        second, after = cell.cells[1](inputs + first, states[1])
        return inputs + first + second, [h, after]

    ran = run(step, x, [structure(each) for each in cell.cells], mask)
    assert_alike(found, ran.outputs + ran.states)


def started_with(count):
    return stacked("own between")(tensor(3, 5, 4, dtype=DOUBLE), initial_state=[torch.zeros(3, 3)] * count)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.StackedRNNCells([]), "list of one or more cells"),
        (lambda: layers.StackedRNNCells(layers.GRUCell(3)), "list of one or more cells"),
        (lambda: layers.RNN([layers.GRUCell(3), layers.Dense(3)]), "Dense must have state_size"),
        (lambda: started_with(3), "has 3 tensor"),
        (lambda: started_with(4), "must be"),
        (lambda: layers.StackedRNNCells([layers.GRUCell(3)]).get_initial_state(), "needs a batch_size"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
