"""Statefulness: what is recorded, when it is used, and that nothing is written in place."""

import copy

import numpy as np
import pytest
import torch

import ostinato
from cells import Minimal, Nested
from ostinato import layers
from ostinato.recurrence.nests import flatten
from side_by_side import tensor

MADE = {
    "LSTM": lambda **options: layers.LSTM(4, **options),
    "GRU": lambda **options: layers.GRU(4, **options),
    "SimpleRNN": lambda **options: layers.SimpleRNN(4, **options),
    "RNN of a cell": lambda **options: layers.RNN(Minimal(4), **options),
    "stacked": lambda **options: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], **options),
}


@pytest.fixture(params=MADE)
def made(request):
    return MADE[request.param]


def leaves_of(layer):
    return flatten(layer.states)


def test_two_batches_equal_one_long_one(made):
    stateful, plain = made(stateful=True, return_sequences=True), made(return_sequences=True)
    x = tensor(3, 7, 2)
    for layer in (stateful, plain):
        layer.build((None, None, 2))
    stateful.set_weights(plain.get_weights())
    pieces = [stateful(piece) for piece in (x[:, :3], x[:, 3:4], x[:, 4:])]
    torch.testing.assert_close(torch.cat(pieces, 1), plain(x), rtol=1e-5, atol=1e-6)


def test_masked_batches_hold_the_state(made):
    stateful = made(stateful=True, return_state=True)
    x, mask = tensor(2, 5, 2), torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    _, *first = stateful(x)
    _, *held = stateful(x, mask=mask)
    for before, after in zip(flatten(first), flatten(held), strict=True):
        assert torch.equal(before[1], after[1])  # a row without steps
        assert not torch.equal(before[0], after[0])
    for recorded, after in zip(leaves_of(stateful), flatten(held), strict=True):
        assert torch.equal(recorded, after)


def test_states_are_replaced_and_never_written_into(made):
    layer = made(stateful=True)
    assert layer.states is None
    layer(tensor(2, 3, 2))
    kept = leaves_of(layer)
    copies = [leaf.clone() for leaf in kept]
    layer(tensor(2, 3, 2, seed=1))
    for leaf, was, now in zip(kept, copies, leaves_of(layer), strict=True):
        assert torch.equal(leaf, was) and leaf is not now and leaf.data_ptr() != now.data_ptr()


def test_backward_through_two_stateful_calls(made):
    """It runs, and its gradients are those of two calls with the state between them held constant."""
    layer = made(stateful=True)
    first, second = tensor(2, 3, 2), tensor(2, 3, 2, seed=1)
    total = layer(first).sum() + layer(second).square().sum()
    got = torch.autograd.grad(total, layer.trainable_weights)
    layer.reset_states()
    one = layer(first).sum()
    states = [leaf.clone() for leaf in leaves_of(layer)]
    assert not any(leaf.requires_grad for leaf in states)
    layer.stateful = False
    expected = torch.autograd.grad(one + layer(second, initial_state=states).square().sum(), layer.trainable_weights)
    for mine, right in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, right)


def test_an_optimizer_step_between_stateful_calls(made):
    layer = made(stateful=True)
    layer.build((None, None, 2))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    losses = []
    for step in range(3):
        loss = layer(tensor(2, 3, 2, seed=step)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert len(set(losses)) == 3 and np.isfinite(losses).all()


def test_reset(made):
    layer = made(stateful=True)
    x = tensor(2, 3, 2)
    first, second = layer(x), layer(x)
    assert not torch.allclose(first, second)
    layer.reset_states()
    assert layer.states is None
    assert torch.equal(layer(x), first)
    layer.reset_state()
    assert torch.equal(layer(x), first)


def test_reset_to_states(made):
    layer = made(stateful=True, return_state=True)
    x = tensor(2, 3, 2)
    layer(x)
    given = [tensor(*leaf.shape, seed=i) for i, leaf in enumerate(leaves_of(layer))]
    layer.reset_states(states=given)
    for recorded, mine in zip(leaves_of(layer), given, strict=True):
        assert torch.equal(recorded, mine)
    output = layer(x)[0]
    torch.testing.assert_close(output, layer(x, initial_state=given)[0])
    layer.reset_states([leaf.numpy() for leaf in given])
    torch.testing.assert_close(layer(x)[0], output)
    layer.states = given
    torch.testing.assert_close(layer(x)[0], output)
    with pytest.raises(ValueError, match="states must be"):
        layer.reset_states([torch.zeros(2, 9)] * len(given))
    with pytest.raises(ValueError, match="states has"):
        layer.reset_states([*given, given[0]])


def test_initial_state_beats_the_recorded_one_and_the_end_is_recorded(made):
    layer = made(stateful=True, return_state=True)
    x = tensor(2, 3, 2)
    layer(x)
    given = [tensor(*leaf.shape, seed=i) for i, leaf in enumerate(leaves_of(layer))]
    output, *states = layer(x, initial_state=given)
    layer.stateful = False
    torch.testing.assert_close(layer(x, initial_state=given)[0], output)
    layer.stateful = True
    for recorded, final in zip(leaves_of(layer), flatten(states), strict=True):
        assert torch.equal(recorded, final)


def test_states_are_handed_on_to_another_layer(made):
    first, second = made(stateful=True), made()
    x = tensor(2, 3, 2)
    first(x)
    second.build((None, None, 2))
    second.set_weights(first.get_weights())
    torch.testing.assert_close(second(x, initial_state=first.states), first(x))


def test_another_batch_size_is_refused_until_a_reset(made):
    layer = made(stateful=True)
    layer(tensor(3, 4, 2))
    before = leaves_of(layer)
    with pytest.raises(ValueError, match=r"recorded states are for a batch of 3, got 2\. Call reset_states\(\)"):
        layer(tensor(2, 4, 2))
    assert all(a is b for a, b in zip(before, leaves_of(layer), strict=True))
    layer.reset_states()
    assert layer(tensor(2, 4, 2)).shape[0] == 2


def test_a_layer_that_is_not_stateful_records_nothing(made):
    layer = made()
    layer(tensor(2, 3, 2))
    assert layer.states is None
    with pytest.raises(ValueError, match="not stateful"):
        layer.reset_states()


def test_recorded_states_are_no_weights(made):
    """Neither parameters nor buffers, and not in the state_dict, whose keys do not depend on a call."""
    layer = made(stateful=True)
    layer.build((None, None, 2))
    keys, count = list(layer.state_dict()), len(layer.weights)
    layer(tensor(2, 3, 2))
    assert list(layer.state_dict()) == keys and len(layer.weights) == count
    assert list(layer.buffers()) == []


def test_recorded_states_follow_the_layer_to_another_dtype(made):
    layer = made(stateful=True)
    layer(tensor(2, 3, 2))
    layer.double()
    assert layer(tensor(2, 3, 2, dtype=torch.float64)).dtype is torch.float64
    assert {leaf.dtype for leaf in leaves_of(layer)} == {torch.float64}


def test_states_recorded_in_inference_mode_serve_in_training(made):
    layer = made(stateful=True)
    layer.build((None, None, 2))
    with torch.inference_mode():
        layer(tensor(2, 3, 2))
    layer(tensor(2, 3, 2)).sum().backward()
    assert all(weight.grad is not None for weight in layer.trainable_weights)


def test_a_copy_has_states_of_its_own(made):
    layer = made(stateful=True)
    x = tensor(2, 3, 2)
    layer(x)
    twin = copy.deepcopy(layer)
    for mine, other in zip(leaves_of(layer), leaves_of(twin), strict=True):
        assert torch.equal(mine, other) and mine is not other
    expected = layer(x)
    torch.testing.assert_close(twin(x), expected)


def test_going_backwards_records_the_state_after_the_first_step(made):
    backwards, forwards = made(stateful=True, go_backwards=True), made(stateful=True)
    x = tensor(2, 4, 2)
    for layer in (backwards, forwards):
        layer.build((None, None, 2))
    forwards.set_weights(backwards.get_weights())
    for _ in range(2):
        torch.testing.assert_close(backwards(x), forwards(x.flip(1)))
    for mine, other in zip(leaves_of(backwards), leaves_of(forwards), strict=True):
        torch.testing.assert_close(mine, other)


def test_symbolic_calls_and_shape_inference_record_nothing(made):
    layer = made(stateful=True)
    model = ostinato.Model(x := ostinato.Input((None, 2)), layer(x))
    model.compute_output_shape((2, 3, 2))
    assert layer.states is None
    model(tensor(2, 3, 2))
    assert layer.states is not None


def test_explain_leaves_the_states_as_they_were():
    layer = layers.GRU(3, stateful=True)
    layer(tensor(2, 3, 2))
    before = layer.states[0].clone()
    assert "gru" in ostinato.explain(layer, tensor(2, 3, 2))
    assert torch.equal(layer.states[0], before)


# -- wrappers and models -------------------------------------------------------------------------------------------


def test_bidirectional_halves_each_go_on():
    layer = layers.Bidirectional(layers.LSTM(3, stateful=True, return_sequences=True))
    plain = layers.Bidirectional(layers.LSTM(3, return_sequences=True))
    x = tensor(2, 4, 2)
    for each in (layer, plain):
        each.build((None, None, 2))
    plain.set_weights(layer.get_weights())
    assert layer.states is None and layer.stateful
    first = layer(x)
    states = layer.states
    assert [tuple(leaf.shape) for leaf in states] == [(2, 3)] * 4
    torch.testing.assert_close(first, plain(x))
    torch.testing.assert_close(layer(x), plain(x, initial_state=states))
    layer.reset_states(states)
    torch.testing.assert_close(layer(x), plain(x, initial_state=states))
    layer.reset_states()
    assert layer.forward_layer.states is None and layer.backward_layer.states is None
    torch.testing.assert_close(layer(x), first)


def test_a_model_resets_every_layer_in_it():
    inner = ostinato.Sequential([layers.GRU(3, stateful=True, return_sequences=True)])
    model = ostinato.Sequential(
        [
            layers.Bidirectional(layers.LSTM(2, stateful=True, return_sequences=True)),
            inner,
            layers.LSTM(2),
            layers.Dense(1),
        ]
    )
    x = tensor(2, 4, 2)
    first = model(x)
    assert not torch.allclose(model(x), first)
    model.reset_states()
    assert inner.layers[0].states is None and model.layers[0].states is None
    torch.testing.assert_close(model(x), first)


def test_the_recorded_states_of_the_nested_cell_have_its_structure():
    layer = layers.RNN(Nested(2, 3, 4), stateful=True)
    inputs = (tensor(2, 4, 5), tensor(2, 4, 2, 3, seed=1))
    layer(inputs)
    assert isinstance(layer.states, list)
    assert [tuple(leaf.shape) for leaf in layer.states] == [(2, 2), (2, 3, 4)]
    with pytest.raises(ValueError, match="batch of 2, got 1"):
        layer((inputs[0][:1], inputs[1][:1]))
