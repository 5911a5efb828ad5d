"""The fast engines, through the one door, against the NumPy oracle: values, states, and every gradient.

How exact they are `test_engine_precision.py` measures; here it is whether they are right.
"""

import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostinato import layers
from ostinato.engines import select
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.recurrence import scan
from ostinato.recurrence.activations import KNOWN
from problems import (
    all_masks,
    close,
    cotangents,
    equal,
    expected,
    expected_gradients,
    problem,
    specified,
    value_and_gradients,
    wanting,
)
from ways import WAYS, in_each_way


def check(asked, way):
    values, gradients = value_and_gradients(asked, way.run)
    way.near(values, expected(asked))
    way.near(gradients, expected_gradients(asked, scan(asked)))


@in_each_way("cell", "options")
def test_values_and_gradients(way, cell, options):
    asked = problem(**cell, **options, dtype=way.dtype, requires_grad=True)
    check(asked, way)
    with torch.no_grad():
        way.near(results(specified(asked, way.run(asked))), expected(asked))
    with torch.inference_mode():
        way.near(results(specified(asked, way.run(asked))), expected(asked))


@pytest.mark.parametrize("sequences", [True, False], ids=["sequences", "last only"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@in_each_way("cell")
def test_every_mask_of_five_steps(way, cell, reverse, sequences):
    # All of them, one in each row: gaps, left and right padding, nothing and everything.
    options = {"mask": all_masks(5), "reverse": reverse, "sequences": sequences}
    check(problem(**cell, batch=32, time=5, **options, dtype=way.dtype, requires_grad=True), way)


@st.composite
def problems(draw, way):
    time, batch = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    which = draw(st.sampled_from(["nothing", "mask", "lengths"]))
    fields = {}
    if which == "mask":
        flags = draw(st.lists(st.booleans(), min_size=time * batch, max_size=time * batch))
        fields["mask"] = torch.tensor(flags).reshape(time, batch)
    if which == "lengths":
        fields["lengths"] = torch.tensor(draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch)))
    masks = sorted({options.get("dropout") for options in way.options.values()}, key=str)
    drops_states = sorted({"recurrent_dropout" in options for options in way.options.values()})
    return problem(
        **draw(st.sampled_from(list(way.cell.values()))),
        batch=batch,
        time=time,
        features=draw(st.integers(1, 17)),
        units=draw(st.integers(1, 17)),
        bias=draw(st.booleans()),
        dropout=draw(st.sampled_from(masks)),
        recurrent_dropout=draw(st.sampled_from(drops_states)),
        reverse=draw(st.booleans()),
        sequences=draw(st.booleans()),
        seed=draw(st.integers(0, 1000)),
        dtype=way.dtype,
        requires_grad=True,
        **fields,
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@in_each_way()
def test_any_problem(way, data):
    check(data.draw(problems(way)), way)


# -- what the native kernels branch on --------------------------------------------------------------------------------
# Panels of 4, 8 or 16 units, tiles of so many rows, batches of one and two in ways of their own, rows beyond a tile.

SIZES = [1, 15, 16, 17, 33, 64, 65, 130]
ALL_DROPOUT = {"dropout": "gates", "recurrent_dropout": True}


@pytest.mark.parametrize(("units", "features"), [*zip(SIZES, reversed(SIZES), strict=True), (17, 17), (130, 130)])
@pytest.mark.parametrize("batch", [1, 2, 13, 40])
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_v1", "simple_rnn"])
def test_native_sizes(native, cell, batch, units, features):
    sizes = {"batch": batch, "time": 3, "units": units, "features": features}
    lengths = {"lengths": torch.arange(batch) * 7 % 4}
    for options in ({}, {**lengths, "reverse": True}, {**ALL_DROPOUT, **lengths}):
        check(problem(cell, **sizes, **options, dtype=native.dtype, requires_grad=True), native)


SQUASHED = [
    *itertools.product(["lstm", "gru", "gru_v1"], KNOWN, KNOWN),
    *itertools.product(["simple_rnn"], KNOWN, ["sigmoid"]),
]


@pytest.mark.parametrize("options", [{}, {"lengths": torch.tensor([0, 2, 1]), **ALL_DROPOUT}], ids=["plain", "all"])
@pytest.mark.parametrize(("cell", "activation", "recurrent_activation"), SQUASHED)
def test_native_activations(native, cell, activation, recurrent_activation, options):
    chosen = {"activation": activation, "recurrent_activation": recurrent_activation}
    # Two steps: a state may be the square of the one before, and that again.
    check(problem(cell, time=2, units=19, **chosen, **options, dtype=native.dtype, requires_grad=True), native)


# -- which gradients, of what -----------------------------------------------------------------------------------------

KINDS_OF_LENGTHS = pytest.mark.parametrize("more", [{}, {"lengths": torch.tensor([2, 0, 5])}], ids=["whole", "lengths"])


@KINDS_OF_LENGTHS
@in_each_way("cell")
def test_a_gradient_for_one_tensor_alone(way, cell, more):
    asked = problem(**cell, **more, dtype=way.dtype, requires_grad=True)
    wanted = expected_gradients(asked, scan(asked))
    for which, gradient in enumerate(wanted):
        alone = [t.detach().requires_grad_(i == which) for i, t in enumerate(wanting(asked))]
        rest = iter(alone)
        partly = with_leaves(asked, [None if t is None else next(rest) for t in leaves(asked)])
        scanned = specified(partly, way.run(partly))
        torch.autograd.backward(results(scanned), cotangents(scanned))
        way.near([alone[which].grad], [gradient])
        assert [t.grad is None for t in alone] == [i != which for i in range(len(alone))]


@KINDS_OF_LENGTHS
@in_each_way("cell")
def test_a_gradient_of_one_result_alone(way, cell, more):
    asked = problem(**cell, **more, dtype=way.dtype, requires_grad=True)
    exact = way.for_loop(asked)
    loop, grads = specified(asked, scan(exact)), cotangents(scan(asked))
    for which, grad in enumerate(grads):
        chosen = results(specified(asked, way.run(asked)))[which]
        found = torch.autograd.grad(chosen, wanting(asked), grad, materialize_grads=True)
        of_loop = results(loop)[which]
        of_loop_too = {"materialize_grads": True, "retain_graph": True}
        way.near(found, torch.autograd.grad(of_loop, wanting(exact), grad.to(of_loop.dtype), **of_loop_too))


# -- derivatives that no kernel has -----------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"mask": all_masks(3)[:, 3:6]}], ids=["whole", "mask"])
@in_each_way("cell")
def test_second_derivatives(way, cell, more):
    asked = problem(**cell, **more, time=3, units=2, dtype=way.dtype, requires_grad=True)

    def derivatives(run, asked):
        first = torch.autograd.grad(sum((y**3).sum() for y in results(run(asked))), wanting(asked), create_graph=True)
        return [*first, *torch.autograd.grad(sum((g**2).sum() for g in first), wanting(asked))]

    wanted = derivatives(scan, way.for_loop(asked))
    scale = max(float(g.detach().abs().max()) for g in wanted)
    rounding = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 5e-2}[way.dtype]  # the loop's, where it is
    close(derivatives(way.run, asked), wanted, atol=scale * rounding)


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
@in_each_way()
def test_transforms_and_forward_mode_through_a_layer(way, kind):
    dtype = str(way.dtype).removeprefix("torch.")
    layer, x = kind(3, dtype=dtype), torch.randn(4, 5, 2, dtype=way.dtype)
    wanted = layer(x).detach()
    found = torch.func.vmap(lambda sample: layer(sample[None])[0])(x)
    rounding = 2e-2 if way.dtype is torch.bfloat16 else 1e-6
    close([found], [wanted], atol=rounding)
    tangent = torch.randn_like(x)
    _, forward = torch.func.jvp(layer, (x,), (tangent,))
    backward = torch.func.grad(lambda each: layer(each).sum())(x)
    products = (backward.double() * tangent.double()).sum()
    close([forward.double().sum()], [products], atol=20 * rounding)
    leaf = x.clone().requires_grad_()
    with select.use_engine(way.engine):
        layer(leaf).sum().backward()
        close([backward], [leaf.grad], atol=10 * rounding)
        with pytest.raises(ValueError, match=r"is opaque to torch\.func"):
            torch.func.jvp(layer, (x,), (tangent,))


# -- no steps, no samples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{"time": 0}, {"batch": 0}, {"time": 0, "batch": 0}, {"features": 0}], ids=str)
@in_each_way("cell")
def test_what_is_empty_is_left_to_the_loop(way, cell, sizes):
    asked = problem(**cell, **sizes, dtype=way.dtype, requires_grad=True)
    equal(results(way.run(asked)), results(scan(asked)))
    equal(*(value_and_gradients(asked, run)[1] for run in (way.run, scan)))


def test_the_tables_leave_out_no_engine():
    assert {way.engine for way in WAYS.values()} == {engine.name for engine in select.ENGINES[:-1]}
