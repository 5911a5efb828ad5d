"""Rows that end early, run on to the end with the others: for kernels that know no lengths.

What such a kernel makes of the steps after a row's end is not looked at. A state that no output shows, the c of an
LSTM, is held there: one more feature, 1 in those steps, shuts the input gate and opens the forget gate.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ostinato.recurrence.base import Problem
from ostinato.recurrence.masks import mask_of_lengths, turned

_SHUT = 1e30  # sigmoid(-1e30) is 0 and sigmoid(1e30) is 1, whatever else adds to it


class Ends(NamedTuple):
    """Where rows end: `(batch,)` lengths; after, `(longest, batch)`, True past the end."""

    lengths: Tensor
    after: Tensor

    @property
    def used(self) -> Tensor:
        """`(batch, 1)`, True for a row that has a step at all."""
        return (self.lengths > 0)[:, None]

    @property
    def last(self) -> tuple[Tensor, Tensor]:
        """The index into `(longest, batch, ...)` of each row's last step, or of the first where there is none."""
        return (self.lengths - 1).clamp(min=0), torch.arange(len(self.lengths))


def ends_of(lengths: Tensor) -> Ends:
    """Where rows of these lengths end. The longest has one step at least, so that there is something to run.

    >>> ends_of(torch.tensor([2, 0])).after.tolist()
    [[False, True], [False, True]]
    """
    return Ends(lengths, ~mask_of_lengths(lengths, max(int(lengths.max()), 1)))


def in_order(problem: Problem, ends: Ends | None) -> Tensor:
    """The inputs `(longest, batch, features)` in the order in which they are taken, zeros after a row's end."""
    inputs: Tensor = problem.inputs
    if ends is None:
        return inputs.flip(0) if problem.reverse else inputs
    inputs = inputs[: len(ends.after)]
    inputs = turned(inputs, ends.lengths) if problem.reverse else inputs
    return inputs.masked_fill(ends.after[..., None], 0)


def holding_inputs(inputs: Tensor, ends: Ends) -> Tensor:
    """`(longest, batch, features + 1)`: the inputs, and 1 where the state is to be held."""
    return torch.cat([inputs, ends.after[..., None].to(inputs.dtype)], dim=-1)


def holding_kernel(kernel: Tensor) -> Tensor:
    """`(features + 1, 4 units)`: an LSTM's kernel for `holding_inputs`, by which c is held to the last bit and h is 0.

    >>> holding_kernel(torch.zeros(1, 4)).shape
    torch.Size([2, 4])
    """
    shut = kernel.new_tensor([-_SHUT, _SHUT, 0, -_SHUT])  # of the gates i, f, c, o
    return torch.cat([kernel, shut.repeat_interleave(kernel.shape[1] // 4)[None]])


def at_ends(
    ends: Ends, outputs: Tensor, new: tuple[Tensor, ...], before: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(last output, state) of each row where it ends, `(batch, units)`; the state before, and zeros, if it has no step.

    outputs: `(longest, batch, units)`; new: the states after the longest row's last step. Of them the first is not
    looked at: it is what the last output is.
    """
    last = outputs[ends.last]
    state = tuple(torch.where(ends.used, a, b) for a, b in zip((last, *new[1:]), before, strict=True))
    return torch.where(ends.used, last, 0), state


def to_full_time(outputs: Tensor, time: int) -> Tensor:
    """`(longest, batch, ...)` followed by zeros, `(time, batch, ...)`."""
    missing = time - len(outputs)
    return outputs if missing == 0 else torch.nn.functional.pad(outputs, (0, 0, 0, 0, 0, missing))
