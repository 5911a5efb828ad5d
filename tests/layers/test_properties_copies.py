"""Every recurrent layer on every engine: copies of a layer, and runs of it, give the same bits."""

import copy
import json

import pytest
import torch

from descriptors import RECURRENT
from ostinato.recurrence.nests import flatten
from recurrent_properties import (
    assert_same_bits,
    for_each,
    gradients,
    made,
    on,
    returning,
    rnns,
    runs,
    same_bits,
    shapes_of,
)

SOME = runs((torch.float32,))


def there_and_back(layer):
    """A layer from the config of another, as it would be read from a file."""
    return type(layer).from_config(json.loads(json.dumps(layer.get_config())))


@for_each(SOME)
def test_a_layer_from_its_config_gives_the_same_bits(run):
    case = run.case()
    other = there_and_back(case.layer)
    other.build(shapes_of(case.x))
    other.set_weights(case.layer.get_weights())
    found, right = case(layer=other), case()
    leaves = [*flatten(case.x), *case.states]
    same_bits(found.all, right.all, "output")
    same_bits(gradients(found.all, leaves), gradients(right.all, leaves), "gradient")


@for_each(SOME)
def test_a_deepcopy_gives_the_same_bits_and_shares_nothing(run):
    case = run.case()
    right = case()
    other = copy.deepcopy(case.layer)
    assert_same_bits(case(layer=other).all, right.all, [*flatten(case.x), *case.states])
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    same_bits(case().all, right.all, "output")


@pytest.mark.parametrize("label", RECURRENT)
@pytest.mark.parametrize("option", ["return_sequences", "return_state", "stateful"])
def test_an_option_set_at_run_time_is_in_the_config(label, option):
    """Also where a backward layer was given, whose options have to be those of the forward one."""
    layer = made(label, torch.float32)
    for each in rnns(layer):
        setattr(each, option, not getattr(each, option))
    other = there_and_back(layer)
    assert [getattr(each, option) for each in rnns(other)] == [getattr(each, option) for each in rnns(layer)]
    assert other.get_config() == layer.get_config()


@for_each(runs())
def test_the_same_bits_from_run_to_run(run):
    """Forward and backward; dropout is drawn from the same seed each time."""
    case = run.case(batch=4, time=6)
    right = case()
    wanted = gradients(right.all, case.leaves)
    for _ in range(2):
        found = case()
        same_bits(found.all, right.all, "output")
        same_bits(gradients(found.all, case.leaves), wanted, "gradient")


@for_each(runs((torch.float32,)))
def test_a_copy_of_a_stateful_layer_goes_on_by_itself(run):
    case = run.case()
    layer = case.layer
    layer.stateful = True
    returning(layer, True, True)
    layer.reset_states([state.detach() for state in case.states])
    other = copy.deepcopy(layer)
    with on(case.engine), torch.no_grad():
        first = flatten(layer(case.x, training=False))
        assert_same_bits(flatten(other(case.x, training=False)), first)
        second = flatten(layer(case.x, training=False))
        assert_same_bits(flatten(other(case.x, training=False)), second)
    parked = other.get_states()
    other.reset_states()
    assert other.states is None
    other.set_states(parked)
    with on(case.engine), torch.no_grad():
        assert_same_bits(flatten(other(case.x, training=False)), flatten(layer(case.x, training=False)))


@for_each(runs((torch.float64, torch.float32, torch.bfloat16)))
def test_outputs_states_and_gradients_have_the_dtype_of_the_layer(run):
    case = run.case()
    found = case()
    assert {leaf.dtype for leaf in found.all} == {run.dtype}
    assert {leaf.dtype for leaf in gradients(found.all, case.leaves)} == {run.dtype}
    assert all(leaf.isfinite().all() for leaf in found.all)
