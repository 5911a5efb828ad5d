"""Both halves of a Bidirectional through the one door: together where an engine takes them so, else one by one."""

import dataclasses

import pytest
import torch

from opaque import LoopEngine, OpaqueEngine
from ostinato import layers
from ostinato.engines import select
from ostinato.engines.execute import execute
from ostinato.engines.flat import results
from ostinato.engines.reference import REFERENCE
from ostinato.engines.select import observe
from ostinato.recurrence import Directions, Stack
from problems import CELLS, close, cotangents, expected, expected_gradients, halves, problem, specified, wanting

OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "last only": {"sequences": False},
    "mask": {"mask": torch.rand(5, 3, generator=torch.Generator().manual_seed(2)) < 0.5},
    "lengths": {"lengths": torch.tensor([0, 5, 2])},
    "dropout": {"dropout": "shared", "recurrent_dropout": True},
}


class Pairs(LoopEngine):
    """Takes two directions as one, and nothing else."""

    def __init__(self, name="pairs"):
        self.name, self.ran = name, []

    def refuses(self, spec):
        return [] if spec.kind is Directions else ["takes two directions as one"]

    def forward(self, problem):
        self.ran.append(problem)
        return super().forward(problem)


@pytest.fixture
def engines(monkeypatch):
    """Sets the engines, the reference last."""

    def use(*found):
        monkeypatch.setattr(select, "ENGINES", (*found, REFERENCE))
        return found

    return use


def check(forward, backward):
    """Values and gradients of both, by the oracle."""
    found = execute([forward, backward])
    values, grads, wanted = [], [], []
    for place, (asked, scanned) in enumerate(zip((forward, backward), found, strict=True)):
        scanned = specified(asked, scanned)
        close(results(scanned), expected(asked))
        values += results(scanned)
        grads += cotangents(scanned, seed=place)
        wanted.append(expected_gradients(asked, scanned, seed=place))
    tensors = [*wanting(forward), *wanting(backward)[1:]]
    close(
        torch.autograd.grad(values, tensors, grads),
        [wanted[0][0] + wanted[1][0], *wanted[0][1:], *wanted[1][1:]],
        atol=1e-10,
    )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("cell", CELLS)
def test_an_engine_that_takes_both_gets_one_problem(engines, cell, options):
    (pairs,) = engines(Pairs())
    check(*halves(cell, **options, requires_grad=True))
    (ran,) = pairs.ran
    assert type(ran.recurrence) is Directions
    assert ran.mask is None


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("cell", CELLS)
def test_else_each_half_gets_the_engine_that_it_would_get_alone(engines, cell, options):
    opaque, pairs = engines(OpaqueEngine(), Pairs())  # first the one that is the faster for each half
    with observe() as choices:
        check(*halves(cell, **options, requires_grad=True))
    assert len(opaque.ran) == 2
    assert pairs.ran == []
    assert [(choice.owner, choice.engine) for choice in choices] == [("forward", "opaque"), ("backward", "opaque")]


def test_a_half_that_would_be_faster_alone_parts_them(engines):
    grus, pairs = engines(OpaqueEngine("grus", ["gru"]), Pairs())
    forward, backward = halves("lstm")
    execute([forward, backward])
    assert len(pairs.ran) == 1
    execute([forward, dataclasses.replace(problem("gru", reverse=True), inputs=forward.inputs)])
    assert len(pairs.ran) == 1
    assert len(grus.ran) == 1


def test_the_loop_gains_nothing_by_it(engines):
    engines()
    with observe() as choices:
        check(*halves("lstm", requires_grad=True))
    assert [(choice.owner, choice.engine) for choice in choices] == [
        ("forward", "reference"),
        ("backward", "reference"),
    ]


@pytest.mark.parametrize(
    ("name", "specs"), [("pairs", ["directions"]), ("opaque", ["gru"] * 2), ("reference", ["gru"] * 2)]
)
def test_by_name(engines, name, specs):
    engines(OpaqueEngine(), Pairs())
    with select.use_engine(name), observe() as choices:
        execute(halves("gru"))
    assert [choice.spec.recurrence for choice in choices] == specs
    assert {choice.engine for choice in choices} == {name}


def test_problems_over_other_inputs_are_no_pair(engines):
    (pairs,) = engines(Pairs())
    forward, backward = halves("gru")
    for second in (
        dataclasses.replace(backward, inputs=forward.inputs.clone()),
        dataclasses.replace(backward, reverse=False),
    ):
        for asked, found in zip((forward, second), execute([forward, second]), strict=True):
            close(results(found), expected(asked))
    assert pairs.ran == []


def test_stacks_are_taken_cell_by_cell(engines):
    (pairs,) = engines(Pairs())
    forward, backward = halves("gru")
    stacked = [dataclasses.replace(p, recurrence=Stack([p.recurrence]), state=(p.state,)) for p in (forward, backward)]
    for asked, found in zip((forward, backward), execute(stacked), strict=True):
        close([found.outputs, found.last, *found.state[0]], expected(asked))
    assert pairs.ran == []


@pytest.mark.parametrize("sizes", [{"time": 0}, {"batch": 0}], ids=str)
def test_no_steps_and_no_samples_are_left_to_the_loop(engines, sizes):
    (pairs,) = engines(Pairs())
    for asked, found in zip(halves("lstm", **sizes), execute(halves("lstm", **sizes)), strict=True):
        close(results(found), expected(asked))
    assert pairs.ran == []


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_a_bidirectional_layer_is_a_pair(engines, masked, sequences, merge_mode):
    layer = layers.Bidirectional(
        layers.LSTM(4, return_sequences=sequences, return_state=True, dtype="float64"), merge_mode, dtype="float64"
    )
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    mask = torch.tensor([[False, True, True, False, True], [True, True, False, False, False]]) if masked else None
    engines()
    wanted = layer(x, mask=mask)
    (pairs,) = engines(Pairs())
    with observe() as choices:
        close(layer(x, mask=mask), wanted)
    assert len(pairs.ran) == 1
    assert choices[0].owner == f"{layer.forward_layer.name}, {layer.backward_layer.name}"


def test_second_derivatives_and_transforms_of_a_pair(engines):
    engines(Pairs())
    layer = layers.Bidirectional(layers.GRU(2, dtype="float64"), dtype="float64")
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    layer(x)
    assert torch.autograd.gradgradcheck(layer, x)
    tangent = torch.randn_like(x)
    forward = torch.func.jvp(layer, (x.detach(),), (tangent,))[1]
    close([forward.sum()], [(torch.autograd.grad(layer(x).sum(), x)[0] * tangent).sum()], atol=1e-12)
