"""What an engine may decide on: facts that hash, no value, no batch, no time."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.autograd import forward_ad

from ostinato.recurrence.base import Problem, Recurrence
from ostinato.recurrence.nests import flatten


class Spec(NamedTuple):
    """The facts of a problem.

    kind: the recurrence's class; options: its `options()`; widths: the shape of one step of each input and of each
    state, without batch; lengths: rows end at lengths of their own; gradients: autograd records; transformed: a
    `torch.func` transform or forward-mode AD is active, under which only operations that torch itself differentiates
    are right.
    """

    kind: type[Recurrence]
    options: tuple[Any, ...]
    widths: tuple[tuple[int, ...], ...]
    dtype: torch.dtype
    device: str
    lengths: bool
    reverse: bool
    sequences: bool
    gradients: bool
    transformed: bool

    @property
    def recurrence(self) -> str:
        """The recurrence's name."""
        return self.kind.name

    @property
    def facts(self) -> dict[str, Any]:
        """The recurrence's options by name: activations by name, of each optional tensor its rank or None."""
        return self.kind.facts(self.options)

    def __str__(self) -> str:
        """In words, for messages: `lstm float32 on cpu, inference`."""
        what = [f"{self.recurrence} {str(self.dtype).removeprefix('torch.')} on {self.device}"]
        what += ["lengths"] * self.lengths + ["reverse"] * self.reverse
        what += ["with gradients" if self.gradients else "inference"]
        what += ["under a torch.func transform or forward-mode AD"] * self.transformed
        return ", ".join(what)


def transformed() -> bool:
    """Whether a functorch interpreter is on the stack, or a level of forward-mode AD is entered."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def gradients(problem: Problem) -> bool:
    """Whether autograd would record a run of the problem."""
    if not torch.is_grad_enabled():
        return False
    for tensor in problem.recurrence.tensors():
        if tensor is not None and tensor.requires_grad:
            return True
    leaves = flatten((problem.inputs, problem.state))
    return any(leaf.requires_grad for leaf in leaves)


def spec_of(problem: Problem) -> Spec:
    """The facts of a problem whose mask has been compacted."""
    inputs, recurrence = problem.inputs, problem.recurrence
    if isinstance(inputs, torch.Tensor):
        first = inputs
        widths = [inputs.shape[2:]]
    else:
        leaves = flatten(inputs)
        first = leaves[0]
        widths = [x.shape[2:] for x in leaves]
    widths += [h.shape[1:] for h in flatten(problem.state)]
    return Spec(
        type(recurrence),
        recurrence.options(),
        tuple(widths),
        first.dtype,
        "cpu" if first.is_cpu else first.device.type,
        problem.lengths is not None,
        problem.reverse,
        problem.sequences,
        gradients(problem),
        transformed(),
    )
