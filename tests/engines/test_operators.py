"""The operators that compilers and exporters see: equal to the loop, sound, differentiable, and seen indeed."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from graphs import Seen
from opaque import OpaqueEngine
from ostinato import layers
from ostinato.engines import operators, select
from ostinato.engines.execute import execute
from ostinato.engines.flat import leaves, results
from ostinato.engines.reference import REFERENCE
from ostinato.recurrence import LSTM, Problem, Recurrence, Stack, scan
from problems import (
    CELLS,
    close,
    cotangents,
    equal,
    expected,
    expected_gradients,
    problem,
    value_and_gradients,
    wanting,
)

OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "reverse": {"reverse": True},
    "last only": {"sequences": False},
    "lengths": {"lengths": torch.tensor([0, 5, 2])},
    "lengths, last only": {"lengths": torch.tensor([4, 1, 2]), "sequences": False},
    "relu, hard_sigmoid": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
    "dropout": {"dropout": "shared"},
    "dropout for each gate": {"dropout": "gates", "recurrent_dropout": True},
    "recurrent dropout": {"recurrent_dropout": True},
    "one step": {"time": 1},
}


def asked_for(cell, options, **more):
    options = {**options, **more}
    if cell == "simple_rnn" and options.get("dropout") == "gates":
        options["dropout"] = "shared"
    return problem(cell, **options)


def arguments(asked):
    """What `operators.run` hands to the operator."""
    weights = [tensor for tensor in asked.recurrence.tensors() if tensor is not None]
    options = operators._options(asked.recurrence)
    return asked.inputs, list(asked.state), weights, asked.lengths, options, asked.reverse, asked.sequences, asked.cudnn


def operator(asked):
    return getattr(torch.ops.ostinato, asked.recurrence.name)


# -- the operators themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("cell", CELLS)
def test_values_and_gradients_are_the_oracles(cell, options):
    asked = asked_for(cell, options, requires_grad=True)
    assert operators.expresses(asked)
    values, gradients = value_and_gradients(asked, operators.run)
    close(values, expected(asked))
    close(gradients, expected_gradients(asked, scan(asked)), atol=1e-11)
    raw = operator(asked)(*arguments(asked))
    assert len(raw) == len(values)
    name = f"GeneratedBackwardFor_ostinato_{asked.recurrence.name}_defaultBackward"
    assert {type(y.grad_fn).__name__ for y in raw} == {name}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("cell", ["gru_v1", "lstm"])
def test_opcheck(cell, options):
    asked = asked_for(cell, options, requires_grad=True)
    found = torch.library.opcheck(operator(asked).default, arguments(asked))
    assert set(found.values()) == {"SUCCESS"}
    assert len(found) >= 4


@pytest.mark.parametrize("cell", CELLS)
def test_opcheck_of_the_backward_operator(cell):
    asked = problem(cell)
    backward = getattr(torch.ops.ostinato, f"{asked.recurrence.name}_backward").default
    checks = ("test_schema", "test_faketensor")
    found = torch.library.opcheck(backward, (cotangents(scan(asked)), *arguments(asked)), test_utils=checks)
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize("used", [0, 1, 2, 3])
def test_outputs_that_nobody_uses(used):
    asked = problem("lstm", requires_grad=True)
    grads = cotangents(scan(asked))
    pairs = []
    for way in (operators.run, scan):
        chosen = results(way(asked))[used]
        pairs.append(torch.autograd.grad(chosen, wanting(asked), grads[used], materialize_grads=True))
    close(*pairs, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives(cell):
    asked = problem(cell, units=2, requires_grad=True)

    def derivatives(way):
        first = torch.autograd.grad(sum((y**3).sum() for y in results(way(asked))), wanting(asked), create_graph=True)
        return [*first, *torch.autograd.grad(sum((g**2).sum() for g in first), wanting(asked))]

    close(derivatives(operators.run), derivatives(scan), atol=1e-9)


@pytest.mark.parametrize("time", [0, 1, 4])
@pytest.mark.parametrize("cell", CELLS)
def test_results_share_no_memory_with_anything(cell, time):
    asked = problem(cell, time=time)
    found = operator(asked)(*arguments(asked))
    tensors = [y for y in (*found, *leaves(asked)) if y is not None and y.numel()]
    assert len({y.untyped_storage().data_ptr() for y in tensors}) == len(tensors)
    close(found, results(scan(asked)), atol=1e-15)


def test_the_options_are_a_text_that_is_read_back():
    asked = problem("gru_v1", bias=False, dropout="gates", activation="relu")
    text = operators._options(asked.recurrence)
    assert text == (
        "activation=relu recurrent_activation=sigmoid reset_after=False bias=None dropout=3 recurrent_dropout=None"
    )
    again = operators._problem("gru", *arguments(asked))
    assert again.recurrence.options() == asked.recurrence.options()
    assert all(a is b for a, b in zip(again.recurrence.tensors(), asked.recurrence.tensors(), strict=True))


def test_what_has_no_operator():
    own = problem("lstm")
    own.recurrence = dataclasses.replace(own.recurrence, activation=torch.sin)
    assert not operators.expresses(own)
    assert not operators.expresses(dataclasses.replace(own, recurrence=Stack([problem("lstm").recurrence])))

    class Other(LSTM):
        """Called lstm, and something else."""

    other = Other(*problem("lstm").recurrence.tensors())
    assert not operators.expresses(dataclasses.replace(own, recurrence=other))


def test_operators_run_on_the_engine_of_the_spec(monkeypatch):
    engine = OpaqueEngine()
    monkeypatch.setattr(select, "ENGINES", (engine, REFERENCE))
    asked = problem("lstm", lengths=torch.tensor([2, 0, 5]), requires_grad=True)
    values, gradients = value_and_gradients(asked, operators.run)
    close(values, expected(asked))
    close(gradients, expected_gradients(asked, scan(asked)))
    assert len(engine.ran) == 2  # forwards, and again for the way back
    assert len(engine.given) == 1
    assert [spec.gradients for spec in engine.specs] == [False, True]


# -- torch.compile ----------------------------------------------------------------------------------------------------

LAYERS = {"simple_rnn": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}


@pytest.fixture(autouse=True)
def _forget_compiled():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def run_layer(layer, call, x, **kwargs):
    """Outputs, and gradients of the input and of the weights."""
    x = x.clone().requires_grad_()
    outputs = call(x, **kwargs)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    grads = torch.autograd.grad(sum((y**2).sum() for y in outputs), [x, *layer.trainable_weights])
    return [*(y.detach() for y in outputs), *grads]


MASK = torch.tensor([[False, True, True, False, True], [True, True, False, False, False]])

CALLS = {
    "plain": ({}, {}),
    "sequences and states": ({"return_sequences": True, "return_state": True}, {}),
    "backwards, masked": ({"go_backwards": True, "return_sequences": True}, {"mask": MASK}),
}


@pytest.mark.parametrize(("options", "kwargs"), CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("kind", LAYERS)
def test_a_compiled_layer_is_one_graph_with_its_operator(kind, options, kwargs):
    layer = LAYERS[kind](4, **options)
    x = torch.randn(2, 5, 3)
    wanted = run_layer(layer, layer, x, **kwargs)
    seen = Seen()
    found = run_layer(layer, torch.compile(layer, backend=seen, fullgraph=True), x, **kwargs)
    close(found, wanted, atol=1e-6)  # oneDNN rounds otherwise where it keeps what a backward needs
    assert len(seen.graphs) == 1
    assert seen.operators == [kind]


@pytest.mark.parametrize("kind", LAYERS)
def test_a_compiled_layer_with_a_compiled_backward(kind):
    # aot_eager traces the backward too, and so goes through the shape functions and the backward operator.
    layer = LAYERS[kind](4, return_sequences=True)
    x = torch.randn(2, 5, 3)
    wanted = run_layer(layer, layer, x, mask=MASK)
    found = run_layer(layer, torch.compile(layer, backend="aot_eager", fullgraph=True), x, mask=MASK)
    close(found, wanted, atol=1e-6)


def test_a_compiled_bidirectional_over_a_compiled_stack():
    cells = [layers.LSTMCell(4), layers.GRUCell(3)]
    model = torch.nn.Sequential(
        layers.Bidirectional(layers.LSTM(2, return_sequences=True)), layers.RNN(cells, return_sequences=True)
    )
    x = torch.randn(2, 5, 3)
    wanted = model(x).detach()
    seen = Seen()
    found = torch.compile(model, backend=seen, fullgraph=True)(x)
    close([found], [wanted], atol=1e-7)  # not equal: outside, both directions are one call of the engine
    assert seen.operators == ["lstm", "lstm", "lstm", "gru"]


NEVER_RAN = """
import torch
from ostinato import layers

graphs = []
layer = layers.LSTM(4)
layer.build((None, None, 3))
keep = lambda module, inputs: graphs.append(module) or module.forward
compiled = torch.compile(layer, backend=keep, fullgraph=True, dynamic=True)
for batch, time in ((5, 7), (6, 9), (11, 13), (7, 8)):
    x = torch.randn(batch, time, 3)
    print(torch.equal(compiled(x), layer(x)))
print(len(graphs))
"""


def test_a_layer_that_never_ran_is_compiled_once():
    # In a process of its own: what a first call finds out once must not be missing where the first call is a trace,
    # and what each call counts must not make a graph of its own for each.
    done = subprocess.run([sys.executable, "-c", NEVER_RAN], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.returncode) == (["True"] * 4 + ["1"], 0), done.stderr


@pytest.mark.parametrize("masked", [False, True])
def test_one_graph_for_any_batch_and_time(masked):
    kernel, recurrent_kernel, bias = problem("lstm").recurrence.tensors()[:3]

    def run(x, h, c, mask):
        recurrence = LSTM(kernel, recurrent_kernel, bias)
        found = execute([Problem(recurrence, x, (h, c), mask, reverse=True)])[0]
        return found.outputs, found.last, *found.state

    seen = Seen()
    compiled = torch.compile(run, backend=seen, fullgraph=True, dynamic=True)
    for batch, time in ((5, 7), (4, 6), (11, 13)):
        asked = problem("lstm", batch=batch, time=time)
        mask = torch.rand(time, batch) > 0.4 if masked else None
        equal(compiled(asked.inputs, *asked.state, mask), run(asked.inputs, *asked.state, mask))
    assert len(seen.graphs) == 1
    assert seen.operators == ["lstm"]


def test_an_activation_of_ones_own_is_compiled_as_the_loop():
    layer = layers.GRU(4, activation=torch.sin)
    x = torch.randn(2, 5, 3)
    wanted = run_layer(layer, layer, x, mask=MASK)
    seen = Seen()
    found = run_layer(layer, torch.compile(layer, backend=seen, fullgraph=True), x, mask=MASK)
    close(found, wanted, atol=1e-6)
    assert seen.operators == []


@dataclasses.dataclass(eq=False)
class Decay(Recurrence):
    """A recurrence of one's own, over nests."""

    rate: torch.Tensor

    def step(self, x, state):
        h = self.rate * state["h"] + x
        return [h], {"h": h}


def test_a_recurrence_of_ones_own_is_compiled_as_the_loop():
    rate, x = torch.tensor([0.5], dtype=torch.float64), torch.randn(5, 2, 1, dtype=torch.float64)

    def run(x, mask):
        found = execute([Problem(Decay(rate), x, {"h": torch.zeros_like(x[0])}, mask)])[0]
        return [*found.outputs, *found.last, found.state["h"]]

    seen = Seen()
    equal(torch.compile(run, backend=seen, fullgraph=True)(x, MASK.T), run(x, MASK.T))
    assert len(seen.graphs) == 1
    assert seen.operators == []


@pytest.mark.parametrize("cell", CELLS)
def test_a_compiled_jvp_has_the_right_values(cell):
    # The operator has no tangents: under a transform, compiled or not, it is the loop that runs.
    asked = problem(cell, requires_grad=True)
    tensors = asked.inputs.detach(), asked.recurrence.kernel.detach()
    tangents = tuple(torch.randn_like(t) for t in tensors)

    def of(inputs, kernel):
        recurrence = dataclasses.replace(asked.recurrence, kernel=kernel)
        found = execute([dataclasses.replace(asked, recurrence=recurrence, inputs=inputs)])[0]
        return found.outputs, found.last, *found.state

    seen = Seen()
    tangent = torch.compile(lambda a, b: torch.func.jvp(of, a, b)[1], backend=seen, fullgraph=True)
    found = tangent(tensors, tangents)
    assert seen.operators == []
    left = sum((g * t).sum() for g, t in zip(cotangents(scan(asked)), found, strict=True)).detach()
    gradients = expected_gradients(asked, scan(asked))
    pairs = zip((gradients[0], gradients[1 + len(asked.state)]), tangents, strict=True)
    assert left.abs() > 1e-2
    torch.testing.assert_close(left, sum((g * t).sum() for g, t in pairs), rtol=0, atol=1e-10)


def test_a_compiled_call_runs_on_the_engine_of_the_spec(monkeypatch):
    engine = OpaqueEngine()
    monkeypatch.setattr(select, "ENGINES", (engine, REFERENCE))
    layer = layers.LSTM(4)
    layer.build((None, None, 3))
    x = torch.randn(2, 5, 3)
    found = run_layer(layer, torch.compile(layer, backend="aot_eager", fullgraph=True), x)
    assert len(engine.given) == 1
    close(found, run_layer(layer, layer, x), atol=1e-6)


# -- torch.export -----------------------------------------------------------------------------------------------------


class Wrapped(torch.nn.Module):
    """A plain module around a layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, mask=None):
        return self.layer(x, mask=mask)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_an_exported_layer_is_its_operator_for_any_batch_and_time(kind, masked):
    layer = LAYERS[kind](4, return_sequences=True)
    layer.build((None, None, 3))
    module = Wrapped(layer)
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    given = (torch.randn(2, 5, 3), *((MASK,) if masked else ()))
    dynamic = {"x": {0: batch, 1: time}, "mask": {0: batch, 1: time} if masked else None}
    exported = torch.export.export(module, given, dynamic_shapes=dynamic if masked else {"x": dynamic["x"]})
    targets = [str(node.target) for node in exported.graph.nodes]
    assert targets.count(f"ostinato.{kind}.default") == 1
    for batch_size, steps in ((2, 5), (3, 7)):
        given = (torch.randn(batch_size, steps, 3), *((torch.rand(batch_size, steps) > 0.5,) if masked else ()))
        with torch.no_grad():
            equal([exported.module()(*given)], [module(*given)])
