"""Configs and copies of layers over cells of one's own, cells without a config among them."""

import copy
import json

import pytest
import torch

import ostinato
from cell_loop import assert_alike, gradients, leaves, rebuilt, run
from cells import DOUBLE, Learned, Minimal, Torch, Weave, woven
from ostinato import Sequential, layers
from side_by_side import MASKS, mask_of, tensor


@pytest.mark.parametrize("form", ["list", "tuple", "dict", "named", "deep"])
@pytest.mark.parametrize(
    "around",
    [
        lambda layer: layer,
        layers.Bidirectional,
        layers.TimeDistributed,
        lambda layer: Sequential([layers.Bidirectional(layer)]),
        lambda layer: Sequential([Sequential([layer])]),
    ],
    ids=["alone", "Bidirectional", "TimeDistributed", "in a Sequential", "deeper"],
)
def test_config_round_trips_and_copies(form, around):
    made = around(
        layers.RNN(Weave(form, form, form, dtype="float64"), return_sequences=True, zero_output_for_mask=True)
    )
    x = woven(form)
    if isinstance(made, layers.TimeDistributed):
        x = rebuilt(x, [leaf[:, None].expand(-1, 2, *leaf.shape[1:]) for leaf in leaves(x)])
    expected = made(x)
    config = json.loads(json.dumps(made.get_config()))
    again = type(made).from_config(config)
    again(x)
    again.set_weights(made.get_weights())
    assert_alike(again(x), expected, tolerance=0)
    assert again.get_config() == made.get_config()
    twin = copy.deepcopy(made)
    assert_alike(twin(x), expected, tolerance=0)
    twin.set_weights([0 * weight for weight in made.get_weights()])
    assert_alike(made(x), expected, tolerance=0)


class Secret(Minimal):
    """In no registry."""


@pytest.mark.parametrize(
    "make",
    [
        lambda cell: layers.RNN(cell),
        lambda cell: layers.RNN([layers.GRUCell(2), cell]),
        lambda cell: layers.StackedRNNCells([cell]),
        lambda cell: layers.Bidirectional(layers.RNN(cell)),
        lambda cell: layers.Bidirectional(layers.RNN(cell), backward_layer=layers.RNN(cell, go_backwards=True)),
        lambda cell: layers.TimeDistributed(layers.RNN(cell)),
        lambda cell: Sequential([layers.Bidirectional(layers.RNN(cell)), layers.Dense(1)]),
    ],
    ids=["RNN", "stacked", "StackedRNNCells", "Bidirectional", "backward_layer", "TimeDistributed", "Sequential"],
)
def test_cells_that_are_not_registered(make):
    made = make(Secret(3))
    config, known = made.get_config(), {"Secret": Secret}
    with pytest.raises(ValueError, match="Secret"):
        type(made).from_config(config)
    assert type(made).from_config(config, custom_objects=known).get_config() == config
    with ostinato.utils.custom_object_scope(known):
        assert type(made).from_config(config).get_config() == config


def test_sizes_in_a_config_stay_sizes():
    """A shape among a cell's arguments is not two sizes afterwards."""

    @ostinato.utils.register_keras_serializable(package="tests")
    class Sized(layers.Layer):
        def __init__(self, state_size, **kwargs):
            super().__init__(**kwargs)
            self.state_size = state_size

        def call(self, inputs, states):
            return inputs.sum(1), states

    for size in (torch.Size([2, 3]), (2, 3), [torch.Size([2]), {"a": torch.Size([])}]):
        config = json.loads(json.dumps(layers.RNN(Sized(size)).get_config()))
        cell = layers.RNN.from_config(config).cell
        assert cell.state_size == size and type(cell.state_size) is type(size)
        assert [type(leaf) for leaf in leaves(cell.state_size)] == [type(leaf) for leaf in leaves(size)]


def test_a_copy_of_a_learned_start_is_its_own():
    layer = layers.RNN(Learned(3), stateful=True)
    x = tensor(2, 4, 5)
    expected = layer(x)
    twin = copy.deepcopy(layer)
    twin.reset_states()
    assert torch.equal(twin(x), expected)
    twin.cell.start.data.add_(1)
    layer.reset_states()
    assert torch.equal(layer(x), expected)
    assert not torch.equal(layer.cell.start, twin.cell.start)


@pytest.mark.parametrize("name", MASKS)
def test_plain_torch_cells_match_the_layer(name):
    """torch's LSTM cell inside RNN is torch's LSTM."""
    cell, mask = Torch(4, 3, dtype=DOUBLE), mask_of(name)
    x = tensor(3, 5, 4, dtype=DOUBLE)
    right = run(cell, x, [torch.zeros(3, 3, dtype=DOUBLE)] * 2, mask)
    layer = layers.RNN(cell, return_sequences=True, return_state=True)
    assert layer.dtype is DOUBLE
    found = layer(x.numpy(), mask=mask)
    assert_alike(found, right.outputs + right.states)
    assert_alike(
        gradients(list(found), list(cell.parameters())),
        gradients(right.outputs + right.states, list(cell.parameters())),
    )
    if mask is None:
        lstm = torch.nn.LSTM(4, 3, batch_first=True, dtype=DOUBLE)
        lstm.load_state_dict({f"{key}_l0": value for key, value in cell.inner.state_dict().items()})
        torch.testing.assert_close(found[0], lstm(x)[0])
