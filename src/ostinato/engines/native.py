"""The library's own kernels for a CPU: LSTM, GRU and SimpleRNN, forwards and backwards. Their sources are in `native/`.

Here a problem becomes what their C interface takes: sizes, strides and addresses. They read inputs as they lie in
memory; nothing is computed here but the order of rows that end early.
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
from ostinato.engines.flat import leaves
from ostinato.engines.interface import CProblem, CSizes, address
from ostinato.engines.spec import Spec
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


_CELLS: dict[type[Recurrence], Cell] = {LSTM: Cell(0, 4, 2), GRU: Cell(1, 3, 1), SimpleRNN: Cell(2, 1, 1)}
_ACTIVATIONS = {name: number for number, name in enumerate(("tanh", "sigmoid", "relu", "hard_sigmoid", "linear"))}


class NativeEngine:
    """Runs the kernels in the native library."""

    name = "native"
    differentiable = False
    runs_cudnn = False

    def refuses(self, spec: Spec) -> list[str]:
        reasons = []
        absent = library.absent()
        if absent is not None:
            reasons.append(absent)
        if spec.device != "cpu":
            reasons.append(f"runs on cpu, not on {spec.device}")
        if spec.dtype is not torch.float32:
            reasons.append("takes float32")
        if spec.autocast is not None:
            reasons.append("would compute in float32, not in the lower precision of torch.autocast")
        if spec.learned_masks:
            reasons.append("gives no gradients for dropout masks")
        if spec.kind not in _CELLS:
            return [*reasons, f"takes lstm, gru and simple_rnn, not {spec.recurrence}"]
        facts = spec.facts
        for name in ("activation", "recurrent_activation"):
            if facts.get(name, "tanh") not in _ACTIVATIONS:
                *others, last = _ACTIVATIONS
                reasons.append(f"takes {name} {', '.join(others)} or {last}, not {facts[name]}")
        return reasons

    def forward(self, problem: Problem) -> tuple[Scanned, Run | None]:
        run = _begun(problem)
        _called(library.functions().ostinato_forward, run.c, _sizes_for(run.c).forward)
        return run.scanned(), run if problem.gradients else None

    def backward(self, saved: Run, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        return saved.backward(grads)


NATIVE = NativeEngine()


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
    """A problem in the kernels' terms.

    c: what they are given. results: outputs or None, last, and the state, by row. kept: tensors that `c` has the
    addresses of, which must live as long as it does.
    """

    problem: Problem
    c: CProblem
    rows: Rows | None
    outputs: Tensor | None
    results: tuple[Tensor, ...]
    kept: tuple[Tensor | None, ...]

    def scanned(self) -> Scanned:
        """The result, once it is computed."""
        last, *state = (_unordered(each, self.rows) for each in self.results)
        return Scanned(self.outputs, last, tuple(state))

    def backward(self, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients for `leaves(problem)`, from those of its results."""
        problem, rows = self.problem, self.rows
        if all(g is None for g in grads):
            return [None] * len(leaves(problem))
        d_outputs, d_last, d_h, *d_c = grads if problem.sequences else (None, *grads)
        if rows is not None and d_last is not None:
            d_last = torch.where((rows.lengths > 0)[rows.back][:, None], d_last, 0)  # of no step it is a constant
        if d_last is not None:
            d_h = d_last if d_h is None else d_h + d_last
        states = [_ordered(each, rows) for each in (d_h, *d_c)]
        found = _Gradients(problem, rows)
        c = self.c.copy()
        c.keep = torch._C._autograd._get_current_graph_task_keep_graph()
        c.d_h = address(states[0])
        c.d_c = address(states[1]) if len(states) > 1 else None
        if d_outputs is not None:
            c.d_outputs = d_outputs.data_ptr()
            c.d_time, c.d_batch, c.d_unit = d_outputs.stride()
        found.enter(c)
        _called(library.functions().ostinato_backward, c, _sizes_for(c).backward)
        return found.leaves(rows)


class _Gradients:
    """Memory for the gradients that are wanted."""

    def __init__(self, problem: Problem, rows: Rows | None) -> None:
        recurrence: Any = problem.recurrence
        inputs = problem.inputs
        self.inputs = _like_inputs(inputs, inputs.shape[2], rows) if inputs.requires_grad else None
        self.state = [self._like(each) for each in problem.state]
        weights = recurrence.kernel, recurrence.recurrent_kernel, recurrence.bias
        self.kernel, self.recurrent, self.bias = (self._like(each) for each in weights)

    @staticmethod
    def _like(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or not tensor.requires_grad:
            return None
        return tensor.new_empty(tensor.shape)

    def enter(self, c: CProblem) -> None:
        """Tell the kernels where to write."""
        if self.inputs is not None:
            c.d_x = self.inputs.data_ptr()
            c.dx_time, c.dx_batch, _ = self.inputs.stride()
        c.d_h0 = address(self.state[0])
        c.d_c0 = address(self.state[1]) if len(self.state) > 1 else None
        c.d_kernel, c.d_recurrent = address(self.kernel), address(self.recurrent)
        if self.bias is not None:
            c.d_bias = self.bias.data_ptr()
            if self.bias.dim() == 2:
                c.d_recurrent_bias = self.bias[1].data_ptr()

    def leaves(self, rows: Rows | None) -> list[Tensor | None]:
        """In the order of `leaves(problem)`; dropout masks, the last, have none."""
        state = (None if each is None else _unordered(each, rows) for each in self.state)
        return [self.inputs, *state, self.kernel, self.recurrent, self.bias, None, None]


def _begun(problem: Problem) -> Run:
    """A problem with memory for its results. Raises ValueError for tensors that do not fit."""
    _check(problem)
    recurrence: Any = problem.recurrence
    inputs: Tensor = problem.inputs
    time, batch, features = inputs.shape
    rows = None if problem.lengths is None else Rows.of(problem.lengths, time)
    state = [_ordered(each, rows) for each in problem.state]
    kernel, recurrent = recurrence.kernel.contiguous(), recurrence.recurrent_kernel.contiguous()
    bias = None if recurrence.bias is None else recurrence.bias.contiguous()
    x_mask, h_mask = _ordered(recurrence.dropout, rows), _ordered(recurrence.recurrent_dropout, rows)
    units = recurrent.shape[0]
    outputs = _like_inputs(inputs, units, rows) if problem.sequences else None
    results = tuple(inputs.new_empty((batch, units)) for _ in range(1 + len(state)))
    c = CProblem(
        cell=_CELLS[type(recurrence)].number,
        activation=_ACTIVATIONS[activation_name(recurrence.activation)],
        recurrent_activation=_ACTIVATIONS[activation_name(getattr(recurrence, "recurrent_activation", torch.sigmoid))],
        time=time,
        batch=batch,
        features=features,
        units=units,
        steps=time * batch,
        threads=torch.get_num_threads(),
        reverse=problem.reverse,
        training=problem.gradients,
        x=inputs.data_ptr(),
        h0=address(state[0]),
        kernel=kernel.data_ptr(),
        recurrent=recurrent.data_ptr(),
        bias=address(bias),
        x_mask=address(x_mask),
        h_mask=address(h_mask),
        x_masks=0 if x_mask is None else x_mask.shape[0] if x_mask.dim() == 3 else 1,
        outputs=address(outputs),
        last=results[0].data_ptr(),
        h_n=results[1].data_ptr(),
        reset_before=not getattr(recurrence, "reset_after", True),
    )
    c.x_time, c.x_batch, c.x_feature = inputs.stride()
    if outputs is not None:
        c.y_time, c.y_batch, _ = outputs.stride()
    if bias is not None and bias.dim() == 2:
        c.recurrent_bias = bias[1].data_ptr()
    if len(state) > 1:
        c.c0, c.c_n = address(state[1]), results[2].data_ptr()
    if rows is not None:
        c.padded, c.steps = 1, rows.steps
        c.order, c.lengths, c.counts = rows.order.data_ptr(), rows.lengths.data_ptr(), rows.counts.data_ptr()
    saved = inputs.new_empty(_sizes_for(c).saved)
    c.saved = saved.data_ptr()
    return Run(problem, c, rows, outputs, results, (kernel, recurrent, bias, x_mask, h_mask, saved, *state))


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


def _called(function: Any, c: CProblem, floats: int) -> None:
    """Call a kernel, with memory of its own."""
    scratch = _SCRATCH.of(floats)
    c.scratch = scratch.data_ptr()
    function(ctypes.byref(c))


def _like_inputs(inputs: Tensor, width: int, rows: Rows | None) -> Tensor:
    """`(time, batch, width)`, with rows or steps side by side as the inputs have them; zeros if rows end early."""
    time, batch, _ = inputs.shape
    new = inputs.new_empty if rows is None else inputs.new_zeros
    if inputs.stride(0) < inputs.stride(1):
        return new((batch, time, width)).transpose(0, 1)
    return new((time, batch, width))


def _ordered(tensor: Tensor | None, rows: Rows | None) -> Tensor | None:
    """`(..., batch, width)` by row, contiguous."""
    if tensor is None:
        return None
    return tensor.contiguous() if rows is None else tensor.index_select(-2, rows.order)


def _unordered(tensor: Tensor, rows: Rows | None) -> Tensor:
    """`(batch, width)` as the caller has it."""
    return tensor if rows is None else tensor.index_select(0, rows.back)


def _sizes_for(c: CProblem) -> CSizes:
    masks, every = (c.x_masks, c.h_mask is not None), (c.outputs is not None, c.d_x is not None)
    return _sizes(
        c.cell,
        c.reset_before,
        c.time,
        c.batch,
        c.features,
        c.units,
        c.steps,
        c.threads,
        c.training,
        c.padded,
        masks,
        every,
    )


@functools.lru_cache(maxsize=1024)
def _sizes(
    cell: int,
    reset_before: int,
    time: int,
    batch: int,
    features: int,
    units: int,
    steps: int,
    threads: int,
    training: int,
    padded: int,
    masks: tuple[int, bool],
    every: tuple[bool, bool],
) -> CSizes:
    """The memory that a problem needs; no address is followed, only asked for."""
    there = 1
    c = CProblem(cell, 0, 0, time, batch, features, units, steps, threads, 0, training, padded)
    c.reset_before = reset_before
    c.x_masks, c.x_mask, c.h_mask = masks[0], there if masks[0] else None, there if masks[1] else None
    c.outputs, c.d_x = there if every[0] else None, there if every[1] else None
    sizes = CSizes()
    library.functions().ostinato_sizes(ctypes.byref(c), ctypes.byref(sizes))
    return sizes


def _check(problem: Problem) -> None:
    """Raise ValueError for tensors that do not fit: the kernels would read past their ends."""
    recurrence: Any = problem.recurrence
    _, gates, states = _CELLS[type(recurrence)]
    time, batch, features = problem.inputs.shape
    units = recurrence.recurrent_kernel.shape[0]
    state, width = (batch, units), gates * units
    bias = (2, width) if type(recurrence) is GRU and recurrence.reset_after else (width,)
    given = [*problem.state, recurrence.kernel, recurrence.recurrent_kernel, recurrence.bias]
    wanted: list[tuple[int, ...]] = [*[state] * states, (features, width), (units, width), bias]
    for mask, size in ((recurrence.dropout, features), (recurrence.recurrent_dropout, units)):
        if mask is not None:
            given.append(mask)
            whole = (batch, size) if mask.dim() == 2 else (gates, batch, size)
            wanted.append(whole)
    fits = len(given) == len(wanted) and all(
        x is None or (x.shape == shape and x.dtype is torch.float32 and x.is_cpu)
        for x, shape in zip(given, wanted, strict=True)
    )
    if not fits:
        found = [None if x is None else (tuple(x.shape), str(x.dtype), x.device.type) for x in given]
        raise ValueError(
            f"engine 'native': {type(recurrence).name} of {units} units over inputs {tuple(problem.inputs.shape)} "
            f"takes state, kernel, recurrent kernel, bias and dropout masks in float32 on cpu, of shapes {wanted}; got "
            f"{found}."
        )
    lengths = problem.lengths
    if lengths is not None and (
        tuple(lengths.shape) != (batch,) or not bool(((lengths >= 0) & (lengths <= time)).all())
    ):
        raise ValueError(
            f"engine 'native': lengths must be ({batch},), from 0 to {time}; got {tuple(lengths.shape)}: "
            f"{lengths.tolist()}."
        )
