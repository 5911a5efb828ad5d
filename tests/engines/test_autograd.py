"""The one autograd.Function: an engine that torch cannot look into is differentiated as if it were made of torch."""

import dataclasses
import gc
import weakref

import pytest
import torch
from torch.autograd import forward_ad

from opaque import LoopEngine, OpaqueEngine
from ostinato.engines import select
from ostinato.engines.execute import execute
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.engines.reference import REFERENCE
from ostinato.recurrence import Problem, Recurrence, scan
from problems import (
    CELLS,
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

GAPS = torch.tensor([[False, True, True], [True, True, False], [False, True, True], [True, False, False], [True] * 3])

OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "reverse": {"reverse": True},
    "last only": {"sequences": False},
    "mask, reverse": {"mask": GAPS, "reverse": True},
    "lengths": {"lengths": torch.tensor([0, 5, 2])},
    "dropout": {"dropout": "shared", "recurrent_dropout": True},
}


@pytest.fixture
def opaque(monkeypatch):
    engine = OpaqueEngine()
    monkeypatch.setattr(select, "ENGINES", (engine, REFERENCE))
    return engine


def run(problem):
    return execute([problem])[0]


def function_of(asked, way=run):
    """`way` as a function of the tensors that want a gradient, as gradcheck and torch.func take it."""

    def of(*tensors):
        rest = iter(tensors)
        wanted = [None if t is None else next(rest) if t.requires_grad else t for t in leaves(asked)]
        return tuple(results(way(with_leaves(asked, wanted))))

    return of


# -- first derivatives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("cell", CELLS)
def test_first_derivatives_are_the_engines(opaque, cell, options):
    asked = problem(cell, requires_grad=True, **options)
    values, gradients = value_and_gradients(asked, run)
    close(values, expected(asked))
    close(gradients, expected_gradients(asked, scan(asked)), atol=1e-11)
    assert len(opaque.ran) == len(opaque.given) == 1
    assert {type(y.grad_fn).__name__ for y in results(run(dataclasses.replace(asked, mask=None)))} == {
        "_RecurrentBackward"
    }


@pytest.mark.parametrize("which", range(6))
def test_a_gradient_for_one_tensor_alone(opaque, which):
    asked = problem("lstm", requires_grad=True)
    alone = [t.detach().requires_grad_(i == which) for i, t in enumerate(wanting(asked))]
    rest = iter(alone)
    partly = with_leaves(asked, [None if t is None else next(rest) for t in leaves(asked)])
    scanned = run(partly)
    torch.autograd.backward(results(scanned), cotangents(scanned))
    wanted = expected_gradients(asked, scanned)[which]
    close([alone[which].grad], [wanted], atol=1e-11)
    assert [t.grad is None for t in alone] == [i != which for i in range(6)]
    assert len(opaque.ran) == 1


@pytest.mark.parametrize("used", [0, 1, 2, 3])
def test_outputs_that_nobody_uses(opaque, used):
    asked = problem("lstm", requires_grad=True)
    scanned = run(asked)
    grads = cotangents(scanned)
    found = torch.autograd.grad([results(scanned)[used]], wanting(asked), [grads[used]])
    again = scan(asked)
    wanted = torch.autograd.grad([results(again)[used]], wanting(asked), [grads[used]], materialize_grads=True)
    close(found, wanted, atol=1e-12)
    assert len(opaque.given) == 1


def test_no_graph_is_recorded_where_none_is_wanted(opaque):
    asked = problem("gru", requires_grad=True)
    with torch.no_grad():
        assert not any(y.requires_grad for y in results(run(asked)))
    with torch.inference_mode():
        assert not any(y.requires_grad for y in results(run(asked)))
    assert not any(y.requires_grad for y in results(run(problem("gru"))))
    assert len(opaque.ran) == 3


@pytest.mark.parametrize("engine", [OpaqueEngine(), LoopEngine()], ids=["opaque", "loop"])
@pytest.mark.parametrize("cell", CELLS)
def test_no_steps(monkeypatch, engine, cell):
    # The loop gives back the very state that it was given, which an autograd.Function must not.
    monkeypatch.setattr(select, "ENGINES", (engine, REFERENCE))
    asked = problem(cell, time=0, requires_grad=True)
    scanned = run(asked)
    assert scanned.outputs.shape == (0, 3, 3)
    equal([scanned.last, *scanned.state], [torch.zeros(3, 3).double(), *asked.state])
    assert not any(y is h for y in scanned.state for h in asked.state)
    grads = cotangents(scanned)
    found = torch.autograd.grad(results(scanned), wanting(asked), grads, materialize_grads=True)
    states = len(asked.state)
    equal(found[1 : 1 + states], grads[2:])
    assert all(g.abs().sum() == 0 for g in (found[0], *found[1 + states :]))


@pytest.mark.parametrize("cell", CELLS)
def test_no_samples(opaque, cell):
    asked = problem(cell, batch=0, requires_grad=True)
    scanned = run(asked)
    assert scanned.outputs.shape == (5, 0, 3)
    found = torch.autograd.grad(results(scanned), wanting(asked), cotangents(scanned))
    assert [g.shape for g in found] == [t.shape for t in wanting(asked)]
    assert all(g.abs().sum() == 0 for g in found)


def test_backward_twice_needs_retain_graph_and_gives_the_same(opaque):
    asked = problem("lstm", requires_grad=True)
    scanned = run(asked)
    first = torch.autograd.grad(scanned.last.sum(), wanting(asked), retain_graph=True)
    second = torch.autograd.grad(scanned.last.sum(), wanting(asked))
    equal(second, first)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(scanned.last.sum(), wanting(asked))


def test_under_checkpoint(opaque):
    asked = problem("gru", requires_grad=True)
    outputs = torch.utils.checkpoint.checkpoint(function_of(asked), *wanting(asked), use_reentrant=False)
    grads = cotangents(scan(asked))
    found = torch.autograd.grad(outputs, wanting(asked), grads)
    close(found, expected_gradients(asked, scan(asked)), atol=1e-11)
    assert len(opaque.ran) == 2


# -- what changes between forward and backward ------------------------------------------------------------------------


@pytest.mark.parametrize("which", range(6))
def test_a_tensor_changed_in_place_before_backward_is_an_error(opaque, which):
    asked = problem("lstm", requires_grad=True)
    scanned = run(asked)
    with torch.no_grad():
        wanting(asked)[which].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        scanned.last.sum().backward()
    assert not opaque.given


class KeepsOutputs(LoopEngine):
    """Keeps its outputs for the way back, as most engines do."""

    def forward(self, problem):
        scanned, saved = super().forward(problem)
        self.kept = weakref.ref(scanned.outputs)
        return scanned, (saved, scanned)

    def backward(self, saved, grads):
        return super().backward(saved[0], grads)


def test_a_result_changed_in_place_before_backward_is_an_error(monkeypatch):
    # The engine's own copy would change with it, and the gradients be wrong with no word said.
    monkeypatch.setattr(select, "ENGINES", (KeepsOutputs(), REFERENCE))
    for result in range(4):
        asked = problem("lstm", requires_grad=True)
        scanned = run(asked)
        changed = results(scanned)[result].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            changed.sum().backward()


def test_what_an_engine_keeps_dies_with_the_results(monkeypatch):
    # A result in what is kept, held by the graph that the result itself holds, would live for ever.
    engine = KeepsOutputs()
    monkeypatch.setattr(select, "ENGINES", (engine, REFERENCE))
    scanned = run(problem("lstm", requires_grad=True))
    gc.collect()
    assert engine.kept() is not None
    del scanned
    gc.collect()
    assert engine.kept() is None


# -- second derivatives -----------------------------------------------------------------------------------------------


def second_derivatives(asked, tensors, prepare=lambda asked: asked):
    """Gradients of a sum of cubes, and those of the sum of their squares."""
    prepared = prepare(asked)
    loss = sum((y**3).sum() for y in results(specified(prepared, run(prepared))))
    first = torch.autograd.grad(loss, tensors, create_graph=True, materialize_grads=True)
    return [*first, *torch.autograd.grad(sum((g**2).sum() for g in first), tensors, materialize_grads=True)]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives_are_the_reference_loops(monkeypatch, cell, options):
    asked = problem(cell, units=2, requires_grad=True, **options)
    wanted = second_derivatives(asked, wanting(asked))
    engine = OpaqueEngine()
    monkeypatch.setattr(select, "ENGINES", (engine, REFERENCE))
    found = second_derivatives(asked, wanting(asked))
    assert len(engine.ran) == 1
    assert max(g.abs().max() for g in found[len(found) // 2 :]) > 1e-3
    close(found, wanted, atol=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives_are_those_of_the_first_ones(opaque, cell):
    # Against finite differences, in float64.
    asked = problem(cell, batch=2, time=3, units=2, requires_grad=True, mask=GAPS[:3, :2])
    assert torch.autograd.gradcheck(function_of(asked), wanting(asked), fast_mode=True)
    assert torch.autograd.gradgradcheck(function_of(asked), wanting(asked), fast_mode=True)
    assert opaque.ran


def one_tensor_in_two_places(asked):
    return dataclasses.replace(asked, state=(asked.state[0],) * len(asked.state))


def a_state_computed_from_the_inputs(asked):
    return dataclasses.replace(asked, state=tuple(asked.inputs[0] * h for h in asked.state))


def tied_kernels(asked):
    tied = dataclasses.replace(asked.recurrence, recurrent_kernel=asked.recurrence.kernel)
    return dataclasses.replace(asked, recurrence=tied)


@pytest.mark.parametrize("tie", [one_tensor_in_two_places, a_state_computed_from_the_inputs, tied_kernels])
@pytest.mark.parametrize("cell", CELLS)
def test_tensors_that_hang_together_are_not_counted_twice(monkeypatch, cell, tie):
    asked = problem(cell, time=3, features=3, units=3, requires_grad=True)
    tensors = wanting(asked)
    wanted = second_derivatives(asked, tensors, tie)
    monkeypatch.setattr(select, "ENGINES", (OpaqueEngine(), REFERENCE))
    close(second_derivatives(asked, tensors, tie), wanted, atol=1e-9)


def test_a_second_derivative_with_respect_to_some(opaque, monkeypatch):
    asked = problem("lstm")
    kernel = asked.recurrence.kernel.requires_grad_()
    found = second_derivatives(asked, [kernel])
    assert len(opaque.ran) == 1
    monkeypatch.setattr(select, "ENGINES", (REFERENCE,))
    close(found, second_derivatives(asked, [kernel]), atol=1e-10)


# -- transforms and forward mode --------------------------------------------------------------------------------------
# The engine says nothing against them; the house does. Were it asked, tangents would come out as zeros.


def directions(asked):
    return [torch.randn_like(t) for t in wanting(asked)]


def check_tangents(asked, found, tangents):
    """<g, J t> = <J' g, t>, with J' g from the oracle."""
    scanned = scan(asked)
    grads = cotangents(scanned)
    left = sum((g * t).sum() for g, t in zip(grads, found, strict=True))
    right = sum((g * t).sum() for g, t in zip(expected_gradients(asked, scanned), tangents, strict=True))
    assert left.detach().abs() > 1e-2
    torch.testing.assert_close(left.detach(), right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mask", [None, GAPS], ids=["no mask", "mask"])
@pytest.mark.parametrize("cell", CELLS)
def test_jvp_has_the_right_values(opaque, cell, mask):
    asked = problem(cell, requires_grad=True, mask=mask)
    tangents = directions(asked)
    values, found = torch.func.jvp(function_of(asked), tuple(t.detach() for t in wanting(asked)), tuple(tangents))
    close(values, expected(asked))
    check_tangents(asked, found, tangents)
    assert not opaque.ran


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_forward_mode_has_the_right_values(opaque, cell, graph):
    asked = problem(cell, requires_grad=True)
    tangents = directions(asked)
    with forward_ad.dual_level():
        duals = [
            forward_ad.make_dual(t if graph else t.detach(), d) for t, d in zip(wanting(asked), tangents, strict=True)
        ]
        found = [forward_ad.unpack_dual(y).tangent for y in function_of(asked)(*duals)]
    check_tangents(asked, found, tangents)
    assert not opaque.ran


@pytest.mark.parametrize("cell", CELLS)
def test_grad_and_jacrev_have_the_right_values(opaque, cell):
    asked = problem(cell, requires_grad=True, sequences=False)
    scanned = scan(asked)
    grads = cotangents(scanned)

    def loss(*tensors):
        return sum((g * y).sum() for g, y in zip(grads, function_of(asked)(*tensors), strict=True))

    tensors = [t.detach() for t in wanting(asked)]
    wanted = expected_gradients(asked, scanned)
    close(torch.func.grad(loss, tuple(range(len(tensors))))(*tensors), wanted, atol=1e-11)
    jacobian = torch.func.jacrev(lambda x: function_of(asked)(x, *tensors[1:]))(tensors[0])
    pulled = sum(torch.tensordot(g, j, dims=g.dim()) for g, j in zip(grads, jacobian, strict=True))
    close([pulled], [wanted[0]], atol=1e-11)
    assert not opaque.ran


@pytest.mark.parametrize("cell", CELLS)
def test_vmap_has_the_right_values(opaque, cell):
    asked = problem(cell, requires_grad=True)
    kernels = torch.stack([asked.recurrence.kernel.detach(), 2 * asked.recurrence.kernel.detach()])
    tensors = [t.detach() for t in wanting(asked)]
    position = 1 + len(asked.state)
    found = torch.func.vmap(lambda k: function_of(asked)(*tensors[:position], k, *tensors[position + 1 :]))(kernels)
    assert not opaque.ran
    for i, kernel in enumerate(kernels):
        one = dataclasses.replace(asked, recurrence=dataclasses.replace(asked.recurrence, kernel=kernel))
        close([y[i] for y in found], expected(one))


def test_hessian_vector_product_by_forward_over_reverse(opaque):
    asked = problem("gru", units=2, requires_grad=True)
    tensors = tuple(t.detach() for t in wanting(asked))
    tangents = tuple(directions(asked))

    def gradient(*tensors):
        return torch.func.grad(
            lambda *each: sum((y**3).sum() for y in function_of(asked)(*each)), tuple(range(len(tensors)))
        )(*tensors)

    _, found = torch.func.jvp(gradient, tensors, tangents)
    loss = sum((y**3).sum() for y in results(run(asked)))
    first = torch.autograd.grad(loss, wanting(asked), create_graph=True)
    wanted = torch.autograd.grad(first, wanting(asked), tangents)
    close(found, wanted, atol=1e-9)
    assert len(opaque.ran) == 1  # the reverse over reverse began with it


# -- nothing falls back unseen ----------------------------------------------------------------------------------------


class Broken(Exception):
    """An engine's own trouble."""


class FailsForward(OpaqueEngine):
    def forward(self, problem):
        raise Broken("no memory")


class FailsBackward(OpaqueEngine):
    def backward(self, saved, grads):
        raise Broken("no memory either")


@pytest.mark.parametrize("requires_grad", [False, True])
def test_what_an_engine_raises_forwards_is_raised(monkeypatch, requires_grad):
    monkeypatch.setattr(select, "ENGINES", (FailsForward(), REFERENCE))
    with pytest.raises(Broken, match=r"^no memory$"):
        run(problem("lstm", requires_grad=requires_grad))


def test_what_an_engine_raises_backwards_is_raised(monkeypatch):
    monkeypatch.setattr(select, "ENGINES", (FailsBackward(), REFERENCE))
    asked = problem("lstm", requires_grad=True)
    with pytest.raises(Broken, match=r"^no memory either$"):
        run(asked).last.sum().backward()
    assert all(t.grad is None for t in wanting(asked))


def test_an_engine_that_forgets_a_gradient_is_an_error(monkeypatch):
    class Forgets(OpaqueEngine):
        def backward(self, saved, grads):
            return super().backward(saved, grads)[:-1]

    monkeypatch.setattr(select, "ENGINES", (Forgets(), REFERENCE))
    with pytest.raises(ValueError, match="zip"):
        run(problem("lstm", requires_grad=True)).last.sum().backward()


# -- nests, and inputs that have no gradient --------------------------------------------------------------------------


@dataclasses.dataclass(eq=False)
class Counter(Recurrence):
    """Whole numbers as inputs and in the state: `h' = tanh(h + table[x])`, and how often the step was taken."""

    table: torch.Tensor

    def step(self, x, state):
        h = torch.tanh(state["h"] + self.table[x["token"]] * x["scale"])
        return [h, state["count"] + 1], {"h": h, "count": state["count"] + 1}


@pytest.mark.parametrize("engines", [(LoopEngine(), REFERENCE), (REFERENCE,)], ids=["loop", "reference"])
def test_nests_and_whole_numbers_through_an_engine(monkeypatch, engines):
    monkeypatch.setattr(select, "ENGINES", engines)
    table = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    h = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    tokens, scale = torch.tensor([[0, 1, 2], [3, 4, 0]]), torch.rand(2, 3, 1, dtype=torch.float64, requires_grad=True)
    state = {"h": h, "count": torch.zeros(3, 1, dtype=torch.int64)}
    scanned = run(Problem(Counter(table), {"token": tokens, "scale": scale}, state))
    assert scanned.state["count"].tolist() == [[2], [2], [2]]
    assert scanned.outputs[1].tolist() == [[[1]] * 3, [[2]] * 3]
    by_hand = torch.tanh(torch.tanh(h + table[tokens[0]] * scale[0]) + table[tokens[1]] * scale[1])
    close([scanned.last[0]], [by_hand], atol=1e-15)
    wanted = torch.autograd.grad((by_hand**2).sum(), [table, h, scale], create_graph=True)
    found = torch.autograd.grad((scanned.last[0] ** 2).sum(), [table, h, scale], create_graph=True)
    close(found, wanted, atol=1e-14)
    again = [torch.autograd.grad(sum((g**2).sum() for g in each), [table, h, scale]) for each in (found, wanted)]
    close(*again, atol=1e-13)
