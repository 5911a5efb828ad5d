"""Masks of places: of an image in a sequence of images, some places are used and others are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ostinato.recurrence.base import Recurrence
from ostinato.recurrence.nests import Nest, flatten, map_nest, pack_like


class Placed(Recurrence):
    """A recurrence whose state is held wherever a place of a step is not used.

    Inputs are pairs of what the recurrence takes, and `(time, batch, *places)` bool, True = use. Places are the axes
    after the batch of every state and output.
    """

    name = "placed"

    def __init__(self, recurrence: Recurrence) -> None:
        self.recurrence = recurrence

    def project(self, xs: Nest) -> Nest:
        inputs, used = xs
        return self.recurrence.project(inputs), used

    def step(self, x: Nest, state: Nest) -> tuple[Nest, Nest]:
        projected, used = x
        output, new = self.recurrence.step(projected, state)
        pairs = zip(flatten(new), flatten(state), strict=True)
        return output, pack_like(state, [torch.where(beside(used, a), a, b) for a, b in pairs])

    def readout(self, ys: Nest) -> Nest:
        return self.recurrence.readout(ys)

    def tensors(self) -> tuple[Tensor | None, ...]:
        return self.recurrence.tensors()

    def replace(self, tensors: Sequence[Tensor | None]) -> Self:
        return type(self)(self.recurrence.replace(tensors))

    def options(self) -> tuple[Any, ...]:
        return (type(self.recurrence), self.recurrence.options())

    @classmethod
    def facts(cls, options: tuple[Any, ...]) -> dict[str, Any]:
        kind, inside = options
        return {"recurrence": (kind.name, kind.facts(inside))}


def held(outputs: Nest, used: Tensor) -> Nest:
    """Outputs `(time, batch, ...)` with, where `used` is False, the one before at that place, zeros before the first.

    used: `(time, batch, *places)` bool, in the order of the outputs.

    >>> held(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[False], [True], [False]])).flatten()
    tensor([0., 2., 2.])
    """
    steps = torch.arange(used.shape[0], device=used.device).reshape(-1, *[1] * (used.dim() - 1))
    latest = torch.where(used, steps, -1).cummax(0).values

    def hold(leaf: Tensor) -> Tensor:
        index = beside(latest, leaf)
        return leaf.gather(0, index.clamp(min=0).expand(leaf.shape)).masked_fill(index < 0, 0)

    return map_nest(hold, outputs)


def beside(flags: Tensor, leaf: Tensor) -> Tensor:
    """Flags of a leaf's leading axes, to broadcast against it.

    >>> beside(torch.ones(2, 3), torch.zeros(2, 3, 4, 5)).shape
    torch.Size([2, 3, 1, 1])
    """
    return flags.reshape(flags.shape + (1,) * (leaf.dim() - flags.dim()))
