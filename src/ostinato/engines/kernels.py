"""Problems in the terms of the native library: sizes, strides and addresses.

Its kernels read inputs and gradients in float32 as they lie in memory. What is computed here is the order of rows that
end early, and of a problem in bfloat16 its tensors in float32, and the results in bfloat16. In between states and gates
are float32; products are of bfloat16, summed in float32, where the processor has instructions for that.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.engines import library
from ostinato.engines.flat import leaves, with_leaves
from ostinato.engines.interface import CProblem, CSizes, address
from ostinato.recurrence.activations import activation_name
from ostinato.recurrence.base import Problem, Recurrence, Scanned
from ostinato.recurrence.gru import GRU
from ostinato.recurrence.lstm import LSTM
from ostinato.recurrence.simple_rnn import SimpleRNN


class Cell(NamedTuple):
    """The number of a cell in the interface, its gates, its states."""

    number: int
    gates: int
    states: int


CELLS: dict[type[Recurrence], Cell] = {LSTM: Cell(0, 4, 2), GRU: Cell(1, 3, 1), SimpleRNN: Cell(2, 1, 1)}
DTYPES = (torch.float32, torch.bfloat16)
ACTIVATIONS = {name: number for number, name in enumerate(("tanh", "sigmoid", "relu", "hard_sigmoid", "linear"))}


class Rows(NamedTuple):
    """Rows that end early, the longest first.

    order, back: `(batch,)`, which of the caller's rows each is, and the other way round; lengths: `(batch,)`; counts:
    `(time,)`, how many rows have that step; steps: how many there are in all.
    """

    order: Tensor
    back: Tensor
    lengths: Tensor
    counts: Tensor
    steps: int

    @classmethod
    def of(cls, lengths: Tensor, time: int) -> Rows:
        """Of lengths `(batch,)`.

        >>> rows = Rows.of(torch.tensor([1, 3, 0]), 3)
        >>> rows.order.tolist(), rows.counts.tolist(), rows.steps
        ([1, 0, 2], [2, 1, 1], 4)
        """
        ordered, order = lengths.to("cpu", torch.int64).sort(descending=True, stable=True)
        counts = (ordered > torch.arange(time, device="cpu")[:, None]).sum(1)
        return cls(order, order.argsort(), ordered, counts, int(ordered.sum()))


class Run(NamedTuple):
    """A problem that was begun.

    c: what the kernels are given. results: last, and the state, by row. kept: tensors that `c` has the addresses of,
    which must live as long as it does.
    """

    problem: Problem
    c: CProblem
    sizes: CSizes
    rows: Rows | None
    outputs: Tensor | None
    results: list[Tensor]
    kept: tuple[Tensor | None, ...]

    @classmethod
    def begun(cls, problem: Problem) -> Run:
        """With memory for its results. Raises ValueError for tensors that do not fit."""
        _check(problem)
        given = problem if problem.inputs.dtype is torch.float32 else _in_float32(problem)
        recurrence: Any = given.recurrence
        inputs = given.inputs.resolve_neg()
        shape = inputs.shape
        rows = None if problem.lengths is None else Rows.of(problem.lengths, shape[0])
        state = [_ordered(each, rows) for each in given.state]
        kernel, recurrent = _plain(recurrence.kernel), _plain(recurrence.recurrent_kernel)
        bias = None if recurrence.bias is None else _plain(recurrence.bias)
        masks = recurrence.dropout, recurrence.recurrent_dropout
        x_mask, h_mask = [None if each is None else _ordered(each, rows) for each in masks]
        units = recurrent.shape[0]
        outputs = _like_inputs(inputs, units, rows) if problem.sequences else None
        results = [torch.empty_like(each) for each in state]
        if rows is None:
            results.insert(0, results[0])  # every row has a step, so that its last output is its state
        else:
            results.insert(0, torch.empty_like(results[0]))
        plan = _planned(
            type(problem.recurrence),
            recurrence.activation,
            getattr(recurrence, "recurrent_activation", torch.sigmoid),
            getattr(recurrence, "reset_after", True),
            shape,
            inputs.stride(),
            units,
            None if rows is None else rows.steps,
            problem.reverse,
            problem.gradients,
            given is not problem,
            None if x_mask is None else x_mask.dim(),
            h_mask is not None,
            torch.get_num_threads(),
        )
        c, sizes = plan.c.copy(), plan.sizes
        saved = inputs.new_empty(sizes.saved) if problem.gradients else None
        c.x, c.saved, c.h0 = inputs.data_ptr(), address(saved), state[0].data_ptr()
        c.kernel, c.recurrent, c.bias = kernel.data_ptr(), recurrent.data_ptr(), address(bias)
        c.last, c.h_n = results[0].data_ptr(), results[1].data_ptr()
        if len(state) > 1:
            c.c0, c.c_n = state[1].data_ptr(), results[2].data_ptr()
        if bias is not None and bias.dim() == 2:
            c.recurrent_bias = bias[1].data_ptr()
        if x_mask is not None or h_mask is not None:
            c.x_mask, c.h_mask = address(x_mask), address(h_mask)
        if outputs is not None:
            c.outputs = outputs.data_ptr()
            c.y_time, c.y_batch, _ = outputs.stride()
        if rows is not None:
            c.order, c.lengths, c.counts = rows.order.data_ptr(), rows.lengths.data_ptr(), rows.counts.data_ptr()
        kept = (inputs, kernel, recurrent, bias, x_mask, h_mask, saved, *state)
        return cls(problem, c, sizes, rows, outputs, results, kept)

    def scanned(self) -> Scanned:
        """The result, once it is computed."""
        dtype, rows, outputs = self.problem.inputs.dtype, self.rows, self.outputs
        last, *state = self.results
        if dtype is not torch.float32 or rows is not None:
            last, *state = [_unordered(_to(each, dtype), rows) for each in self.results]
            outputs = None if outputs is None else _to(outputs, dtype)
        return Scanned(outputs, last, tuple(state))

    def for_backward(self) -> Run:
        """Without what only `forward` needs: the inputs, and the results."""
        return self._replace(outputs=None, results=[], kept=self.kept[1:])


class Gradients:
    """The gradients of a problem that was run, from those of its results: c, what the kernels are given for it."""

    def __init__(self, run: Run, grads: Sequence[Tensor | None]) -> None:
        problem, rows = run.problem, run.rows
        grads = [None if each is None else _to(each, torch.float32) for each in grads]
        d_outputs, d_last, d_h, *d_c = grads if problem.sequences else (None, *grads)
        if rows is not None and d_last is not None:
            d_last = torch.where((rows.lengths > 0)[rows.back][:, None], d_last, 0)  # of no step it is a constant
        if d_last is not None:
            d_h = d_last if d_h is None else d_h + d_last
        self.run = run
        self._states = [None if each is None else _ordered(each, rows) for each in (d_h, *d_c)]
        self._outputs = None if d_outputs is None else d_outputs.resolve_neg()
        self._make(problem, rows)
        self.c = self._described()

    def _make(self, problem: Problem, rows: Rows | None) -> None:
        """Memory for those that are wanted."""
        recurrence: Any = problem.recurrence
        inputs = problem.inputs
        self._inputs = _like_inputs(inputs, inputs.shape[2], rows) if inputs.requires_grad else None
        self._state = [_wanted(each) for each in problem.state]
        weights = recurrence.kernel, recurrence.recurrent_kernel, recurrence.bias
        self._kernel, self._recurrent, self._bias = (_wanted(each) for each in weights)

    def _described(self) -> CProblem:
        c = self.run.c.copy()
        c.keep = torch._C._autograd._get_current_graph_task_keep_graph()
        c.d_h = address(self._states[0])
        if self._outputs is not None:
            c.d_outputs = self._outputs.data_ptr()
            c.d_time, c.d_batch, c.d_unit = self._outputs.stride()
        if self._inputs is not None:
            c.d_x = self._inputs.data_ptr()
            c.dx_time, c.dx_batch, _ = self._inputs.stride()
        c.d_h0 = address(self._state[0])
        if len(self._state) > 1:
            c.d_c, c.d_c0 = address(self._states[1]), address(self._state[1])
        c.d_kernel, c.d_recurrent = address(self._kernel), address(self._recurrent)
        if self._bias is not None:
            c.d_bias = self._bias.data_ptr()
            if self._bias.dim() == 2:
                c.d_recurrent_bias = self._bias[1].data_ptr()
        return c

    def leaves(self) -> list[Tensor | None]:
        """Once they are computed, in the order of `leaves(problem)`; dropout masks, the last, have none."""
        state = (None if each is None else _unordered(each, self.run.rows) for each in self._state)
        dtype = self.run.problem.inputs.dtype
        found = (self._inputs, *state, self._kernel, self._recurrent, self._bias)
        return [*(None if each is None else _to(each, dtype) for each in found), None, None]


class _Scratch(threading.local):
    """Memory that kernels need while they run; each thread keeps its own from one run to the next."""

    memory: Tensor | None = None

    def of(self, floats: int) -> Tensor:
        """So many floats at least, of any value."""
        kept = self.memory
        if kept is not None and kept.numel() >= floats:
            return kept
        memory = torch.empty(floats, dtype=torch.float32, device="cpu")
        if floats <= _KEPT:
            self.memory = memory
        return memory


_KEPT = 1 << 24  # floats, 64 MB
_SCRATCH = _Scratch()


def scratch(floats: int) -> Tensor:
    """Memory that kernels need while they run, so many floats at least, of any value; each thread has its own."""
    return _SCRATCH.of(floats)


def _in_float32(problem: Problem) -> Problem:
    return with_leaves(problem, [None if each is None else each.float() for each in leaves(problem)])


def _to(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


def _wanted(tensor: Tensor | None) -> Tensor | None:
    """Memory for a tensor's gradient, if it wants one."""
    if tensor is None or not tensor.requires_grad:
        return None
    return tensor.new_empty(tensor.shape, dtype=torch.float32)


def _like_inputs(inputs: Tensor, width: int, rows: Rows | None) -> Tensor:
    """`(time, batch, width)`, with rows or steps side by side as the inputs have them; zeros if rows end early."""
    time, batch, _ = inputs.shape
    new = inputs.new_empty if rows is None else inputs.new_zeros
    if inputs.stride(0) < inputs.stride(1):
        return new((batch, time, width), dtype=torch.float32).transpose(0, 1)
    return new((time, batch, width), dtype=torch.float32)


def _ordered(tensor: Tensor, rows: Rows | None) -> Tensor:
    """`(..., batch, width)` by row, contiguous."""
    return _plain(tensor) if rows is None else _plain(tensor.index_select(-2, rows.order))


def _plain(tensor: Tensor) -> Tensor:
    """Contiguous, and its numbers are those in memory."""
    return tensor if tensor.is_contiguous() and not tensor.is_neg() else tensor.resolve_neg().contiguous()


def _unordered(tensor: Tensor, rows: Rows | None) -> Tensor:
    """`(batch, width)` as the caller has it."""
    return tensor if rows is None else tensor.index_select(0, rows.back)


class _Plan(NamedTuple):
    """A problem but for its addresses, and the memory that it needs. Shared: the problem is to be copied."""

    c: CProblem
    sizes: CSizes


@functools.lru_cache(maxsize=1024)
def _planned(
    kind: type[Recurrence],
    activation: Any,
    recurrent_activation: Any,
    reset_after: bool,
    shape: tuple[int, int, int],
    strides: tuple[int, int, int],
    units: int,
    steps: int | None,
    reverse: bool,
    training: bool,
    low: bool,
    x_mask: int | None,
    h_mask: bool,
    threads: int,
) -> _Plan:
    """Of a problem with inputs of this shape and these strides.

    steps: of all rows, None if none ends early; x_mask: the rank of the dropout mask of the inputs, None without one.
    """
    cell, gates, _ = CELLS[kind]
    time, batch, features = shape
    c = CProblem(
        cell=cell,
        activation=ACTIVATIONS[activation_name(activation)],
        recurrent_activation=ACTIVATIONS[activation_name(recurrent_activation)],
        time=time,
        batch=batch,
        features=features,
        units=units,
        steps=time * batch if steps is None else steps,
        threads=threads,
        reverse=reverse,
        training=training,
        padded=steps is not None,
        x_masks=0 if x_mask is None else gates if x_mask == 3 else 1,
        reset_before=not reset_after,
        low=low,
    )
    c.x_time, c.x_batch, c.x_feature = strides
    asked, sizes = c.copy(), CSizes()
    there = 1  # an address that is asked for, and not followed
    asked.x_mask, asked.h_mask = None if x_mask is None else there, there if h_mask else None
    library.functions().ostinato_sizes(ctypes.byref(asked), ctypes.byref(sizes))
    return _Plan(c, sizes)


def _check(problem: Problem) -> None:
    """Raise ValueError for tensors that do not fit: the kernels would read past their ends."""
    recurrence: Any = problem.recurrence
    _, gates, states = CELLS[type(recurrence)]
    inputs = problem.inputs
    dtype = inputs.dtype
    if inputs.dim() != 3 or dtype not in DTYPES or not inputs.is_cpu:
        raise ValueError(
            f"engine 'native': inputs must be (time, batch, features) in float32 or bfloat16 on cpu; got "
            f"{tuple(inputs.shape)} in {dtype} on {inputs.device.type}."
        )
    time, batch, features = inputs.shape
    units = recurrence.recurrent_kernel.shape[0]
    state, width = (batch, units), gates * units
    bias = (2, width) if type(recurrence) is GRU and recurrence.reset_after else (width,)
    given = [*problem.state, recurrence.kernel, recurrence.recurrent_kernel, recurrence.bias]
    wanted: list[tuple[int, ...]] = [*[state] * states, (features, width), (units, width), bias]
    for mask, size, shared in ((recurrence.dropout, features, True), (recurrence.recurrent_dropout, units, gates == 1)):
        if mask is not None:
            given.append(mask)
            wanted.append((batch, size) if shared and mask.dim() == 2 else (gates, batch, size))
    fits = len(given) == len(wanted)
    for x, shape in zip(given, wanted, strict=False):
        fits = fits and (x is None or (x.shape == shape and x.dtype is dtype and x.is_cpu))
    if not fits:
        found = [None if x is None else (tuple(x.shape), str(x.dtype), x.device.type) for x in given]
        raise ValueError(
            f"engine 'native': {type(recurrence).name} of {units} units over inputs {tuple(inputs.shape)} "
            f"takes state, kernel, recurrent kernel, bias and dropout masks in {str(dtype).removeprefix('torch.')} on "
            f"cpu, of shapes {wanted}; got {found}."
        )
    lengths = problem.lengths
    if lengths is not None and (
        tuple(lengths.shape) != (batch,) or not bool(((lengths >= 0) & (lengths <= time)).all())
    ):
        raise ValueError(
            f"engine 'native': lengths must be ({batch},), from 0 to {time}; got {tuple(lengths.shape)}: "
            f"{lengths.tolist()}."
        )
