"""Every recurrent layer on every engine: a sequence that is split, stepped through or turned round is the same."""

import pytest
import torch
from hypothesis import strategies as st

from descriptors import DESCRIPTORS, RECURRENT, class_name
from ostinato import layers
from ostinato.core.cell import output_size
from ostinato.core.shapes import size_to_shape
from ostinato.layers.sequences import Recurrent
from ostinato.recurrence.nests import flatten, map_nest
from recurrent_properties import (
    Outcome,
    assert_same,
    assert_same_bits,
    close,
    drawn,
    for_each,
    gradients,
    made,
    on,
    outcome,
    returning,
    rnns,
    runs,
    shapes_of,
    tight,
)

ONE_WAY = [label for label in RECURRENT if class_name(label) != "Bidirectional"]
FORWARDS = [label for label in ONE_WAY if not rnns(made(label, torch.float32))[0].go_backwards]
LENGTH = 7


def test_every_exported_recurrent_layer_has_a_row():
    exported = {getattr(layers, name) for name in layers.__all__}
    recurrent = {each.__name__ for each in exported if isinstance(each, type) and issubclass(each, Recurrent)}
    assert {class_name(label) for label in RECURRENT} == recurrent


def steps(x, start, stop):
    """Some steps of sequences."""
    return map_nest(lambda leaf: leaf[:, start:stop], x)


def in_order(case, cut):
    """The two parts of a sequence, cut at a step, in the order in which the layer comes to them."""
    parts = [steps(case.x, 0, cut), steps(case.x, cut, case.time)]
    return parts[::-1] if case.backwards else parts


@for_each([run for run in tight() if run.label in ONE_WAY])
@drawn(cut=st.integers(0, LENGTH))
def test_a_split_sequence_is_the_whole(run, cut):
    case = run.case(time=LENGTH)
    whole = case(training=False)
    first, second = in_order(case, cut)
    first = case(first, training=False)
    second = case(second, first.states, training=False)
    joined = [torch.cat(pair, 1) for pair in zip(first.outputs, second.outputs, strict=True)]
    last = second.last if second.outputs[0].shape[1] else first.last
    assert_same([*joined, *last, *second.states], whole.all, case.leaves)


@for_each([run for run in tight() if run.label in ONE_WAY], masked=True)
@drawn(cut=st.integers(0, LENGTH), flags=st.lists(st.booleans(), min_size=3 * LENGTH, max_size=3 * LENGTH))
def test_states_of_a_split_masked_sequence_are_those_of_the_whole(run, cut, flags):
    case = run.case(time=LENGTH)
    mask = torch.tensor(flags).reshape(3, LENGTH)
    parts = [mask[:, :cut], mask[:, cut:]]
    states = case.states
    for part, used in zip(in_order(case, cut), parts[::-1] if case.backwards else parts, strict=True):
        states = case(part, states, mask=used, training=False).states
    assert_same(states, case(mask=mask, training=False).states, case.leaves)


# -- step by step ------------------------------------------------------------------------------------------------------


@for_each(runs((torch.float64, torch.float32), FORWARDS))
@pytest.mark.parametrize("given", [False, True], ids=["from its own state", "from a state"])
def test_steps_are_the_sequence(run, given):
    case = run.case()
    wanted = case.leaves if given else [*flatten(case.x), *case.layer.trainable_weights]
    states = {"initial_state": case.states} if given else {}
    whole = outcome(case.layer, case.x, case.engine, training=False, **states)
    state, outputs = (case.states if given else None), []
    with on(case.engine):
        for t in range(case.time):
            output, state = case.layer.step(map_nest(lambda leaf, t=t: leaf[:, t], case.x), state, training=False)
            outputs.append(flatten(output))
    sequences = [torch.stack(leaf, 1) for leaf in zip(*outputs, strict=True)]
    found = [*sequences, *outputs[-1], *flatten(state)]
    close(found, whole.all, "output", 1e-6)
    assert_same(found, whole.all, wanted)


@for_each(runs((torch.float32,), FORWARDS))
def test_what_is_done_to_the_output_of_a_step_does_not_reach_the_state(run):
    case = run.case()
    x = map_nest(lambda leaf: leaf[:, 0], case.x)
    with on(case.engine), torch.no_grad():
        output, state = case.layer.step(x, case.states, training=False)
        before = [leaf.clone() for leaf in flatten(state)]
        for leaf in flatten(output):
            leaf.fill_(torch.nan)
    assert_same_bits(flatten(state), before)


@for_each(runs((torch.float32,), FORWARDS), masked=True)
def test_a_masked_step_holds_the_state_bit_by_bit(run):
    case = run.case()
    x, used = map_nest(lambda leaf: leaf[:, 0], case.x), torch.tensor([True, False, True])
    with on(case.engine):
        output, state = case.layer.step(x, case.states, mask=used, training=False)
        right, after = case.layer.step(x, case.states, training=False)
    assert_same_bits([leaf[1] for leaf in flatten(state)], [leaf[1] for leaf in case.states])
    assert_same([leaf[used] for leaf in flatten(state)], [leaf[used] for leaf in flatten(after)], case.leaves)
    for mine, other in zip(flatten(output), flatten(right), strict=True):
        assert_same([mine], [other * used.reshape(-1, *[1] * (other.dim() - 1))], case.leaves)


@pytest.mark.parametrize("label", [label for label in RECURRENT if label not in FORWARDS])
def test_what_starts_from_the_last_step_has_no_step(label):
    words = {
        True: "go_backwards=True starts from the last step; step cannot know it",
        False: "its backward half starts from the last step, so there is no step",
    }
    layer = made(label, torch.float32)
    with pytest.raises(ValueError, match=words[label in ONE_WAY]):
        layer.step(torch.zeros(3, 4))


# -- the other way round -----------------------------------------------------------------------------------------------


def turned(leaves):
    return [leaf.flip(1) for leaf in leaves]


@for_each([run for run in tight() if run.label in ONE_WAY])
def test_backwards_is_forwards_over_the_flipped_sequence(run):
    case = run.case()
    keywords = {"mask": MASK.clone()} if DESCRIPTORS[run.label].mask else {}
    whole = case(**keywords)
    other = case.fresh(go_backwards=not case.backwards)
    flipped = map_nest(lambda leaf: leaf.flip(1), case.x)
    keywords = {"mask": MASK.flip(1)} if keywords else {}
    found = case(flipped, layer=other, **keywords)
    close(found.all, whole.all, "output")
    mine = gradients(found.all, [*flatten(case.x), *case.states, *weights_like(case, other)])
    close(mine, gradients(whole.all, case.leaves), "gradient")


MASK = torch.tensor([[True, False, True, True, False], [False] * 5, [False, True, True, True, True]])


def weights_like(case, other):
    names = {id(weight): name for name, weight in case.layer.named_parameters()}
    theirs = dict(other.named_parameters())
    return [theirs[names[id(weight)]] for weight in case.weights]


@for_each([run for run in tight() if run.label not in ONE_WAY])
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_two_directions_over_the_flipped_sequence_are_the_halves_swapped(run, masked):
    case = run.case()
    forward, backward = rnns(case.layer)
    config = case.layer.get_config()
    swapped = layers.Bidirectional(
        again(backward, go_backwards=forward.go_backwards),
        config["merge_mode"],
        backward_layer=again(forward, go_backwards=backward.go_backwards),
    )
    swapped.build(shapes_of(case.x))
    count = len(forward.weights)
    swapped.set_weights([*backward.get_weights(), *forward.get_weights()])
    states = [*case.states[len(forward._sizes) :], *case.states[: len(forward._sizes)]]
    keywords = {"mask": MASK} if masked else {}
    whole = case(training=False, **keywords)
    keywords = {"mask": MASK.flip(1)} if masked else {}
    found = case(map_nest(lambda leaf: leaf.flip(1), case.x), states, swapped, training=False, **keywords)
    right = halves_swapped(case.layer, whole)
    assert_same([*turned(found.outputs), *found.last, *found.states], right.all, [])
    order = [*swapped.trainable_weights[len(backward.weights) :], *swapped.trainable_weights[: len(backward.weights)]]
    assert len(order) == len(case.weights) and len(order) == count + len(backward.weights)
    mine = gradients([*turned(found.outputs), *found.last, *found.states], [*flatten(case.x), *case.states, *order])
    close(mine, gradients(right.all, case.leaves), "gradient")


def again(half, **options):
    return type(half).from_config({**half.get_config(), "name": f"again_{half.name}", **options})


def halves_swapped(layer, whole):
    """What would have come out if the backward half stood first."""
    first = len(layer.forward_layer._sizes)
    states = [*whole.states[first:], *whole.states[:first]]
    if layer.merge_mode is None:
        half = len(whole.outputs) // 2
        return Outcome(whole.outputs[half:] + whole.outputs[:half], whole.last[half:] + whole.last[:half], states)
    width = size_to_shape(output_size(layer.forward_layer.cell))[-1] if layer.merge_mode == "concat" else 0
    outputs, last = ([leaf.roll(-width, -1) for leaf in each] for each in (whole.outputs, whole.last))
    return Outcome(outputs, last, states)


# -- states that are kept ----------------------------------------------------------------------------------------------


@for_each(tight())
@drawn(cut=st.integers(1, LENGTH - 1))
def test_two_stateful_batches_are_one_long_one(run, cut):
    """In values; and the gradients of each call are those of a call that was given the states."""
    case = run.case(time=LENGTH)
    layer = case.layer
    returning(layer, True, True)
    first, second = in_order(case, cut)
    count = len(case.states)
    layer.stateful = True
    layer.reset_states([state.detach() for state in case.states])
    with on(case.engine):
        one, two = (flatten(layer(part, training=False)) for part in (first, second))
    layer.stateful = False
    with on(case.engine):
        given = flatten(layer(first, initial_state=[h.detach() for h in case.states], training=False))
        handed = [state.detach() for state in given[-count:]]
        follows = flatten(layer(second, initial_state=handed, training=False))
        whole = flatten(layer(case.x, initial_state=case.states, training=False))
    wanted = [*flatten(case.x), *case.weights]
    assert_same_bits([*one, *two], [*given, *follows], wanted)
    if not case.two_ways:
        outputs = [torch.cat(pair, 1) for pair in zip(one[:-count], two[:-count], strict=True)]
        assert_same([*outputs, *two[-count:]], whole, [])


@for_each(runs((torch.float64,)))
def test_time_major_is_batch_major_with_axes_swapped(run):
    case = run.case()
    keywords = {"mask": MASK} if DESCRIPTORS[run.label].mask else {}
    right = case(**keywords)
    other = case.fresh(time_major=True)
    keywords = {"mask": MASK.t()} if keywords else {}
    found = case(map_nest(lambda leaf: leaf.transpose(0, 1), case.x), layer=other, **keywords)
    outputs = [leaf.transpose(0, 1) for leaf in found.outputs]
    assert_same([*outputs, *found.last, *found.states], right.all, [])
    mine = gradients([*outputs, *found.last, *found.states], [*flatten(case.x), *case.states])
    close(mine, gradients(right.all, [*flatten(case.x), *case.states]), "gradient")
