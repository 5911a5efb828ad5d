"""Every recurrent layer on every engine: rows do not see each other; no rows, no steps, one, or a prime number."""

import pytest
import torch
from hypothesis import strategies as st

from descriptors import DESCRIPTORS
from ostinato.engines import select
from ostinato.recurrence.nests import flatten, map_nest
from recurrent_properties import (
    assert_same,
    close,
    drawn,
    for_each,
    gradients,
    masks,
    outcome,
    runs,
    same_bits,
    tight,
)

TIGHT, EXACT = tight(), runs((torch.float32,))
BOTH = [False, True]


def keywords_of(case, masked):
    """A mask with gaps, or lengths of whole rows; nothing for a layer that takes none."""
    if not (masked and case.row.mask):
        return {}
    flags = torch.arange(case.batch * case.time).reshape(case.batch, case.time)
    return {"mask": flags % 3 != 1}


# -- rows --------------------------------------------------------------------------------------------------------------


@for_each(TIGHT)
@drawn(order=st.permutations(range(4)), mask=masks(4, 5), masked=st.booleans())
def test_a_permutation_of_the_batch_commutes(run, order, mask, masked):
    case = run.case(batch=4)
    masked = masked and DESCRIPTORS[run.label].mask
    whole = case(training=False, **{"mask": mask} if masked else {})
    found = case(
        map_nest(lambda leaf: leaf[order], case.x),
        [state[order] for state in case.states],
        training=False,
        **{"mask": mask[order]} if masked else {},
    )
    assert_same(found.all, [leaf[order] for leaf in whole.all], case.leaves)


@for_each(TIGHT)
@pytest.mark.parametrize("masked", BOTH, ids=["no mask", "mask"])
def test_each_row_alone_is_the_row_in_the_batch(run, masked):
    case = run.case(batch=5)
    keywords = keywords_of(case, masked)
    rows = []
    for row in range(5):
        some = slice(row, row + 1)
        mask = {name: value[some] for name, value in keywords.items()}
        x, states = map_nest(lambda leaf, some=some: leaf[some], case.x), [state[some] for state in case.states]
        rows.append(case(x, states, training=False, **mask).all)
    joined = [torch.cat(leaf) for leaf in zip(*rows, strict=True)]
    assert_same(joined, case(training=False, **keywords).all, case.leaves)


@for_each(TIGHT)
@drawn(width=st.integers(0, 7))
def test_a_batch_in_two_parts_is_the_batch(run, width):
    case = run.case(batch=7)
    parts = []
    for some in (slice(0, width), slice(width, 7)):
        x, states = map_nest(lambda leaf, some=some: leaf[some], case.x), [state[some] for state in case.states]
        parts.append(case(x, states, training=False).all)
    joined = [torch.cat(leaf) for leaf in zip(*parts, strict=True)]
    assert_same(joined, case(training=False).all, case.leaves)


# -- nothing -----------------------------------------------------------------------------------------------------------


def empty_keywords(case, spelling):
    """A mask or lengths for sequences that have no rows, or no steps."""
    if spelling == "none" or not case.row.mask:
        return {}
    if spelling == "lengths":
        return {"lengths": torch.zeros(case.batch, dtype=torch.int64)}
    return {"mask": torch.ones(case.batch, case.time, dtype=torch.bool)}


@for_each(EXACT)
@pytest.mark.parametrize("spelling", ["none", "mask", "lengths"])
@pytest.mark.parametrize("time", [0, 1, 5])
def test_no_rows_give_the_right_shapes_and_zero_gradients(run, spelling, time):
    case, few = run.case(batch=0, time=time), run.case(batch=2, time=time)
    found = case(**empty_keywords(case, spelling))
    assert [leaf.shape for leaf in found.all] == [(0, *leaf.shape[1:]) for leaf in few().all]
    for gradient, leaf in zip(gradients(found.all, case.leaves), case.leaves, strict=True):
        assert gradient.shape == leaf.shape and not gradient.any()


@for_each(EXACT)
@pytest.mark.parametrize("spelling", ["none", "mask", "lengths"])
def test_no_steps_give_the_initial_state_and_an_empty_sequence(run, spelling):
    """The last output is zeros; gradients are zeros, and not missing; those of states are handed through."""
    case, one = run.case(time=0), run.case(time=1)
    found = case(**empty_keywords(case, spelling))
    assert [leaf.shape for leaf in found.outputs] == [(3, 0, *leaf.shape[2:]) for leaf in one().outputs]
    assert [leaf.shape for leaf in found.last] == [leaf.shape for leaf in one().last]
    assert not any(leaf.any() for leaf in found.last)
    same_bits(found.states, case.states, "state")
    count = len(flatten(case.x))
    got = gradients(found.all, [*flatten(case.x), *case.weights, *case.states])
    assert [leaf.shape for leaf in got[:count]] == [leaf.shape for leaf in flatten(case.x)]
    assert not any(leaf.any() for leaf in got[: -len(case.states)])
    same_bits(got[-len(case.states) :], gradients(found.all, found.states), "gradient")


@for_each(EXACT)
@pytest.mark.parametrize(("batch", "time"), [(0, 5), (3, 0), (0, 0)])
def test_nothing_from_the_cells_own_state(run, batch, time):
    """Every weight gets a gradient of zeros, but for a state that is a weight: its is what is handed through."""
    case = run.case(batch=batch, time=time)
    found = outcome(case.layer, case.x, case.engine)
    names, weights = zip(*case.layer.named_parameters(), strict=True)
    reached = [*found.outputs, *found.last, *(leaf for leaf in found.states if leaf.requires_grad)]
    got = gradients(reached, [*weights, *flatten(case.x)])
    for name, gradient in zip([*names, *["input"] * len(flatten(case.x))], got, strict=True):
        assert gradient.isfinite().all() and gradient.any() == (name.endswith("start") and batch > 0)


# -- sizes -------------------------------------------------------------------------------------------------------------

SIZES = st.sampled_from([1, 2, 3, 5, 7, 11, 13])


@for_each(TIGHT)
@drawn(batch=SIZES, time=SIZES, masked=st.booleans())
def test_any_size_is_what_the_loop_makes_of_it_in_float64(run, batch, time, masked):
    case = run.case(batch, time)
    right = run._replace(dtype=torch.float64, engine=select.ENGINES[-1].name).case(batch, time).like(case)
    found, expected = (each(training=False, **keywords_of(each, masked)) for each in (case, right))
    close([leaf.double() for leaf in found.all], expected.all, "output", tolerance_of(run))
    mine = [leaf.double() for leaf in gradients(found.all, case.leaves)]
    close(mine, gradients(expected.all, right.leaves), "gradient", tolerance_of(run))


def tolerance_of(run):
    return 1e-10 if run.dtype is torch.float64 else 2e-5
