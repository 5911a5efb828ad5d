"""Random problems for the tests of recurrences and engines, and what the oracle says of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import oracle
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.recurrence import GRU, LSTM, Problem, Scanned, SimpleRNN
from ostinato.recurrence.activations import KNOWN, activation_name

CELLS = {
    "simple_rnn": (SimpleRNN, {}),
    "gru": (GRU, {"reset_after": True}),
    "gru_v1": (GRU, {"reset_after": False}),
    "lstm": (LSTM, {}),
}
"""By name: the class and its options."""


def problem(
    cell: str,
    batch: int = 3,
    time: int = 5,
    features: int = 2,
    units: int = 3,
    *,
    bias: bool = True,
    dropout: str | None = None,
    recurrent_dropout: bool = False,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    dtype: torch.dtype = torch.float64,
    requires_grad: bool = False,
    seed: int = 0,
    **fields: Any,
) -> Problem:
    """A problem with weights, inputs and initial state drawn from a seed.

    Matrices are as large as initializers make them: with larger ones a recurrence is chaotic, and what differs by a
    rounding at one step differs by anything a few steps later.

    dropout: None, "shared" (one mask for all gates) or "gates" (one for each); fields: of the Problem.
    """
    draw = np.random.default_rng(seed)
    cls, options = CELLS[cell]
    kind = cls.name
    gates = oracle.GATES[kind]

    def normal(*shape: int) -> Tensor:
        return torch.tensor(draw.normal(size=shape), dtype=dtype).requires_grad_(requires_grad)

    def matrix(rows: int, columns: int) -> Tensor:
        values = draw.normal(size=(rows, columns)) / np.sqrt(max(rows, 1))
        return torch.tensor(values, dtype=dtype).requires_grad_(requires_grad)

    def kept(*shape: int) -> Tensor:
        return torch.tensor((draw.random(shape) < 0.7) / 0.7, dtype=dtype)

    lead = (gates, batch) if dropout == "gates" else (batch,)
    recurrent_lead = (gates, batch) if gates > 1 else (batch,)
    if kind != "simple_rnn":
        options = {**options, "recurrent_activation": KNOWN[recurrent_activation]}
    twice = kind == "gru" and options["reset_after"]
    recurrence = cls(
        matrix(features, gates * units),
        matrix(units, gates * units),
        (normal(2, gates * units) if twice else normal(gates * units)) if bias else None,
        kept(*lead, features) if dropout else None,
        kept(*recurrent_lead, units) if recurrent_dropout else None,
        activation=KNOWN[activation],
        **options,
    )
    state = tuple(normal(batch, units) for _ in range(2 if kind == "lstm" else 1))
    return Problem(recurrence, normal(time, batch, features), state, **fields)


def in_dtype(asked: Problem, dtype: torch.dtype) -> Problem:
    """The same problem over copies in another dtype; they want the gradients that the tensors want."""
    copies = [None if t is None else t.detach().to(dtype, copy=True) for t in leaves(asked)]
    for copy, tensor in zip(copies, leaves(asked), strict=True):
        if copy is not None and tensor is not None:
            copy.requires_grad_(tensor.requires_grad)
    return with_leaves(asked, copies)


def halves(cell: str, **options: Any) -> tuple[Problem, Problem]:
    """Two problems over the very same inputs, one from each end, as a Bidirectional makes them."""
    forward = problem(cell, owner="forward", **options)
    backward = problem(cell, owner="backward", **{**options, "seed": options.get("seed", 0) + 1, "reverse": True})
    return forward, dataclasses.replace(backward, inputs=forward.inputs)


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().to("cpu", torch.float64).numpy().copy()


def oracle_cell(recurrence: Any) -> oracle.Cell:
    """The oracle's cell with the weights and options of a recurrence."""
    squash = getattr(recurrence, "recurrent_activation", torch.sigmoid)
    return oracle.Cell(
        type(recurrence).name,
        *(_array(tensor) for tensor in recurrence.tensors()),
        activation=activation_name(recurrence.activation),
        recurrent_activation=activation_name(squash),
        reset_after=getattr(recurrence, "reset_after", True),
    )


def ask_oracle(problem: Problem) -> oracle.Result:
    """The oracle's result, batch first."""
    mask, inputs, reverse = _array(problem.mask), _array(problem.inputs), problem.reverse
    if problem.lengths is not None and problem.mask is None:
        mask = ~_after_lengths(problem)
        inputs, reverse = _turned(problem, inputs), False
    return oracle.run(
        oracle_cell(problem.recurrence),
        inputs.swapaxes(0, 1),
        [_array(h) for h in problem.state],
        None if mask is None else mask.T.astype(bool),
        reverse,
    )


def _after_lengths(problem: Problem) -> np.ndarray:
    """`(time, batch)`, where the output is unspecified: after a row's length, unless a mask says what stands there."""
    time, batch = problem.inputs.shape[:2]
    if problem.lengths is None or problem.mask is not None:
        return np.zeros((time, batch), dtype=bool)
    return np.arange(time)[:, None] >= problem.lengths.numpy()


def _turned(problem: Problem, array: np.ndarray) -> np.ndarray:
    """The used steps of each row in the order in which a problem with lengths takes them."""
    array = array.copy()
    for row, length in enumerate(problem.lengths.tolist() if problem.reverse and problem.lengths is not None else ()):
        array[:length, row] = array[:length, row][::-1]
    return array


def specified(problem: Problem, scanned: Scanned) -> Scanned:
    """A result with zeros for the outputs that are unspecified."""
    if scanned.outputs is None or problem.lengths is None:
        return scanned
    outputs, after = scanned.outputs, torch.from_numpy(_after_lengths(problem))
    after = after.reshape(after.shape + (1,) * (outputs.dim() - 2))
    return dataclasses.replace(scanned, outputs=outputs.masked_fill(after, 0))


def ask_oracle_for_gradients(problem: Problem, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The oracle's gradients for `leaves(problem)`, from those of `results`; None for dropout masks."""
    result = ask_oracle(problem)
    rest = iter(grads)
    d_outputs = next(rest) if problem.sequences else None
    d_last, *d_states = rest
    compacted = problem.lengths is not None and problem.mask is None
    inputs = _turned(problem, _array(problem.inputs)) if compacted else _array(problem.inputs)
    if d_outputs is not None:
        d_outputs = d_outputs.masked_fill(torch.from_numpy(_after_lengths(problem))[..., None], 0)
    found = oracle.gradients(
        oracle_cell(problem.recurrence),
        result,
        inputs.swapaxes(0, 1),
        [_array(h) for h in problem.state],
        np.zeros_like(result.outputs) if d_outputs is None else _array(d_outputs).swapaxes(0, 1),
        np.zeros_like(result.last) if d_last is None else _array(d_last),
        [np.zeros_like(h) if d is None else _array(d) for h, d in zip(result.states, d_states, strict=True)],
        problem.reverse and not compacted,
    )
    d_inputs = found.inputs.swapaxes(0, 1)
    d_inputs = _turned(problem, d_inputs) if compacted else d_inputs
    arrays = [d_inputs, *found.states, found.kernel, found.recurrent_kernel, found.bias, None, None]
    return [
        None if array is None else torch.tensor(array).to(like)
        for array, like in zip(arrays, leaves(problem), strict=True)
    ]


def expected(problem: Problem) -> list[Tensor]:
    """What the oracle says of a problem, in the order of `results`, in float64; zeros for what is unspecified."""
    found = ask_oracle(problem)
    outputs = [found.outputs.swapaxes(0, 1).copy()] if problem.sequences else []
    for each in outputs:
        each[_after_lengths(problem)] = 0
    return [torch.tensor(array) for array in (*outputs, found.last, *found.states)]


def wanting(problem: Problem) -> list[Tensor]:
    """The tensors of a problem that want a gradient."""
    return [tensor for tensor in leaves(problem) if tensor is not None and tensor.requires_grad]


def cotangents(scanned: Scanned, seed: int = 1) -> list[Tensor]:
    """Random gradients for every result."""
    draw = np.random.default_rng(seed)
    return [torch.tensor(draw.normal(size=y.shape), dtype=y.dtype) for y in results(scanned)]


def value_and_gradients(problem: Problem, run: Any, seed: int = 1) -> tuple[list[Tensor], list[Tensor]]:
    """Results of `run(problem)`, and the gradients of `wanting(problem)` for random gradients of all results."""
    scanned = specified(problem, run(problem))
    found = results(scanned)
    pairs = [(y, g) for y, g in zip(found, cotangents(scanned, seed), strict=True) if y.requires_grad]
    grads = torch.autograd.grad([y for y, _ in pairs], wanting(problem), [g for _, g in pairs], materialize_grads=True)
    return [y.detach() for y in found], list(grads)


def expected_gradients(problem: Problem, scanned: Scanned, seed: int = 1) -> list[Tensor]:
    """What the oracle says of `value_and_gradients`."""
    found = ask_oracle_for_gradients(problem, cotangents(scanned, seed))
    pairs = zip(found, leaves(problem), strict=True)
    return [g for g, tensor in pairs if g is not None and tensor is not None and tensor.requires_grad]


def all_masks(time: int) -> Tensor:
    """Every mask of `time` steps, each a row of one batch: `(time, 2 ** time)` bool."""
    rows = list(itertools.product([False, True], repeat=time))
    return torch.tensor(rows, dtype=torch.bool).reshape(2**time, time).T


def close(found: Sequence[Tensor], wanted: Sequence[Tensor], atol: float = 1e-12) -> None:
    """Assert that two lists of tensors agree, in shape and to an absolute error."""
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.detach().to(torch.float64), b.detach().to(torch.float64), rtol=0, atol=atol)


def equal(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    """Assert that two lists of tensors agree bit by bit."""
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b), (a, b)
