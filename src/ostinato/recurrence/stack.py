"""Recurrences one above the other: the output of each is the input of the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor

from ostinato.recurrence.base import Recurrence
from ostinato.recurrence.nests import Nest


class Stack(Recurrence):
    """`recurrences` applied in turn within each step; state: one entry per recurrence.

    Since nothing flows downwards, running each over the whole sequence before the next gives the same numbers; that is
    what `execute` does. `step` is the definition.
    """

    name = "stack"

    def __init__(self, recurrences: Sequence[Recurrence]) -> None:
        self.recurrences = tuple(recurrences)

    def step(self, x: Nest, state: Sequence[Nest]) -> tuple[Nest, Nest]:
        states = []
        for recurrence, each in zip(self.recurrences, state, strict=True):
            y, new = recurrence.step(recurrence.project(x), each)
            x = recurrence.readout(y)
            states.append(new)
        return x, tuple(states)

    def tensors(self) -> tuple[Tensor | None, ...]:
        return tuple(tensor for recurrence in self.recurrences for tensor in recurrence.tensors())

    def replace(self, tensors: Sequence[Tensor | None]) -> Self:
        rest = list(tensors)
        replaced = []
        for recurrence in self.recurrences:
            count = len(recurrence.tensors())
            replaced.append(recurrence.replace(rest[:count]))
            rest = rest[count:]
        return type(self)(replaced)

    def options(self) -> tuple[Any, ...]:
        return tuple((type(recurrence), recurrence.options()) for recurrence in self.recurrences)

    @classmethod
    def facts(cls, options: tuple[Any, ...]) -> dict[str, Any]:
        return {str(i): (kind.name, kind.facts(each)) for i, (kind, each) in enumerate(options)}
