"""The aten engine, through the one door, against the NumPy oracle: values, states, and every gradient.

In float64 torch's own loop in C++ runs, and in float32 without oneDNN; with it an LSTM goes another way. How exact
they are `test_aten_precision.py` measures; here it is whether they are right.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostinato import layers
from ostinato.engines import onednn, select
from ostinato.engines.execute import execute
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.recurrence import scan
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

CELLS = {
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "simple_rnn": {"cell": "simple_rnn"},
    "simple_rnn, relu": {"cell": "simple_rnn", "activation": "relu"},
}
OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "backwards": {"reverse": True},
    "last only": {"sequences": False},
    "last only, backwards": {"sequences": False, "reverse": True},
    "lengths": {"lengths": torch.tensor([0, 5, 2])},
    "lengths, backwards": {"lengths": torch.tensor([4, 0, 2]), "reverse": True},
    "lengths, last only": {"lengths": torch.tensor([3, 1, 3]), "sequences": False},
    "lengths, dropout, backwards": {"lengths": torch.tensor([3, 0, 4]), "dropout": "shared", "reverse": True},
    "lengths, no bias": {"lengths": torch.tensor([1, 0, 1]), "bias": False},
    "no row has a step": {"lengths": torch.tensor([0, 0, 0])},
    "dropout": {"dropout": "shared"},
    "dropout, backwards": {"dropout": "shared", "reverse": True},
    "one sample": {"batch": 1},
    "one step": {"time": 1},
    "one of everything": {"batch": 1, "time": 1, "features": 1, "units": 1},
    "one sample with one step of two": {"batch": 1, "time": 2, "lengths": torch.tensor([1])},
    "primes": {"batch": 7, "time": 11, "features": 5, "units": 13},
    "more rows than units, more units than features": {"batch": 17, "time": 3, "features": 1, "units": 5},
}


@pytest.fixture(params=["float64", "float32", "float32, no oneDNN"])
def dtype(request, monkeypatch):
    """The ways that a problem can take through the engine."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", "no oneDNN" not in request.param)
    return torch.float64 if request.param == "float64" else torch.float32


def run(problem):
    """Through the door, on aten or not at all."""
    with select.use_engine("aten"):
        return execute([problem])[0]


def near(found, wanted, dtype):
    """Agreement to rounding, of tensors of any size."""
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype is dtype
        scale = 1 + (float(b.abs().max()) if b.numel() else 0)
        close([a], [b], atol=scale * (1e-11 if dtype is torch.float64 else 1e-5))


def check(asked, dtype):
    values, gradients = value_and_gradients(asked, run)
    near(values, expected(asked), dtype)
    near(gradients, expected_gradients(asked, scan(asked)), dtype)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_values_and_gradients(dtype, cell, options):
    asked = problem(**cell, **options, dtype=dtype, requires_grad=True)
    check(asked, dtype)
    with torch.no_grad():
        near(results(specified(asked, run(asked))), expected(asked), dtype)
    with torch.inference_mode():
        near(results(specified(asked, run(asked))), expected(asked), dtype)


@pytest.mark.parametrize("sequences", [True, False], ids=["sequences", "last only"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_every_mask_of_five_steps(dtype, cell, reverse, sequences):
    # All of them, one in each row: gaps, left and right padding, nothing and everything.
    options = {"mask": all_masks(5), "reverse": reverse, "sequences": sequences}
    check(problem(**cell, batch=32, time=5, **options, dtype=dtype, requires_grad=True), dtype)


@st.composite
def problems(draw, dtype):
    time, batch = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    which = draw(st.sampled_from(["nothing", "mask", "lengths"]))
    fields = {}
    if which == "mask":
        flags = draw(st.lists(st.booleans(), min_size=time * batch, max_size=time * batch))
        fields["mask"] = torch.tensor(flags).reshape(time, batch)
    if which == "lengths":
        fields["lengths"] = torch.tensor(draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch)))
    return problem(
        **draw(st.sampled_from(list(CELLS.values()))),
        batch=batch,
        time=time,
        features=draw(st.integers(1, 17)),
        units=draw(st.integers(1, 17)),
        bias=draw(st.booleans()),
        dropout=draw(st.sampled_from([None, "shared"])),
        reverse=draw(st.booleans()),
        sequences=draw(st.booleans()),
        seed=draw(st.integers(0, 1000)),
        dtype=dtype,
        requires_grad=True,
        **fields,
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_problem(dtype, data):
    check(data.draw(problems(dtype)), dtype)


# -- which gradients, of what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"lengths": torch.tensor([2, 0, 5])}], ids=["whole", "lengths"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_a_gradient_for_one_tensor_alone(dtype, cell, options):
    asked = problem(**cell, **options, dtype=dtype, requires_grad=True)
    wanted = expected_gradients(asked, scan(asked))
    for which, gradient in enumerate(wanted):
        alone = [t.detach().requires_grad_(i == which) for i, t in enumerate(wanting(asked))]
        rest = iter(alone)
        partly = with_leaves(asked, [None if t is None else next(rest) for t in leaves(asked)])
        scanned = specified(partly, run(partly))
        torch.autograd.backward(results(scanned), cotangents(scanned))
        near([alone[which].grad], [gradient], dtype)
        assert [t.grad is None for t in alone] == [i != which for i in range(len(alone))]


@pytest.mark.parametrize("options", [{}, {"lengths": torch.tensor([2, 0, 5])}], ids=["whole", "lengths"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_a_gradient_of_one_result_alone(dtype, cell, options):
    asked = problem(**cell, **options, dtype=dtype, requires_grad=True)
    loop, grads = specified(asked, scan(asked)), cotangents(scan(asked))
    for which, grad in enumerate(grads):
        chosen = results(specified(asked, run(asked)))[which]
        found = torch.autograd.grad(chosen, wanting(asked), grad, materialize_grads=True)
        of_loop = results(loop)[which]
        near(
            found, torch.autograd.grad(of_loop, wanting(asked), grad, materialize_grads=True, retain_graph=True), dtype
        )


def test_what_nobody_asks_for_is_not_computed(monkeypatch):
    # oneDNN gives all gradients at once; of what is left to do, nothing is done for those that are not wanted.
    monkeypatch.setattr(onednn, "_of_inputs", lambda *_: pytest.fail("nobody asked"))
    asked = problem("lstm", dtype=torch.float32)
    asked.recurrence.kernel.requires_grad_()
    run(asked).last.sum().backward()
    assert asked.recurrence.kernel.grad.abs().max() > 0


# -- derivatives that torch's kernels do not have ---------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"mask": all_masks(3)[:, 3:6]}], ids=["whole", "mask"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_second_derivatives(dtype, cell, options):
    asked = problem(**cell, **options, time=3, units=2, dtype=dtype, requires_grad=True)

    def derivatives(way):
        first = torch.autograd.grad(sum((y**3).sum() for y in results(way(asked))), wanting(asked), create_graph=True)
        return [*first, *torch.autograd.grad(sum((g**2).sum() for g in first), wanting(asked))]

    wanted = derivatives(scan)
    scale = max(float(g.detach().abs().max()) for g in wanted)
    close(derivatives(run), wanted, atol=scale * (1e-11 if dtype is torch.float64 else 1e-4))


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_transforms_and_forward_mode_through_a_layer(kind):
    layer, x = kind(3), torch.randn(4, 5, 2)
    wanted = layer(x).detach()
    found = torch.func.vmap(lambda sample: layer(sample[None])[0])(x)
    close([found], [wanted], atol=1e-6)
    tangent = torch.randn_like(x)
    _, forward = torch.func.jvp(layer, (x,), (tangent,))
    backward = torch.func.grad(lambda each: layer(each).sum())(x)
    close([forward.sum()], [(backward * tangent).sum()], atol=1e-5)
    leaf = x.clone().requires_grad_()
    layer(leaf).sum().backward()  # on aten
    close([backward], [leaf.grad], atol=1e-5)
    with select.use_engine("aten"), pytest.raises(ValueError, match=r"is opaque to torch\.func"):
        torch.func.jvp(layer, (x,), (tangent,))


# -- misuse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["h", "c", "kernel", "recurrent_kernel", "bias"])
def test_tensors_that_do_not_fit_are_an_error_and_not_read_past_their_ends(which):
    asked = problem("lstm", dtype=torch.float32)
    names = ["inputs", "h", "c", "kernel", "recurrent_kernel", "bias", "dropout", "recurrent_dropout"]
    tensors = [t[..., :-1] if name == which else t for name, t in zip(names, leaves(asked), strict=True)]
    with pytest.raises(ValueError, match=r"an LSTM of 3 units over inputs \(5, 3, 2\) takes h, c, kernel.* got "):
        run(with_leaves(asked, tensors))


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_weights_of_another_dtype_are_an_error(cell):
    asked = problem(**cell, dtype=torch.float32)
    tensors = [t if t is None or i == 0 else t.double() for i, t in enumerate(leaves(asked))]
    with pytest.raises((RuntimeError, ValueError), match="dtype"):
        run(with_leaves(asked, tensors))


# -- no steps, no samples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{"time": 0}, {"batch": 0}, {"time": 0, "batch": 0}], ids=str)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_no_steps_and_no_samples_are_left_to_the_loop(cell, sizes):
    asked = problem(**cell, **sizes, dtype=torch.float32, requires_grad=True)
    equal(results(run(asked)), results(scan(asked)))
    equal(*(value_and_gradients(asked, way)[1] for way in (run, scan)))
