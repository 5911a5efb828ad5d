"""An LSTM on a CPU: oneDNN's kernels, forwards and backwards, by the two operators that `torch.lstm` is made of there.

They are called by name, with no graph of autograd in between: a training step of the guide's size feels the difference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.engines.flat import leaves
from ostinato.engines.padded import Ends, at_ends, ends_of, holding_inputs, holding_kernel, in_order, to_full_time
from ostinato.recurrence.base import Problem, Recurrence, Scanned
from ostinato.recurrence.lstm import LSTM
from ostinato.recurrence.masks import turned

_KIND = 2  # of oneDNN's recurrences, an LSTM


class Run(NamedTuple):
    """A problem that was run: what the operator took and gave, all of it contiguous."""

    problem: Problem
    ends: Ends | None
    inputs: Tensor
    weights: tuple[Tensor, Tensor, Tensor, Tensor]
    state: tuple[Tensor, Tensor]
    results: tuple[Tensor, Tensor, Tensor]  # outputs, h, c
    workspace: Tensor

    def backward(self, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients for `leaves(problem)`, from those of its `results`."""
        asked = leaves(self.problem)
        if all(g is None for g in grads):
            return [None] * len(asked)
        outputs, h, c, h_unused = _of_operator(self, grads)
        options: tuple[Any, ...] = (False, _KIND, self.state[0].shape[1], 1, True, True, False, [], False)
        dx, d_kernel, d_recurrent, d_bias, _, dh, dc = torch.ops.aten.mkldnn_rnn_layer_backward(
            self.inputs, *self.weights, *self.state, *self.results, outputs, h, c, *options, self.workspace
        )
        features = self.problem.inputs.shape[2]
        ways: list[Callable[[], Tensor]] = [
            lambda: _of_inputs(self, dx),
            lambda: dh if h_unused is None else dh + h_unused,
            lambda: dc,
            lambda: d_kernel.t()[:features],
            lambda: d_recurrent.t(),
            lambda: d_bias,
        ]
        wanted = [x is not None and x.requires_grad for x in asked]
        # The operator gives float32 whatever the dtype. Dropout masks, the last of the leaves, have no gradient.
        dtype = self.inputs.dtype
        return [way().to(dtype) if want else None for way, want in zip_longest(ways, wanted)]


@functools.cache
def knows(kind: type[Recurrence], dtype: torch.dtype) -> bool:
    """Whether oneDNN is there and has this in this dtype; bfloat16 is not for every processor."""
    if kind is not LSTM or not torch.backends.mkldnn.is_available():
        return False
    return dtype is torch.float32 or (dtype is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def takes(problem: Problem) -> bool:
    """Whether oneDNN is switched on and runs this."""
    recurrence, inputs = problem.recurrence, problem.inputs
    if not inputs.is_cpu or not torch.backends.mkldnn.enabled or not knows(type(recurrence), inputs.dtype):
        return False
    masks = recurrence.dropout  # type: ignore[attr-defined]
    if (masks is not None and masks.requires_grad) or torch.is_autocast_enabled("cpu"):
        return False
    dtype = inputs.dtype
    return all(x is None or x.dtype is dtype for x in (*problem.state, *recurrence.tensors()))


@torch.no_grad()
def forward(problem: Problem) -> tuple[Scanned, Run | None]:
    """The result, and what its gradients need."""
    _check(problem)
    recurrence: Any = problem.recurrence
    kernel, bias, dropout = recurrence.kernel, recurrence.bias, recurrence.dropout
    ends = None if problem.lengths is None else ends_of(problem.lengths)
    inputs = in_order(problem, ends)
    if dropout is not None:
        inputs = inputs * dropout
    if ends is not None:
        inputs, kernel = holding_inputs(inputs, ends), holding_kernel(kernel)
    inputs = inputs.detach().contiguous()
    zeros = kernel.new_zeros(kernel.shape[1])
    weights = (
        kernel.t().contiguous(),
        recurrence.recurrent_kernel.t().contiguous(),
        zeros if bias is None else bias.detach().contiguous(),
        zeros,
    )
    h, c = (each.detach().contiguous() for each in problem.state)
    with torch.set_grad_enabled(problem.gradients):  # by which the operator knows whether to keep a workspace
        outputs, h_new, c_new, workspace = torch.mkldnn_rnn_layer(
            inputs, *weights, h, c, False, [], _KIND, h.shape[1], 1, True, False, False, problem.gradients
        )
    run = Run(problem, ends, inputs, weights, (h, c), (outputs, h_new, c_new), workspace)
    return _scanned(run), run if problem.gradients else None


def _check(problem: Problem) -> None:
    """Raise ValueError for tensors that do not fit: the operator would read past their ends."""
    recurrence: Any = problem.recurrence
    h, c = problem.state
    _, batch, features = problem.inputs.shape
    units = recurrence.recurrent_kernel.shape[0]
    state, gates = (batch, units), 4 * units
    bias = recurrence.bias
    fits = h.shape == state and c.shape == state and recurrence.recurrent_kernel.shape == (units, gates)
    if fits and recurrence.kernel.shape == (features, gates) and (bias is None or bias.shape == (gates,)):
        return
    given = [None if x is None else tuple(x.shape) for x in leaves(problem)[1:6]]
    raise ValueError(
        f"engine 'aten': an LSTM of {units} units over inputs {tuple(problem.inputs.shape)} takes h, c, kernel, "
        f"recurrent kernel, bias of shapes {[state, state, (features, gates), (units, gates), (gates,)]}, got {given}."
    )


def _scanned(run: Run) -> Scanned:
    outputs, *new = run.results
    last, state = (new[0], tuple(new)) if run.ends is None else at_ends(run.ends, outputs, tuple(new), run.state)
    return Scanned(to_full_time(outputs, run.problem.inputs.shape[0]) if run.problem.sequences else None, last, state)


def _of_operator(run: Run, grads: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """From the gradients of the problem's results to those of the operator's: outputs, h, c.

    Of rows that end early h is an output. The last that is returned is the gradient of h in rows that have no step.
    """
    outputs, last, h, c = grads if run.problem.sequences else (None, *grads)
    ends = run.ends
    if ends is None:
        return outputs, _sum(last, h), c, None
    shape = run.results[0].shape
    if outputs is None:
        outputs = run.inputs.new_zeros(shape)
    else:
        outputs = outputs[: shape[0]].masked_fill(ends.after[..., None], 0)
    at_end = _sum(last, h)
    if at_end is not None:
        outputs[ends.last] += torch.where(ends.used, at_end, 0)
    return outputs, None, c, None if h is None else torch.where(ends.used, 0, h)


def _of_inputs(run: Run, dx: Tensor) -> Tensor:
    """From the gradient of what the operator took to that of the problem's inputs."""
    problem, ends = run.problem, run.ends
    recurrence: Any = problem.recurrence
    if ends is not None:
        dx = dx[..., :-1]
    if recurrence.dropout is not None:
        dx = dx * recurrence.dropout
    if ends is None:
        return dx.flip(0) if problem.reverse else dx
    if problem.reverse:
        dx = turned(dx, ends.lengths).masked_fill(ends.after[..., None], 0)
    return to_full_time(dx, problem.inputs.shape[0])


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
