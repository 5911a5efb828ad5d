"""What an engine may decide on: facts that hash, no value, no batch, no time."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.autograd import forward_ad

from ostinato.recurrence.base import Problem, Recurrence
from ostinato.recurrence.directions import Directions
from ostinato.recurrence.nests import flatten


class Spec(NamedTuple):
    """The facts of a problem.

    kind: the recurrence's class; options: its `options()`; widths: the shape of one step of each input and of each
    state, without batch; lengths: rows end at lengths of their own; gradients: autograd records; transformed: a
    `torch.func` transform or forward-mode AD is active, under which only operations that torch itself differentiates
    are right; autocast: the dtype of `torch.autocast`, if it is on; cudnn: whether cuDNN is asked for, or ruled out;
    learned_masks: autograd records what becomes of dropout masks, too.
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
    autocast: torch.dtype | None = None
    cudnn: bool | None = None
    learned_masks: bool = False

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
        what += ["with gradients of dropout masks"] * self.learned_masks
        what += [f"autocast to {str(self.autocast).removeprefix('torch.')}"] * (self.autocast is not None)
        return ", ".join(what)


def transformed() -> bool:
    """Whether a functorch interpreter is on the stack, or a level of forward-mode AD is entered."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def gradients(problem: Problem) -> bool:
    """Whether autograd would record a run of the problem: never in inference mode, whatever is enabled inside it."""
    if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
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
    device = "cpu" if first.is_cpu else first.device.type
    records = gradients(problem)
    return Spec(
        type(recurrence),
        recurrence.options(),
        tuple(widths),
        first.dtype,
        device,
        problem.lengths is not None,
        problem.reverse,
        problem.sequences,
        records,
        transformed(),
        autocast(device) if torch._C._is_any_autocast_enabled() else None,
        problem.cudnn,
        records and _learns_masks(recurrence),
    )


def _learns_masks(recurrence: Recurrence) -> bool:
    """Whether a dropout mask, given by who calls an engine directly, wants a gradient."""
    if type(recurrence) is Directions:
        return _learns_masks(recurrence.forward) or _learns_masks(recurrence.backward)
    for mask in (getattr(recurrence, "dropout", None), getattr(recurrence, "recurrent_dropout", None)):
        if mask is not None and mask.requires_grad:
            return True
    return False


def autocast(device: str) -> torch.dtype | None:
    """The dtype of `torch.autocast` on a device, None where it is off, or unknown as on "meta"."""
    known = torch.amp.is_autocast_available(device)
    return torch.get_autocast_dtype(device) if known and torch.is_autocast_enabled(device) else None


def is_empty(problem: Problem) -> bool:
    """Whether there are no steps, no samples, or no features."""
    inputs = problem.inputs
    if isinstance(inputs, torch.Tensor):
        return inputs.numel() == 0
    return 0 in flatten(inputs)[0].shape[:2]
