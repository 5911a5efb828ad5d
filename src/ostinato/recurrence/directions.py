"""Two recurrences over the same inputs, one from each end: the halves of a Bidirectional as one problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor

from ostinato.recurrence.base import Problem, Recurrence, Scanned
from ostinato.recurrence.nests import Nest


class Directions(Recurrence):
    """`forward` from the first step to the last, `backward` from the last to the first.

    State, outputs and last are pairs (forward, backward), the outputs of each in its own processing order. It has no
    step of its own: `split` says what each half has to do, `join` makes one result of theirs.
    """

    name = "directions"

    def __init__(self, forward: Recurrence, backward: Recurrence, owners: tuple[str, str] = ("", "")) -> None:
        self.forward, self.backward, self.owners = forward, backward, owners

    def step(self, x: Nest, state: Nest) -> tuple[Nest, Nest]:
        raise TypeError("The two directions meet each step at different times: split the problem.")

    def tensors(self) -> tuple[Tensor | None, ...]:
        return (*self.forward.tensors(), *self.backward.tensors())

    def replace(self, tensors: Sequence[Tensor | None]) -> Self:
        first = len(self.forward.tensors())
        return type(self)(self.forward.replace(tensors[:first]), self.backward.replace(tensors[first:]), self.owners)

    def options(self) -> tuple[Any, ...]:
        return tuple((type(half), half.options()) for half in (self.forward, self.backward))

    @classmethod
    def facts(cls, options: tuple[Any, ...]) -> dict[str, Any]:
        names = ("forward", "backward")
        return {name: (kind.name, kind.facts(each)) for name, (kind, each) in zip(names, options, strict=True)}


def paired(problems: Sequence[Problem]) -> Problem | None:
    """Two problems over the very same inputs, one from each end, as one; None if they are not such a pair."""
    first, second = problems
    alike = all(getattr(first, name) is getattr(second, name) for name in ("inputs", "mask", "lengths"))
    if not alike or first.reverse or not second.reverse:
        return None
    if first.sequences is not second.sequences or first.cudnn is not second.cudnn:
        return None
    return dataclasses.replace(
        first,
        recurrence=Directions(first.recurrence, second.recurrence, (first.owner, second.owner)),
        state=(first.state, second.state),
        owner=f"{first.owner}, {second.owner}",
    )


def split(problem: Problem) -> tuple[Problem, Problem]:
    """The two problems of a pair."""
    halves: Any = problem.recurrence
    (forward, backward), owners = problem.state, halves.owners
    return (
        dataclasses.replace(problem, recurrence=halves.forward, state=forward, owner=owners[0]),
        dataclasses.replace(problem, recurrence=halves.backward, state=backward, reverse=True, owner=owners[1]),
    )


def join(forward: Scanned, backward: Scanned) -> Scanned:
    """The result of a pair, from those of the two."""
    outputs = None if forward.outputs is None else (forward.outputs, backward.outputs)
    return Scanned(outputs, (forward.last, backward.last), (forward.state, backward.state))


def parts(scanned: Scanned) -> tuple[Scanned, Scanned]:
    """The results of the two, from that of a pair."""
    outputs = (None, None) if scanned.outputs is None else scanned.outputs
    return (
        Scanned(outputs[0], scanned.last[0], scanned.state[0]),
        Scanned(outputs[1], scanned.last[1], scanned.state[1]),
    )
