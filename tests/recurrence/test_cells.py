"""The loop over each cell against the oracle: values, gradients, options, edge sizes, strides, precision."""

import dataclasses

import pytest
import torch
from torch import Tensor

from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.recurrence import Problem, scan
from problems import (
    CELLS,
    ask_oracle,
    close,
    cotangents,
    equal,
    expected,
    expected_gradients,
    problem,
    value_and_gradients,
    wanting,
)

MASK = torch.tensor(
    [
        [False, True, True],
        [True, True, True],
        [False, False, True],
        [True, False, True],
        [False, False, True],
    ]
)

OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "reverse": {"reverse": True},
    "last only": {"sequences": False},
    "mask": {"mask": MASK},
    "mask, reverse": {"mask": MASK, "reverse": True},
    "mask, last only": {"mask": MASK, "sequences": False},
    "lengths": {"lengths": torch.tensor([0, 5, 2])},
    "relu, hard_sigmoid": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
    "linear, tanh": {"activation": "linear", "recurrent_activation": "tanh"},
    "sigmoid, relu": {"activation": "sigmoid", "recurrent_activation": "relu", "time": 2},
    "shared dropout": {"dropout": "shared"},
    "recurrent dropout": {"recurrent_dropout": True},
    "dropout for each gate": {"dropout": "gates", "recurrent_dropout": True},
    "dropout, mask, reverse, no bias": {
        "dropout": "shared",
        "recurrent_dropout": True,
        "mask": MASK,
        "reverse": True,
        "bias": False,
    },
    "one sample": {"batch": 1},
    "one step": {"time": 1},
    "one of everything": {"batch": 1, "time": 1, "features": 1, "units": 1},
    "primes": {"batch": 7, "time": 11, "features": 5, "units": 13},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("cell", CELLS)
def test_values_and_gradients_are_the_oracles(cell, options):
    options = dict(options)
    if cell == "simple_rnn" and options.get("dropout") == "gates":
        options["dropout"] = "shared"  # it has one gate
    asked = problem(cell, requires_grad=True, **options)
    values, gradients = value_and_gradients(asked, scan)
    close(values, expected(asked))
    close(gradients, expected_gradients(asked, scan(asked)), atol=1e-11)


@pytest.mark.parametrize("cell", CELLS)
def test_one_mask_for_all_gates_is_that_mask_for_each(cell):
    shared = problem(cell, dropout="shared")
    gates = shared.recurrence.kernel.shape[1] // shared.recurrence.recurrent_kernel.shape[1]
    mask = shared.recurrence.dropout
    each = dataclasses.replace(shared.recurrence, dropout=mask.expand(gates, *mask.shape))
    close(results(scan(dataclasses.replace(shared, recurrence=each))), results(scan(shared)))


@pytest.mark.parametrize("cell", CELLS)
def test_a_dropout_mask_is_held_over_time_and_gates_differ(cell):
    # Dropping feature 0 in every gate is the same as never feeding it; dropping it in one gate is not.
    plain = problem(cell, batch=2)
    gates = plain.recurrence.kernel.shape[1] // plain.recurrence.recurrent_kernel.shape[1]
    drop = torch.ones(gates, 2, 2, dtype=torch.float64)
    drop[:, :, 0] = 0
    without = plain.inputs.clone()
    without[..., 0] = 0
    dropped = dataclasses.replace(plain, recurrence=dataclasses.replace(plain.recurrence, dropout=drop))
    close(results(scan(dropped)), results(scan(dataclasses.replace(plain, inputs=without))))
    if gates > 1:
        drop[0, :, 0] = 1
        partly = dataclasses.replace(plain, recurrence=dataclasses.replace(plain.recurrence, dropout=drop))
        assert (scan(partly).last - scan(dropped).last).abs().max() > 1e-3
        close(results(scan(partly)), expected(partly))


@pytest.mark.parametrize("options", [{}, {"mask": MASK[:3, :2]}, {"bias": False, "reverse": True}], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_first_and_second_derivatives_are_right(cell, options):
    # In initial states too: they are among the tensors that want a gradient.
    asked = problem(cell, batch=2, time=3, units=2, requires_grad=True, **options)

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        rest = iter(tensors)
        return tuple(results(scan(with_leaves(asked, [None if t is None else next(rest) for t in leaves(asked)]))))

    assert len(wanting(asked)) == 3 + len(asked.state) + (options.get("bias") is not False)
    assert torch.autograd.gradcheck(run, wanting(asked), fast_mode=False)
    assert torch.autograd.gradgradcheck(run, wanting(asked), fast_mode=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_no_steps_give_the_initial_state_and_zeros(cell, reverse):
    asked = problem(cell, time=0, reverse=reverse)
    found = scan(asked)
    assert found.outputs.shape == (0, 3, 3)
    equal([found.last], [torch.zeros(3, 3, dtype=torch.float64)])
    equal(list(found.state), list(asked.state))
    assert scan(dataclasses.replace(asked, sequences=False)).outputs is None


@pytest.mark.parametrize("cell", CELLS)
def test_no_samples_give_empty_results(cell):
    found = scan(problem(cell, batch=0))
    assert found.outputs.shape == (5, 0, 3)
    assert found.last.shape == (0, 3)
    assert [h.shape for h in found.state] == [(0, 3)] * len(found.state)


def as_laid_out(problem: Problem, layout: str) -> Problem:
    """The same numbers in other memory."""
    x = problem.inputs
    if layout == "batch major":
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    elif layout == "every second":
        wide = torch.full((*x.shape[:2], 2 * x.shape[2]), float("nan"), dtype=x.dtype)
        wide[..., ::2] = x
        x = wide[..., ::2]
    elif layout == "expanded":
        x = x[:1].expand(x.shape)
    return dataclasses.replace(problem, inputs=x)


@pytest.mark.parametrize("layout", ["batch major", "every second", "expanded"])
@pytest.mark.parametrize("cell", CELLS)
def test_how_inputs_lie_in_memory_changes_nothing(cell, layout):
    asked = problem(cell, batch=3, time=5, features=3, dropout="shared")
    if layout == "expanded":
        asked.inputs = asked.inputs[:1].expand(asked.inputs.shape).contiguous()
    laid_out = as_laid_out(asked, layout)
    assert not laid_out.inputs.is_contiguous()
    # Not to the bit: a matrix product may take the rows in another order.
    close(results(scan(laid_out)), results(scan(asked)), atol=1e-15)


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
@pytest.mark.parametrize("cell", CELLS)
def test_nothing_it_is_given_is_written_to(cell, mask):
    asked = problem(cell, dropout="shared", recurrent_dropout=True, mask=mask)
    asked.state = (asked.state[0],) * len(asked.state)  # one tensor in two places
    tensors = [t for t in (*leaves(asked), mask) if t is not None]
    before = [(t._version, t.clone()) for t in tensors]
    scan(asked)
    assert [t._version for t in tensors] == [version for version, _ in before]
    equal(tensors, [values for _, values in before])


@pytest.mark.parametrize("cell", CELLS)
def test_one_tensor_in_two_places_counts_twice(cell):
    # h and c alike, or weights tied: what autograd must add up.
    asked = problem(cell, features=3, units=3, requires_grad=True)
    tied = dataclasses.replace(asked.recurrence, recurrent_kernel=asked.recurrence.kernel)
    asked = dataclasses.replace(asked, recurrence=tied, state=(asked.state[0],) * len(asked.state))
    scanned = scan(asked)
    found = torch.autograd.grad(results(scanned), [asked.state[0], tied.kernel], cotangents(scanned))
    separate = with_leaves(asked, [None if t is None else t.detach().requires_grad_() for t in leaves(asked)])
    by_place = expected_gradients(separate, scanned)
    states = len(asked.state)
    close(found, [sum(by_place[1 : 1 + states]), by_place[1 + states] + by_place[2 + states]])


@pytest.mark.parametrize("cell", CELLS)
def test_splitting_a_sequence_changes_nothing(cell):
    asked = problem(cell, time=7)
    first = scan(dataclasses.replace(asked, inputs=asked.inputs[:3]))
    second = scan(dataclasses.replace(asked, inputs=asked.inputs[3:], state=first.state))
    whole = scan(asked)
    close([torch.cat([first.outputs, second.outputs]), *second.state], [whole.outputs, *whole.state], atol=1e-15)


@pytest.mark.parametrize("cell", CELLS)
def test_reverse_is_flipping_the_input(cell):
    asked = problem(cell, reverse=True)
    flipped = dataclasses.replace(asked, inputs=asked.inputs.flip(0), reverse=False)
    close(results(scan(asked)), results(scan(flipped)), atol=1e-15)


@pytest.mark.parametrize("cell", CELLS)
def test_rows_do_not_see_each_other(cell):
    asked = problem(cell, batch=4)
    order = torch.tensor([2, 0, 3, 1])
    permuted = dataclasses.replace(asked, inputs=asked.inputs[:, order], state=tuple(h[order] for h in asked.state))
    whole = scan(asked)
    wanted = [whole.outputs[:, order], whole.last[order], *(h[order] for h in whole.state)]
    close(results(scan(permuted)), wanted, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_lower_precision_is_kept_and_near(cell, dtype):
    asked = problem(cell, time=9, dtype=dtype)
    found = results(scan(asked))
    assert {y.dtype for y in found} == {dtype}
    close(found, expected(asked), atol={torch.float32: 1e-6, torch.bfloat16: 0.1, torch.float16: 0.01}[dtype])


@pytest.mark.parametrize("recurrent_dropout", [False, True])
@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
@pytest.mark.parametrize("cell", CELLS)
def test_under_autocast_the_state_keeps_its_precision(cell, mask, recurrent_dropout):
    asked = problem(cell, dtype=torch.float32, mask=mask, recurrent_dropout=recurrent_dropout)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(scan(asked))
    assert {y.dtype for y in found} == {torch.float32}
    close(found, expected(asked), atol=0.1)
    difference = max((a - b).abs().max() for a, b in zip(found, results(scan(asked)), strict=True))
    assert difference > 1e-5  # the products were in lower precision indeed


def test_results_of_the_oracle_are_not_constant():
    # A comparison with an oracle that gave zeros for everything would prove nothing.
    for cell in CELLS:
        assert ask_oracle(problem(cell)).outputs.std() > 0.05
