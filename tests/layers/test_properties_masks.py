"""Every recurrent layer on every engine: masks. A masked step is no step, and what stands in it does not matter."""

import pytest
import torch
from hypothesis import strategies as st

from ostinato.recurrence.nests import flatten, map_nest
from recurrent_properties import (
    Outcome,
    assert_same,
    assert_same_bits,
    drawn,
    for_each,
    gradients,
    masks,
    runs,
    same_bits,
    tight,
)

TIME = 5
TIGHT, EXACT = tight(), runs((torch.float32,))


def right_padded(lengths, time=TIME):
    return torch.arange(time) < torch.tensor(lengths)[:, None]


# -- a masked step is no step ------------------------------------------------------------------------------------------


@for_each(TIGHT, masked=True)
def test_an_all_true_mask_is_none(run):
    case = run.case()
    assert_same(case(mask=torch.ones(3, TIME, dtype=torch.bool)).all, case().all, case.leaves)


@for_each(TIGHT, masked=True)
@drawn(mask=masks(3, TIME))
def test_a_row_is_the_row_alone_without_its_masked_steps(run, mask):
    """For every mask: right padding, left padding, gaps, and rows that use no step."""
    case = run.case()
    alone = [without_masked_steps(case, row, used) for row, used in enumerate(mask)]
    right = [torch.cat(leaf) for leaf in zip(*(each.all for each in alone), strict=True)]
    assert_same(case(mask=mask, training=False).all, right, case.leaves)


@for_each(TIGHT, masked=True)
@pytest.mark.parametrize("side", ["right", "left"])
@drawn(padding=st.integers(0, 4))
def test_padding_is_a_shorter_sequence(run, side, padding):
    case = run.case()
    used = torch.arange(TIME) < TIME - padding
    used = used.flip(0) if side == "left" else used
    short = case(map_nest(lambda leaf: leaf[:, used], case.x), training=False)
    outputs = [spread(leaf, used, case) for leaf in short.outputs]
    found = case(mask=used.expand(3, TIME), training=False)
    assert_same(found.all, [*outputs, *short.last, *short.states], case.leaves)


def without_masked_steps(case, row, used):
    """The outcome of one row alone, run over its used steps only, its outputs put where they belong."""
    x = map_nest(lambda leaf: leaf[row : row + 1, used], case.x)
    found = case(x, [state[row : row + 1] for state in case.states], training=False)
    return Outcome([spread(leaf, used, case) for leaf in found.outputs], found.last, found.states)


def spread(outputs, used, case):
    """Outputs `(batch, used steps, ...)` at the steps of a mask `(time,)`, in processing order.

    At another step stands the output before it, or zeros; zeros before the first.
    """
    used = used.flip(0) if case.backwards else used
    held = not case.zeroes_masked
    zeros = last = outputs.sum(1) * 0  # which hang on what outputs hang on, even if there are none
    steps, rest = [], iter(outputs.unbind(1))
    for use in used.tolist():
        last = next(rest) if use else last
        steps.append(last if use or held else zeros)
    return torch.stack(steps, 1)


@for_each(EXACT, masked=True)
@drawn(lengths=st.lists(st.integers(0, TIME), min_size=3, max_size=3))
def test_lengths_are_the_right_padded_mask_bit_by_bit(run, lengths):
    case = run.case()
    right = case(mask=right_padded(lengths))
    assert_same_bits(case(lengths=torch.tensor(lengths)).all, right.all, case.leaves)


SPELLED = {
    "int32": lambda mask: mask.to(torch.int32),
    "float32": lambda mask: 3.0 * mask,
    "NumPy": lambda mask: mask.numpy(),
    "transposed": lambda mask: mask.t().contiguous().t(),
    "strided": lambda mask: torch.stack([mask, ~mask], -1)[..., 0],
}


@for_each(EXACT, masked=True)
@drawn(mask=masks(3, TIME), spelling=st.sampled_from(sorted(SPELLED)))
def test_a_mask_spelled_in_another_way_is_the_same_bit_by_bit(run, mask, spelling):
    case = run.case()
    assert_same_bits(case(mask=SPELLED[spelling](mask)).all, case(mask=mask).all, case.leaves)


# -- what stands in a masked step --------------------------------------------------------------------------------------

GARBAGE = [float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 1.0]


def with_garbage(x, mask, picks):
    """Copies of the inputs with garbage in the masked steps."""

    def fill(leaf):
        places = torch.arange(leaf.numel()).reshape(leaf.shape)
        values = torch.tensor([GARBAGE[pick] for pick in picks], dtype=leaf.dtype)[places % len(picks)]
        masked = ~mask.reshape(*mask.shape, *[1] * (leaf.dim() - 2))
        return torch.where(masked, values, leaf.detach()).requires_grad_()

    return map_nest(fill, x)


@for_each(runs((torch.float32, torch.bfloat16)), masked=True)
@drawn(mask=masks(3, TIME), picks=st.lists(st.integers(0, len(GARBAGE) - 1), min_size=1, max_size=7))
def test_garbage_in_masked_steps_changes_no_bit(run, mask, picks):
    """Of outputs, states and any gradient; that of the masked steps is zero."""
    case = run.case()
    clean, dirty = with_garbage(case.x, mask, [GARBAGE.index(1.0)]), with_garbage(case.x, mask, picks)
    right, found = case(clean, mask=mask), case(dirty, mask=mask)
    same_bits(found.all, right.all, "output")
    rest = [*case.states, *case.weights]
    mine = gradients(found.all, [*flatten(dirty), *rest])
    same_bits(mine, gradients(right.all, [*flatten(clean), *rest]), "gradient")
    for leaf in mine[: len(flatten(dirty))]:
        assert not leaf[~mask].any()


@for_each(EXACT, masked=True)
@drawn(lengths=st.lists(st.integers(0, TIME), min_size=3, max_size=3), picks=st.just(list(range(len(GARBAGE)))))
def test_garbage_after_lengths_changes_no_bit(run, lengths, picks):
    case = run.case()
    mask, lengths = right_padded(lengths), torch.tensor(lengths)
    clean, dirty = with_garbage(case.x, mask, [5]), with_garbage(case.x, mask, picks)
    right, found = case(clean, lengths=lengths), case(dirty, lengths=lengths)
    same_bits(found.all, right.all, "output")
    rest = [*case.states, *case.weights]
    mine = gradients(found.all, [*flatten(dirty), *rest])
    same_bits(mine, gradients(right.all, [*flatten(clean), *rest]), "gradient")


# -- rows without steps ------------------------------------------------------------------------------------------------


@for_each(EXACT, masked=True)
@drawn(mask=masks(3, TIME), row=st.integers(0, 2), garbage=st.sampled_from(GARBAGE))
def test_a_row_without_steps_gives_zeros_and_its_state(run, mask, row, garbage):
    """Its inputs get no gradient, its states that of the states that come out."""
    case = run.case()
    mask = mask.index_fill(0, torch.tensor(row), False)
    x = with_garbage(case.x, mask, [GARBAGE.index(garbage)])
    found = case(x, mask=mask)
    for leaf in (*found.outputs, *found.last):
        assert not leaf[row].any()
    same_bits([leaf[row] for leaf in found.states], [leaf[row] for leaf in case.states], "state")
    leaves = flatten(x)
    got = gradients(found.all, [*leaves, *case.states])
    assert not any(leaf[row].any() for leaf in got[: len(leaves)])
    handed = gradients(found.all, found.states)
    same_bits([leaf[row] for leaf in got[len(leaves) :]], [leaf[row] for leaf in handed], "gradient")


@for_each(EXACT, masked=True)
@drawn(mask=masks(3, TIME), row=st.integers(0, 2))
def test_a_row_without_steps_leaves_the_others_as_they_are(run, mask, row):
    """Bit by bit as they are beside a row that is used, and to rounding as they are without the row."""
    case = run.case()
    used, unused = mask.index_fill(0, torch.tensor(row), True), mask.index_fill(0, torch.tensor(row), False)
    others = [r for r in range(3) if r != row]
    found, beside = case(mask=unused), case(mask=used)
    same_bits([leaf[others] for leaf in found.all], [leaf[others] for leaf in beside.all], "output")
    less = case(
        map_nest(lambda leaf: leaf[others], case.x),
        [state[others] for state in case.states],
        mask=mask[others],
        training=False,
    )
    found = case(mask=unused, training=False)
    assert_same([leaf[others] for leaf in found.all], less.all, [*flatten(case.x), *case.states])
