"""Every recurrent layer on every engine: how inputs and states lie in memory changes no bit, and none is written to."""

import pytest
import torch

from ostinato.recurrence.nests import flatten, pack_like
from recurrent_properties import bits, for_each, gradients, made, runs, same_bits, sizes

EXACT = runs((torch.float32, torch.bfloat16))
SINGLE = runs((torch.float32,))


def strided(leaf):
    return torch.stack([leaf, leaf + 1], -1)[..., 0]


def transposed(leaf):
    return leaf.transpose(0, 1).contiguous().transpose(0, 1)


def last_first(leaf):
    return leaf.movedim(-1, 0).contiguous().movedim(0, -1)


def every_other(leaf):
    return torch.stack([leaf, leaf + 1], 1).flatten(0, 1)[::2]


def with_offset(leaf):
    """Contiguous, but not where memory is aligned."""
    whole = torch.zeros(leaf.numel() + 3, dtype=leaf.dtype)
    whole[3:] = leaf.flatten()
    return whole[3:].view(leaf.shape)


def a_window(leaf):
    """Of a larger tensor."""
    whole = torch.full([size + 2 for size in leaf.shape], float("nan"), dtype=leaf.dtype)
    inside = whole[tuple(slice(1, size + 1) for size in leaf.shape)]
    inside.copy_(leaf)
    return inside


LAYOUTS = [strided, transposed, last_first, every_other, with_offset, a_window]


def leaf_of(tensor):
    return tensor.detach().requires_grad_()


def rearranged(case, layout):
    """The case's inputs and states in another layout, each a leaf for gradients."""
    found = []
    for leaf in (*flatten(case.x), *case.states):
        with torch.no_grad():
            found.append(leaf_of(layout(leaf.detach())))
        assert torch.equal(found[-1], leaf)
    return found


def assert_same_from(case, leaves, **keywords):
    """What comes from `leaves`, inputs and then states, is what comes from contiguous copies; they stay as they are."""
    count = len(flatten(case.x))
    before = [(bits(leaf).clone(), leaf._version) for leaf in leaves]
    contiguous = [
        leaf.detach().clone(memory_format=torch.contiguous_format).requires_grad_(leaf.requires_grad) for leaf in leaves
    ]
    results = []
    for each in (leaves, contiguous):
        found = case(pack_like(case.x, each[:count]), each[count:], **keywords)
        wanted = [leaf for leaf in each if leaf.requires_grad]
        wanted += case.weights
        # One call at a time: sums over calls are taken in an order of torch's own.
        calls = [gradients(some, wanted) for some in ([*found.outputs, *found.states], [*found.last, *found.others])]
        results.append((found.all, calls[0] + calls[1]))
    for what, mine, right in zip(("output", "gradient"), *results, strict=True):
        same_bits(mine, right, what)
    for leaf, (was, version) in zip(leaves, before, strict=True):
        assert torch.equal(bits(leaf), was) and leaf._version == version


@for_each(EXACT)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_a_layout_in_memory_changes_no_bit(run, layout):
    case = run.case(batch=3, time=4)
    assert_same_from(case, rearranged(case, layout))


MASK = torch.tensor([[True, False, True, True], [False] * 4, [False, True, True, True]])


@for_each(SINGLE, masked=True)
@pytest.mark.parametrize("layout", [strided, transposed], ids=lambda layout: layout.__name__)
def test_a_layout_in_memory_changes_no_bit_under_a_mask(run, layout):
    case = run.case(batch=3, time=4)
    assert_same_from(case, rearranged(case, layout), mask=layout(MASK.float()).bool())
    assert_same_from(case, rearranged(case, layout), lengths=[4, 0, 2])


@for_each(SINGLE)
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), (-1,)], ids=str)
def test_expanded_inputs_and_states_are_whole_ones(run, axes):
    """Zero strides: along the batch, along time, along both, along features."""
    case = run.case(batch=3, time=4)

    def expanded(leaf, over):
        for axis in over:
            leaf = leaf.narrow(axis, 0, 1).expand(leaf.shape)
        return leaf

    leaves = [leaf_of(expanded(leaf.detach(), axes)) for leaf in flatten(case.x)]
    leaves += [leaf_of(expanded(leaf.detach(), [axis for axis in axes if axis != 1])) for leaf in case.states]
    assert all(0 in leaf.stride() for leaf in leaves[: len(flatten(case.x))])
    assert_same_from(case, leaves)


def has_states_alike(run):
    found = sizes(made(run.label, run.dtype))
    return len(set(found)) < len(found)


@for_each([run for run in SINGLE if has_states_alike(run)])
def test_one_tensor_as_several_states_is_several_tensors(run):
    case = run.case(batch=3, time=4)
    shared = {}
    leaves = [leaf.detach() for leaf in flatten(case.x)]
    states = [shared.setdefault(tuple(leaf.shape), leaf.detach()) for leaf in case.states]
    assert len(shared) < len(states)
    assert_same_from(case, [*leaves, *states])


@for_each([run for run in SINGLE if run.label in ("LSTM", "GRU", "SimpleRNN", "Bidirectional")])
def test_states_that_are_views_of_the_inputs_are_copies_of_them(run):
    case = run.case(batch=3, time=4)
    whole = case.x.detach().clone()
    views = [whole[:, i % 4, : state.shape[1]] for i, state in enumerate(case.states)]
    assert_same_from(case, [whole, *views])


@for_each(SINGLE)
def test_the_same_tensor_twice_is_read_only(run):
    """A call changes neither what it is given nor what an earlier call returned."""
    case = run.case(batch=3, time=4)
    first = case()
    kept = [bits(leaf).clone() for leaf in first.all]
    second = case(states=first.states)
    case(states=second.states)
    gradients(second.all, case.leaves)
    for leaf, was in zip(first.all, kept, strict=True):
        assert torch.equal(bits(leaf), was) and leaf._version == 0


@for_each(SINGLE)
def test_weights_are_not_written_to(run):
    case = run.case()
    before = [(bits(weight).clone(), weight._version) for weight in case.layer.parameters()]
    gradients(case().all, case.leaves)
    for weight, (was, version) in zip(case.layer.parameters(), before, strict=True):
        assert torch.equal(bits(weight), was) and weight._version == version
