"""Where cells of one's own start, what they are told, and what is refused of them."""

import pytest
import torch

import ostinato
from cell_loop import assert_alike, gradients, run
from cells import Attending, Learned, Minimal, Weave, woven
from ostinato import layers
from side_by_side import mask_of, tensor

DOUBLE = torch.float64

# -- where it starts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", [False, True])
def test_a_learned_start_has_its_gradient(stack):
    """Before the first call of a stream, after each reset, and by the rows that start anew."""
    cell = Learned(3, dtype="float64")
    layer = layers.RNN([cell, layers.GRUCell(2, dtype="float64")] if stack else cell, stateful=True)
    x, mask = tensor(3, 5, 4, dtype=DOUBLE), mask_of("a row without steps")
    layer.build((None, None, 4))

    def expected(rows):
        after = layers.GRUCell(2, dtype="float64") if not stack else layer.cell.cells[1]
        begin = cell.start * torch.ones(3, 1, dtype=DOUBLE)
        first = run(cell, x, [begin], mask)
        top = first
        if stack:
            top = run(after, first.outputs[0], [torch.zeros(3, 2, dtype=DOUBLE)], mask)
        return torch.autograd.grad(top.last[0][rows].sum(), cell.start)[0]

    def found(rows):
        return torch.autograd.grad(layer(x, mask=mask)[rows].sum(), cell.start, allow_unused=True)[0]

    everything = [0, 1, 2]
    torch.testing.assert_close(found(everything), expected(everything))
    assert found(everything) is None
    layer.reset_states()
    torch.testing.assert_close(found(everything), expected(everything))
    layer.reset_states(rows=[0])
    torch.testing.assert_close(found([0]), expected([0]))
    layer.reset_states(rows=torch.tensor([False, False, True]))
    torch.testing.assert_close(found([2]), expected([2]))
    layer.reset_states(rows=[1])  # of which no step is used: the state stays where it began
    states = torch.stack([cell.start] * 3) if not stack else None
    if not stack:
        torch.testing.assert_close(layer.states[0][1], states[1].detach())


@pytest.mark.parametrize("keras", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_nested_starts_of_the_cells_own(keras, dtype):
    """As Keras 3 asks for them, and as Keras 2 did; in whatever dtype the cell makes them."""

    class Three(Weave):
        def get_initial_state(self, batch_size=None):
            return {"z": torch.full((batch_size, 3), 3.0), "a": torch.full((batch_size, 2, 4), 2.0)}

    class Two(Weave):
        def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
            assert dtype is DOUBLE
            return {"z": torch.full((batch_size, 3), 3.0), "a": torch.full((batch_size, 2, 4), 2.0, dtype=dtype)}

    cell = (Three if keras == 3 else Two)("list", "dict", "list", dtype="float64")
    layer = layers.RNN(cell, return_state=True, stateful=True)
    x = woven("list")
    start = {"z": torch.full((3, 3), 3.0, dtype=DOUBLE), "a": torch.full((3, 2, 4), 2.0, dtype=DOUBLE)}
    found = layer(x)
    assert_alike(found, run(cell, x, start).final)
    layer.reset_states()
    assert_alike(layer(x), found)
    own = layer.get_initial_state(batch_size=2)
    assert {key: leaf.dtype for key, leaf in own.items()} == {"z": DOUBLE, "a": DOUBLE}
    assert_alike(layers.RNN([cell], return_state=True)(x), found)


def test_states_that_are_no_floats_stay_what_they_are():
    """A count of steps as whole numbers, and a complex oscillator, from call to call."""

    class Counter(layers.Layer):
        state_size = (torch.Size([]), 2)
        output_size = 2

        def get_initial_state(self, batch_size=None):
            return [torch.zeros(batch_size, dtype=torch.int64), torch.zeros(batch_size, 2, dtype=torch.complex64)]

        def call(self, inputs, states):
            count, wave = states
            count, wave = count + 1, wave * 1j + inputs.mean(1, keepdim=True)
            return wave.real * count[:, None], [count, wave]

    layer = layers.RNN(Counter(), stateful=True, return_state=True)
    x, mask = tensor(2, 4, 5), torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]], dtype=torch.bool)
    layer(x, mask=mask)
    _, count, wave = layer(x, mask=mask)
    assert count.tolist() == [6, 2] and count.dtype is torch.int64 and wave.dtype is torch.complex64
    means = (x.mean(2) * mask).to(torch.complex64)
    steps = [[means[0, 0], means[0, 2], means[0, 3]] * 2, [means[1, 2]] * 2]
    right = torch.stack([sum(step * 1j ** (len(row) - 1 - t) for t, step in enumerate(row)) for row in steps])
    torch.testing.assert_close(wave, right[:, None].expand(2, 2))
    _, again, _ = layer(x, initial_state=[count, wave])
    assert again.tolist() == [10, 6]
    layer.reset_states(rows=[0])
    assert layer.states[0].tolist() == [0, 6]


# -- what else a cell is told --------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("form", [list, tuple, lambda each: each[0]])
def test_constants_and_mode(training, form):
    cell, mask = Attending(3, dtype="float64"), mask_of("gaps")
    x, constant = tensor(3, 5, 4, dtype=DOUBLE), tensor(3, 2, dtype=DOUBLE, seed=1).requires_grad_()
    layer = layers.RNN(cell, return_sequences=True, return_state=True)
    found = layer(x, mask=mask, constants=form([constant]), training=training)
    outputs, states = [], []
    for row in range(3):  # each sample has its own constants
        one = [constant[row : row + 1]]
        ran = run(
            cell,
            x[row : row + 1],
            [torch.zeros(1, 3, dtype=DOUBLE)],
            mask[row : row + 1],
            constants=one,
            training=training,
        )
        outputs.append(ran.outputs[0])
        states.append(ran.states[0])
    right = [torch.cat(outputs), torch.cat(states)]
    assert_alike(found, right)
    wanted = [constant, *cell.parameters()]
    assert_alike(gradients(list(found), wanted), gradients(right, wanted))
    state = None
    for t in range(5):
        _, state = layer.step(x[:, t], state, mask=mask[:, t], constants=form([constant]), training=training)
    assert_alike(state, found[1])


# -- what is refused -----------------------------------------------------------------------------------------------

X = torch.zeros(2, 4, 5)


def starting(state):
    """A layer over a cell of three units that starts from `state(batch)`."""

    class Starting(Minimal):
        def get_initial_state(self, batch_size=None):
            return state(batch_size)

    return layers.RNN(Starting(3))


def built(cell):
    """A cell that was built for seven features."""
    cell.build((None, 7))
    return cell


def misnamed():
    layer = layers.RNN(Weave(states="dict"))
    state = {"z": torch.zeros(2, 3), "b": torch.zeros(2, 2, 4)}
    return layer([X, torch.zeros(2, 4, 3, 2)], initial_state=state)


def sized_wrongly():
    cell = Minimal(3)
    cell.output_size = 4
    return layers.RNN(cell)(X)


def drawn_wrongly():
    class Twice(Minimal):
        def call(self, inputs, states):
            output, states = super().call(inputs, states)
            return [output, output], states

    drawn = ostinato.Input((None, 5))
    return ostinato.Model(drawn, layers.RNN(Twice(3))(drawn))(X)


REFUSED = {
    "a start of another shape": (
        lambda: starting(lambda batch: [torch.zeros(batch, 7)])(X),
        r"Starting .*get_initial_state gave must be \(batch, 3\) with batch 2, got \[\(2, 7\)\]",
    ),
    "a start of another batch": (
        lambda: starting(lambda batch: torch.zeros(batch + 1, 3))(X),
        r"with batch 2, got \[\(3, 3\)\]",
    ),
    "a start of too few": (lambda: starting(lambda _: [])(X), r"gave has 0 tensor\(s\); this cell carries 1"),
    "other names": (misnamed, r"initial_state must have \['a', 'z'\], got \['b', 'z'\]"),
    "another output": (
        sized_wrongly,
        r"Minimal .* returned output \(2, 3\); its output_size says \[\('batch', 4\)\]",
    ),
    "more outputs than were drawn": (drawn_wrongly, r"RNN .* drawn with 1 output\(s\), and gave \[.*output_size"),
    "constants for a built-in cell": (
        lambda: layers.LSTM(3)(X, constants=[X]),
        r"LSTM .*: got constants, but its cell LSTMCell .* takes none",
    ),
    "constants for an own cell": (
        lambda: layers.RNN(Minimal(3))(X, constants=X),
        r"got constants, but its cell Minimal .* takes none",
    ),
    "constants in a drawing": (
        lambda: layers.GRU(3)(ostinato.Input((None, 5)), constants=[ostinato.Input((5,))]),
        r"got constants, but its cell GRUCell .* takes none",
    ),
    "constants for stacked cells": (
        lambda: layers.RNN([Minimal(3), layers.GRUCell(3)])(X, constants=[X]),
        r"its cell StackedRNNCells .* takes none",
    ),
    "constants for a Bidirectional": (
        lambda: layers.Bidirectional(layers.GRU(3))(X, constants=[X]),
        r"its cell GRUCell .* takes none",
    ),
    "constants for a step": (
        lambda: layers.LSTM(3).step(X[:, 0], constants=[X]),
        r"its cell LSTMCell .* takes none",
    ),
    "a cell built for others": (
        lambda: layers.RNN(built(layers.LSTMCell(3)))(X),
        r"LSTMCell .*built before.* expected \(batch, 7\), got \(2, 5\)",
    ),
    "an own cell built for others": (
        lambda: layers.RNN(built(Minimal(3)))(X),
        r"Minimal .* cannot run on symbolic inputs of shape \(2, 5\)",
    ),
    "a stacked cell built for others": (
        lambda: layers.RNN([layers.GRUCell(4), built(layers.GRUCell(3))])(X),
        r"GRUCell .*built before.*expected \(batch, 7\), got \(2, 4\)",
    ),
    "a stack built for others": (
        lambda: layers.RNN(built(layers.StackedRNNCells([Minimal(3)])))(X),
        r"StackedRNNCells .* cannot run on symbolic inputs of shape \(2, 5\)",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refuses(what):
    call, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        call()


def test_constants_that_are_missing():
    with pytest.raises(TypeError, match=r"Attending .* takes constants at every step and got none. Pass constants="):
        layers.RNN(Attending(3))(X)


def test_a_cell_that_was_built_for_the_same_or_takes_any():
    """A cell may be called by itself, or in another layer, before; one without a size of its own takes any."""
    cell = layers.LSTMCell(3)
    cell(X[:, 0], [torch.zeros(2, 3)] * 2)
    assert torch.equal(layers.RNN(cell)(X), layers.RNN(cell)(X))

    class Summing(layers.Layer):
        state_size = 1

        def build(self, input_shape):
            self.scale = self.add_weight(shape=(1,), initializer="ones", name="scale")

        def call(self, inputs, states):
            h = states[0] + self.scale * inputs.sum(1, keepdim=True)
            return h, [h]

    cell = built(Summing())
    assert layers.RNN(cell)(X + 1).tolist() == [[20.0], [20.0]]
