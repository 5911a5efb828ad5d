"""A problem and its result as flat lists of tensors, which is what autograd and operators deal in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from ostinato.recurrence.base import Problem, Scanned
from ostinato.recurrence.nests import flatten, pack_like


def leaves(problem: Problem) -> list[Tensor | None]:
    """Every tensor of a problem that may want a gradient: inputs, state, the recurrence's own."""
    return [*flatten(problem.inputs), *flatten(problem.state), *problem.recurrence.tensors()]


def with_leaves(problem: Problem, tensors: Sequence[Tensor | None]) -> Problem:
    """The same problem over other tensors, in the order of `leaves`."""
    inputs, state = len(flatten(problem.inputs)), len(flatten(problem.state))
    return dataclasses.replace(
        problem,
        inputs=pack_like(problem.inputs, tensors[:inputs]),
        state=pack_like(problem.state, tensors[inputs : inputs + state]),
        recurrence=problem.recurrence.replace(tensors[inputs + state :]),
    )


def results(scanned: Scanned) -> list[Tensor]:
    """Every tensor of a result: outputs if there are any, last, state."""
    outputs = [] if scanned.outputs is None else flatten(scanned.outputs)
    return [*outputs, *flatten(scanned.last), *flatten(scanned.state)]


def with_results(template: Scanned, tensors: Sequence[Tensor]) -> Scanned:
    """A result structured as `template` over other tensors, in the order of `results`."""
    rest = iter(tensors)
    return Scanned(
        None if template.outputs is None else pack_like(template.outputs, rest),
        pack_like(template.last, rest),
        pack_like(template.state, rest),
    )
