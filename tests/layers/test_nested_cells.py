"""`RNN` over cells whose inputs, states and outputs are nests, against a loop that calls the same cell.

Wrappers, models and configs of such layers: test_nested_cells_in_models.py; other things a cell may be: test_rnn.py.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_loop import assert_alike, gradients, leaves, rebuilt, run
from cells import FORMS, TensorShape, Weave, parts_of, states_of, weave, woven
from ostinato import layers
from side_by_side import MASKS, mask_of, tensor

DOUBLE = torch.float64
COMBINATIONS = list(itertools.product([False, True], repeat=2))


# -- values, gradients, masks, directions --------------------------------------------------------------------------


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("form", FORMS)
def test_outputs_states_and_gradients(form, name, backwards):
    """Whatever is returned, and from whatever state it starts; nothing that stands in a masked step matters."""
    cell, mask = weave(form, form, form), mask_of(name)
    x, start = woven(form, mask), states_of(form)
    weights = list(cell.parameters())
    for begin, zero in itertools.product([None, start], [False, True]):
        zeros = rebuilt(start, [torch.zeros_like(leaf) for leaf in leaves(start)])
        right = run(cell, x, begin or zeros, mask, backwards, zero)
        for sequences, state in COMBINATIONS:
            layer = layers.RNN(
                cell,
                return_sequences=sequences,
                return_state=state,
                go_backwards=backwards,
                zero_output_for_mask=zero,
                unroll=sequences,
            )
            found = layer(x, initial_state=begin, mask=mask)
            wanted = [*leaves(x), *weights, *leaves(begin or [])]
            expected = (right.outputs if sequences else right.last) + (right.states if state else [])
            assert_alike(found, expected)
            assert type(found[0] if state else found) is type(x)
            assert_alike(gradients(leaves(found), wanted), gradients(expected, wanted))


@pytest.mark.parametrize("form", FORMS)
def test_the_cell_is_handed_nests_of_its_own_form(form):
    """Inputs as the layer got them, states as state_size has them, whatever form they were given in."""
    seen = []

    class Watched(Weave):
        def call(self, inputs, states):
            seen.append((inputs, states))
            return super().call(inputs, states)

    layer = layers.RNN(Watched(form, form, form, dtype="float64"))
    x, start = woven(form), states_of(form)
    expected = layer(x, initial_state=start)
    for given_as in (leaves(start), tuple(leaves(start)), [leaf.detach().numpy() for leaf in leaves(start)], [start]):
        assert_alike(layer(x, initial_state=given_as), expected)
    for inputs, states in seen:
        assert type(inputs) is type(x) and type(states) is type(start)
        assert [leaf.shape[0] for pair in (parts_of(form, inputs), parts_of(form, states)) for leaf in pair] == [3] * 4


@pytest.mark.parametrize("form", FORMS)
def test_time_major(form):
    cell, mask = weave(form, form, form), mask_of("gaps")
    x = woven(form, mask)
    turned = rebuilt(x, [leaf.transpose(0, 1) for leaf in leaves(x)])
    zeros = [torch.zeros(3, 3, dtype=DOUBLE), torch.zeros(3, 2, 4, dtype=DOUBLE)]
    right = run(cell, x, FORMS[form](*zeros), mask)
    layer = layers.RNN(cell, return_sequences=True, return_state=True, time_major=True)
    found, *states = layer(turned, mask=mask.t())
    assert_alike([leaf.transpose(0, 1) for leaf in leaves(found)], right.outputs)
    assert_alike(states, right.states)
    shapes = layer.compute_output_shape(rebuilt(x, [tuple(leaf.shape) for leaf in leaves(turned)]))
    assert leaves_of_shapes(shapes[0]) == [tuple(leaf.shape) for leaf in leaves(found)]


def leaves_of_shapes(shapes):
    """The shapes of a nest of them, each a tuple of ints."""
    if isinstance(shapes, dict):
        return [shape for key in sorted(shapes) for shape in leaves_of_shapes(shapes[key])]
    if all(isinstance(each, int | None) for each in shapes):
        return [tuple(shapes)]
    return [shape for each in shapes for shape in leaves_of_shapes(each)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backwards", [False, True])
def test_lengths_are_right_padding(form, backwards):
    lengths = torch.tensor([5, 2, 0])
    mask = torch.arange(5) < lengths[:, None]
    cell, x = weave(form, form, form), woven(form, mask)
    layer = layers.RNN(cell, return_sequences=True, return_state=True, go_backwards=backwards)
    found, right = layer(x, lengths=lengths), layer(x, mask=mask)
    assert_alike(found, right, tolerance=0)
    wanted = [*leaves(x), *cell.parameters()]
    assert_alike(gradients(leaves(found), wanted), gradients(leaves(right), wanted), tolerance=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", [0, 1])
def test_a_mask_that_hangs_on_any_of_the_inputs_counts(form, place):
    cell, mask = weave(form, form, form), mask_of("gaps")
    x, start = woven(form, mask), states_of(form)
    parts_of(form, x)[place]._keras_mask = mask
    layer = layers.RNN(cell, return_sequences=True)
    right = run(cell, x, start, mask)
    found = layer(x, initial_state=start)
    assert_alike(found, right.outputs)
    assert all(torch.equal(leaf._keras_mask, mask) for leaf in leaves(found))
    masks = [None, None]
    masks[place] = mask
    del parts_of(form, x)[place]._keras_mask
    assert_alike(layer(x, initial_state=start, mask=FORMS[form](*masks)), right.outputs)


@pytest.mark.parametrize(("states", "returned"), list(itertools.permutations(["list", "tuple", "named"], 2)))
def test_states_may_come_back_in_another_form(states, returned):
    cell = weave("list", states, "dict", returned)
    x, start = woven("list"), states_of(states)
    found = layers.RNN(cell, return_state=True)(x, initial_state=start)
    right = run(cell, x, start)
    assert_alike(found, right.last + right.states)
    assert type(found[0]) is dict


# -- one long call, several calls, single steps --------------------------------------------------------------------


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("form", FORMS)
def test_two_stateful_calls_are_one(form, name):
    cell, mask = weave(form, form, form), mask_of(name)
    x = woven(form, mask)
    layer = layers.RNN(cell, stateful=True, return_state=True)
    whole = layers.RNN(cell, return_state=True)(x, mask=mask)
    for _ in range(2):
        for part in (slice(0, 2), slice(2, 5)):
            pieces = rebuilt(x, [leaf[:, part] for leaf in leaves(x)])
            found = layer(pieces, mask=None if mask is None else mask[:, part])
        assert_alike(found[1:], whole[1:])
        if mask is None:
            assert_alike(found[0], whole[0])
        assert type(layer.states) is type(cell.state_size)
        assert_alike(layer.states, whole[1:])
        assert not any(leaf.requires_grad for leaf in leaves(layer.states))
        layer.reset_states()
        assert layer.states is None


@pytest.mark.parametrize("form", FORMS)
def test_states_are_parked_set_and_forgotten_by_row(form):
    cell = weave(form, form, form)
    x, y = woven(form), woven(form, seed=7)
    layer = layers.RNN(cell, stateful=True, return_state=True)
    layer(x)
    parked = layer.get_states()
    further = layer(y)
    layer.set_states(parked)
    assert_alike(layer(y), further, tolerance=0)
    layer.reset_states(states=states_of(form))
    assert_alike(layer(y), run(cell, y, states_of(form)).final)
    layer.set_states(parked)
    layer.reset_states(rows=[0, 2])
    mixed = rebuilt(
        parked, [leaf * torch.tensor([0, 1, 0]).reshape(3, *[1] * (leaf.dim() - 1)) for leaf in leaves(parked)]
    )
    assert_alike(layer.states, mixed, tolerance=0)
    assert_alike(layer(y), run(cell, y, mixed).final)
    layer.set_states(parked)
    layer.reset_states(states=states_of(form, batch=1), rows=1)
    for mine, new, old in zip(leaves(layer.states), leaves(states_of(form, batch=1)), leaves(parked), strict=True):
        assert torch.equal(mine[1:2], new) and torch.equal(mine[::2], old[::2])


@pytest.mark.parametrize("form", FORMS)
def test_single_steps_are_the_sequence(form):
    cell, mask = weave(form, form, form), mask_of("gaps")
    x, state = woven(form, mask), states_of(form)
    right = run(cell, x, state, mask, zero=True)
    layer = layers.RNN(cell)
    for t in range(5):
        step = rebuilt(x, [leaf[:, t] for leaf in leaves(x)])
        output, state = layer.step(step, state, mask=mask[:, t])
        assert_alike(output, [leaf[:, t] for leaf in right.outputs])
        assert type(state) is type(cell.state_size)
    assert_alike(state, right.states)
    arrays = rebuilt(x, [leaf[:, 0].detach().numpy() for leaf in leaves(woven(form))])
    first = layer.step(arrays)
    assert_alike(first, layer.step(rebuilt(x, [torch.from_numpy(leaf) for leaf in leaves(arrays)])), tolerance=0)


# -- any nest at all -----------------------------------------------------------------------------------------------

SIZES = st.one_of(
    st.integers(1, 4),
    st.lists(st.integers(1, 3), min_size=0, max_size=3).map(torch.Size),
    st.lists(st.integers(1, 3), min_size=1, max_size=2).map(TensorShape),
)


def nests(of):
    """Lists, tuples, and dicts of what `of` draws, and of such."""
    return st.recursive(
        of,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3),
            st.lists(inner, min_size=1, max_size=3).map(tuple),
            st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
        ),
        max_leaves=4,
    )


class Mixing(torch.nn.Module):
    """A plain module with states and outputs of any size: all of them hang on all inputs and on all states."""

    def __init__(self, state_size, output_size):
        super().__init__()
        self.state_size, self.output_size = state_size, output_size
        self.gain = torch.nn.Parameter(torch.tensor([0.3, -0.7, 1.1], dtype=DOUBLE))

    def forward(self, inputs, states):
        old = leaves(states)
        fed = sum((k + 1) * leaf.reshape(len(leaf), -1).mean(1) for k, leaf in enumerate(leaves(inputs)))
        kept = sum((k + 1) * leaf.reshape(len(leaf), -1).mean(1) for k, leaf in enumerate(old))
        drive = self.gain[0] * fed + self.gain[1] * kept

        def beside(shape, number):
            row = drive.reshape(-1, *[1] * len(shape))
            ramp = torch.arange(1, 1 + int(np.prod(shape)), dtype=DOUBLE).reshape(tuple(shape)) / (number + 2)
            return torch.sin(row + ramp)

        new = [leaf * self.gain[2] / 2 + beside(leaf.shape[1:], k) for k, leaf in enumerate(old)]
        sizes = [(size,) if isinstance(size, int) else tuple(size) for size in leaves(self.output_size)]
        outputs = [
            beside(shape, 9 + k) + new[0].reshape(len(new[0]), -1).sum(1).reshape(-1, *[1] * len(shape))
            for k, shape in enumerate(sizes)
        ]
        return rebuilt(self.output_size, outputs), rebuilt(states, new)


@settings(deadline=None, max_examples=60)
@given(
    st.data(),
    nests(SIZES),
    nests(SIZES),
    nests(st.lists(st.integers(1, 3), min_size=1, max_size=2).map(torch.Size)),
    st.integers(1, 3),
    st.integers(1, 4),
    st.booleans(),
)
def test_any_nest(data, state_size, output_size, features, batch, time, backwards):
    cell = Mixing(state_size, output_size)
    numbers = itertools.count()
    x = rebuilt(features, [tensor(batch, time, *size, dtype=DOUBLE, seed=next(numbers)) for size in leaves(features)])
    shapes = [(size,) if isinstance(size, int) else tuple(size) for size in leaves(state_size)]
    begin = [tensor(batch, *shape, dtype=DOUBLE, seed=next(numbers)).requires_grad_() for shape in shapes]
    flags = data.draw(st.lists(st.booleans(), min_size=batch * time, max_size=batch * time))
    mask = torch.tensor(flags).reshape(batch, time)
    mask[0, 0] = True
    for leaf in leaves(x):
        leaf[~mask] = float("nan")
        leaf.requires_grad_()
    one = isinstance(state_size, int | torch.Size | TensorShape)
    start = begin if one else rebuilt(state_size, begin)
    right = run(cell, x, start, mask, backwards)
    layer = layers.RNN(cell, return_sequences=True, return_state=True, go_backwards=backwards)
    found = layer(x, initial_state=start, mask=mask)
    expected = right.outputs + right.states
    assert_alike(found, expected)
    wanted = [*leaves(x), *begin, cell.gain]
    assert_alike(gradients(leaves(found), wanted), gradients(expected, wanted))
    shapes = layer.compute_output_shape(rebuilt(x, [tuple(leaf.shape) for leaf in leaves(x)]))
    assert leaves_of_shapes(shapes) == [tuple(leaf.shape) for leaf in leaves(found)]
    assert type(rebuilt(output_size, leaves(found[0]))) is type(found[0])
