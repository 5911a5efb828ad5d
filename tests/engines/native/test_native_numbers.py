"""Numbers that are none, and very large and small ones, on the native engine."""

import dataclasses
import math

import pytest
import torch

from native_problems import ask, cells
from ostinato.engines.flat import results
from ostinato.recurrence import scan
from ostinato.recurrence.activations import KNOWN
from problems import close, problem, wanting

SPECIAL = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize("place", ["inputs", "h"])
@pytest.mark.parametrize("batch", [1, 7, 13])
@cells
def test_what_is_not_finite_goes_where_it_goes_in_the_loop_and_to_no_other_row(native, cell, batch, place, value):
    asked = ask(native, cell, batch=batch, features=4, units=19)
    row = batch // 2
    with torch.no_grad():
        (asked.inputs[2] if place == "inputs" else asked.state[0])[row, 1] = value
    loop = native.for_loop(asked)
    found, wanted = native.run(asked), scan(loop)
    others = torch.arange(batch) != row
    native.near([y[..., others, :] for y in results(found)], [y[..., others, :] for y in results(wanted)])
    if asked.recurrence.name == "gru" and place == "h":
        return  # the loop has NaN where it interpolates between a number and infinity
    same_but_for_rounding(native, results(found), results(wanted))
    if cell.get("recurrent_activation") == "hard_sigmoid" and math.isnan(value):
        return  # torch's relu6 has slope 0 at NaN in the middle of a tensor and 1 in its last few numbers
    grads = [torch.randn_like(found.outputs), *(torch.zeros_like(y) for y in results(found)[1:])]
    gradients = torch.autograd.grad(results(found), wanting(asked), grads)
    same_but_for_rounding(
        native, gradients, torch.autograd.grad(results(wanted), wanting(loop), [g.float() for g in grads])
    )


def same_but_for_rounding(way, found, wanted):
    """Assert that what is not finite stands in the same places."""
    for a, b in zip(found, wanted, strict=True):
        finite = b.isfinite()
        torch.testing.assert_close(a[~finite].to(b.dtype), b[~finite], equal_nan=True)
        way.near([a[finite]], [b[finite]])


EDGES = [0.0, -0.0, 1e-45, -1e-45, 1e-40, 1.2e-38, 1e-20, 1e-7, 3.0, -3.0, 2.9999998, -2.9999998]
EDGES += [20.0, -20.0, 88.0, -88.0, 104.0, -104.0, 1e4, -1e4, 3e38, -3e38, *SPECIAL]


def activated(way, name, x):
    """An activation of numbers, by a recurrence of one unit that forgets everything."""
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    asked = problem("simple_rnn", batch=len(x), time=1, features=1, units=1, bias=False, activation=name)
    recurrence = dataclasses.replace(asked.recurrence, kernel=one, recurrent_kernel=zero)
    inputs = x[None, :, None].clone().requires_grad_()
    asked = dataclasses.replace(asked, recurrence=recurrence, inputs=inputs, state=(torch.zeros(len(x), 1),))
    y = way.run(asked).last[:, 0]
    return y.detach(), torch.autograd.grad(y.sum(), inputs)[0][0, :, 0]


@pytest.mark.parametrize("name", KNOWN)
def test_activations_at_their_edges(in_float32, name):
    x = torch.tensor(EDGES)
    found, slope = activated(in_float32, name, x)
    exact = x.double().requires_grad_()
    wanted = KNOWN[name](exact)
    torch.testing.assert_close(found, wanted.detach().float(), rtol=3e-7, atol=1e-36, equal_nan=True)
    number = x.clone().requires_grad_()  # at a kink it is the float32 loop that says on which side one is
    (of_loop,) = torch.autograd.grad(KNOWN[name](number).sum(), number)
    torch.testing.assert_close(slope[:-3], of_loop[:-3], rtol=0, atol=4e-7)
    if name in ("tanh", "relu", "linear"):  # what is odd keeps the smallest numbers
        small = x.abs() < 1e-6
        torch.testing.assert_close(found[small], wanted.detach().float()[small], rtol=3e-7, atol=2e-45)


@pytest.mark.parametrize("name", KNOWN)
def test_activations_everywhere(in_float32, name):
    x = torch.cat([torch.linspace(-30, 30, 40_001), torch.linspace(-1e-2, 1e-2, 10_001), torch.logspace(-30, 2, 999)])
    found, slope = activated(in_float32, name, x)
    exact = x.double().requires_grad_()
    wanted = KNOWN[name](exact)
    (of_loop,) = torch.autograd.grad(wanted.sum(), exact)
    y, eps = wanted.detach(), torch.finfo(torch.float32).eps
    condition = (x * of_loop / y).abs().nan_to_num(1)  # how much of a rounding of x there is in y
    assert ((found.double() - y).abs() <= eps * y.abs() * (2 + condition)).all()
    kinks = {"hard_sigmoid": 3.0, "relu": 0.0}.get(name)
    smooth = torch.ones_like(x, dtype=torch.bool) if kinks is None else (x.abs() - kinks).abs() > 1e-6
    close([slope[smooth]], [of_loop[smooth]], atol=4e-7)
    if name in ("tanh", "sigmoid", "hard_sigmoid"):
        assert found.max() <= 1
        assert found.min() >= (-1 if name == "tanh" else 0)
