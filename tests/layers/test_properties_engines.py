"""Every recurrent layer on every engine: numbers and derivatives are those of the loop, and no less exact."""

import pytest
import torch
from hypothesis import strategies as st
from torch.func import functional_call

from descriptors import RECURRENT, Descriptor
from ostinato.engines import select
from ostinato.recurrence.nests import flatten, pack_like
from recurrent_properties import (
    DTYPES,
    SEED,
    Case,
    Run,
    accepts,
    assert_same,
    close,
    drawn,
    for_each,
    gradients,
    normal,
    on,
    returning,
    runs,
    same_bits,
    tight,
)

LOOP = select.ENGINES[-1].name
FASTER = [run for run in runs() if run.engine != LOOP]
NAMES = [each.name for each in select.ENGINES]
MASK = torch.tensor([[True, False, True, True, False], [False] * 5, [False, True, True, True, True]])


def keywords_of(run, masked):
    return {"mask": MASK} if masked and run.case(1, 1).row.mask else {}


# -- which engine runs what --------------------------------------------------------------------------------------------

PLAIN = ["LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "Bidirectional, sum of the last", "Bidirectional, mean"]


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("label", PLAIN)
def test_each_engine_runs_the_plain_layers_with_gradients(label, engine):
    run = Run(label, engine, torch.float32)
    assert accepts(run)
    case = run.case()
    for keywords in ({}, {"mask": MASK}):
        with select.observe() as choices:
            found = case(**keywords)
        assert {choice.engine for choice in choices} == {engine}
        assert all(leaf.ne(0).any() for leaf in gradients(found.all, case.leaves))


@pytest.mark.parametrize("label", RECURRENT)
def test_the_loop_runs_every_layer_in_every_dtype(label):
    assert [run.dtype for run in runs(labels=[label]) if run.engine == LOOP] == list(DTYPES)


FIRST = {run.label: run for run in reversed(FASTER) if run.dtype is torch.float32}
"""By label, the first engine that takes all of it, if it is not the loop."""


@for_each(list(FIRST.values()))
def test_by_itself_a_layer_runs_on_the_first_engine_that_takes_it(run):
    """To the last bit: what `use_engine` names is what would run without."""
    case, named = Case(run.label, None, torch.float32), run.case()
    with select.observe() as choices:
        right = case()
    assert {choice.engine for choice in choices} == {run.engine}
    found = named()
    same_bits(found.all, right.all, "output")
    same_bits(gradients(found.all, named.leaves), gradients(right.all, case.leaves), "gradient")


# -- how exact they are ------------------------------------------------------------------------------------------------


DRAWS = 5


def assert_as_exact(case, loop, exact, **keywords):
    """An engine's error is at most twice that of the loop in the same dtype, plus a rounding of the largest number.

    case, loop, exact: from a seed to the case on the engine, on the loop, and on the loop in float64. The error of each
    output and of each gradient is the root of the mean square over draws: a single number may be lucky.
    """
    squares, sizes = [], []
    for seed in range(SEED, SEED + DRAWS):
        mine = case(seed)
        right = numbers(exact(seed).like(mine), keywords)
        found = [numbers(each, keywords) for each in (mine, loop(seed).like(mine))]
        squares.append([[(a - b).square().mean() for a, b in zip(each, right, strict=True)] for each in found])
        sizes.append([leaf.abs().max() for leaf in right])
    (apart, allowed), largest = torch.tensor(squares).mean(0).sqrt(), torch.tensor(sizes).max(0).values
    limit = 2 * allowed + torch.finfo(mine.dtype).eps * largest.clamp(min=1)
    assert (apart <= limit).all(), f"apart by {apart}, allowed {limit}"


def numbers(case, keywords):
    """Outputs and gradients, in float64."""
    found = case(**keywords)
    return [leaf.detach().double() for leaf in (*found.all, *gradients(found.all, case.leaves))]


@for_each([run for run in FASTER if run.dtype is not torch.float64])
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_an_engine_is_as_exact_as_the_loop(run, masked):
    loop, exact = run._replace(engine=LOOP), Run(run.label, LOOP, torch.float64)
    each = (lambda seed, of=of: of.case(seed=seed) for of in (run, loop, exact))
    assert_as_exact(*each, training=False, **keywords_of(run, masked))


@for_each([run for run in FASTER if run.dtype is torch.float64])
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_in_float64_an_engine_is_the_loop(run, masked):
    """Dropout included, for the masks are drawn before an engine is asked."""
    case = run.case()
    loop, keywords = run._replace(engine=LOOP).case(), keywords_of(run, masked)
    found, right = case(**keywords), loop(**keywords)
    close(found.all, right.all, "output", 1e-10)
    close(gradients(found.all, case.leaves), gradients(right.all, loop.leaves), "gradient", 1e-10)


WIDE = {
    "LSTM": lambda layers, units, **o: layers.LSTM(units, **o),
    "GRU": lambda layers, units, **o: layers.GRU(units, **o),
    "SimpleRNN": lambda layers, units, **o: layers.SimpleRNN(units, **o),
    "Bidirectional LSTM": lambda layers, units, **o: layers.Bidirectional(layers.LSTM(units, **o)),
    "Bidirectional GRU": lambda layers, units, **o: layers.Bidirectional(layers.GRU(units, **o), "ave"),
}
WIDTHS = st.sampled_from([1, 2, 3, 5, 8, 13, 16, 17, 31, 32, 37, 64, 67])


@pytest.mark.parametrize("engine", NAMES[:-1])
@pytest.mark.parametrize("kind", WIDE)
@drawn(units=WIDTHS, features=WIDTHS, batch=st.sampled_from([1, 2, 5, 17, 32]), time=st.sampled_from([1, 2, 7, 11]))
def test_an_engine_is_as_exact_as_the_loop_at_any_width(kind, engine, units, features, batch, time):
    row = Descriptor(lambda layers, **o: WIDE[kind](layers, units, **o), (time, features), mask=True)
    where = [(engine, torch.float32), (LOOP, torch.float32), (LOOP, torch.float64)]
    each = [lambda seed, of=of: Case(row, *of, batch, time, seed) for of in where]
    assert_as_exact(*each)
    assert_as_exact(*each, lengths=[1 + (3 * i) % time for i in range(batch)])


# -- derivatives -------------------------------------------------------------------------------------------------------


@for_each(tight())
@drawn(picks=st.lists(st.booleans(), min_size=12, max_size=12).filter(any), masked=st.booleans())
def test_gradients_of_some_are_those_of_all(run, picks, masked):
    """And where nothing wants a gradient, the numbers are the same."""
    case, keywords = run.case(), keywords_of(run, masked)
    whole = case(**keywords)
    right = gradients(whole.all, case.leaves)
    wanted = [leaf for leaf, pick in zip(case.leaves, picks * 3, strict=False) if pick]
    expected = [g for g, pick in zip(right, picks * 3, strict=False) if pick]
    for leaf in case.leaves:
        leaf.requires_grad_(any(leaf is each for each in wanted))
    found = case(**keywords)
    assert_same(found.all, whole.all, [])
    reached = [leaf for leaf in found.all if leaf.requires_grad]
    got = torch.autograd.grad(reached, wanted, cotangents(found.all), allow_unused=True, materialize_grads=True)
    close(got, expected, "gradient")
    for leaf in case.leaves:
        leaf.requires_grad_(False)
    plain = case(**keywords)
    assert not any(leaf.requires_grad for leaf in plain.all)
    assert_same(plain.all, whole.all, [])


def cotangents(outputs):
    """The weights of the sum that `gradients` takes, of the outputs that want a gradient."""
    drawn = [normal(*out.shape, dtype=out.dtype, seed=i).detach() for i, out in enumerate(outputs)]
    return [weight for weight, out in zip(drawn, outputs, strict=True) if out.requires_grad]


@for_each(tight())
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_without_gradients_the_numbers_are_the_same(run, masked):
    case, keywords = run.case(), keywords_of(run, masked)
    right = case(**keywords)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = case(**keywords)
        assert not any(leaf.requires_grad for leaf in found.all)
        close(found.all, right.all, "output")


def second(case, keywords):
    """Gradients of a weighted sum of the gradients."""
    found = case(**keywords)
    first = torch.autograd.grad(found.all, case.leaves, cotangents(found.all), create_graph=True)
    reached = [leaf for leaf in first if leaf.requires_grad]
    weights = [normal(*leaf.shape, dtype=leaf.dtype, seed=50 + i).detach() for i, leaf in enumerate(reached)]
    return list(torch.autograd.grad(reached, case.leaves, weights, allow_unused=True, materialize_grads=True))


@for_each(tight())
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_second_derivatives_are_those_of_the_loop_in_float64(run, masked):
    case, keywords = run.case(), {**keywords_of(run, masked), "training": False}
    exact = Case(run.label, LOOP, torch.float64).like(case)
    right = second(exact, keywords)
    assert any(leaf.any() for leaf in right)
    close(
        [leaf.double() for leaf in second(case, keywords)],
        right,
        "derivative",
        1e-9 if case.dtype is torch.float64 else 2e-4,
    )


@for_each(runs((torch.float64,)))
def test_second_derivatives_by_differences(run):
    case = run.case(batch=2, time=2)
    count = len(flatten(case.x))
    names = [name for name, _ in case.layer.named_parameters() if not name.endswith("start")]
    keywords = {"mask": torch.tensor([[True, True], [False, True]])} if case.row.mask else {}
    returning(case.layer, True, True)

    def layer(*leaves):
        x, states = pack_like(case.x, leaves[:count]), list(leaves[count : count + len(case.states)])
        weights = dict(zip(names, leaves[count + len(states) :], strict=True))
        keywords["initial_state"], keywords["training"] = states, False
        with on(run.engine):
            return tuple(flatten(functional_call(case.layer, weights, (x,), keywords)))

    leaves = [leaf.detach().clone().requires_grad_() for leaf in case.leaves]
    assert torch.autograd.gradgradcheck(layer, leaves, fast_mode=True)
