"""Samples as columns, to be taken by rows: of one shape, or each of its own length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.sequences.arrays import as_tensor


class Table:
    """Samples of one shape. values: `(samples, ...)`."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Tensor) -> Tensor:
        """The samples at these rows, `(rows, ...)`.

        >>> Table(torch.tensor([1.0, 2.0, 3.0])).take(torch.tensor([2, 0]))
        tensor([3., 1.])
        """
        return self.values.index_select(0, rows.to(self.values.device))


class Ragged:
    """Samples of different lengths, kept one after the other, and padded as they are taken.

    sequences: arrays, lists or tensors `(steps, ...)`. padding: "pre" or "post"; value: of padding. Raises ValueError
    for sequences whose steps differ in shape, or for a value that their dtype does not have.
    """

    def __init__(self, sequences: Sequence[Any], padding: str, value: Any, who: str) -> None:
        parts = [_steps(sequence, position, who) for position, sequence in enumerate(sequences)]
        filled = [part for part in parts if len(part)] or parts  # an empty list has no dtype
        shapes: dict[torch.Size, int] = {}
        for position, part in enumerate(parts):
            if len(part):
                shapes.setdefault(part.shape[1:], position)
        if len(shapes) > 1:
            (one, here), (other, there) = list(shapes.items())[:2]
            raise ValueError(
                f"{who}: steps must all have the same shape, but those of number {here} have {tuple(one)}, and those "
                f"of number {there} {tuple(other)}."
            )
        self.flat = torch.cat(filled) if filled else torch.zeros(0)
        if not _holds(self.flat.dtype, value):
            raise ValueError(f"{who}: {self.flat.dtype} has no {value!r}, with which to pad.")
        self.lengths = torch.tensor([len(part) for part in parts], dtype=torch.int64)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.padding, self.value = padding, value

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: Tensor) -> Tensor:
        """The samples at these rows, padded to the longest of them, `(rows, steps, ...)`; there is always a step.

        >>> ragged = Ragged([[1], [2, 3], [4, 5, 6]], "post", 0, "docs")
        >>> ragged.take(torch.tensor([1, 0]))
        tensor([[2, 3],
                [1, 0]])
        """
        places, used = self._places(rows)
        taken = self.flat.new_full((*used.shape, *self.flat.shape[1:]), self.value)
        taken[used] = self.flat[(self.starts[rows].unsqueeze(1) + places)[used]]
        return taken

    def mask(self, rows: Tensor) -> Tensor:
        """Where what `take` gives is no padding, `(rows, steps)` of bool."""
        return self._places(rows)[1]

    def _places(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The number in its sequence that each step has, and whether there is such a step."""
        lengths = self.lengths[rows].unsqueeze(1)
        steps = max(1, int(lengths.max()))
        places = torch.arange(steps).expand(len(rows), steps)
        if self.padding == "pre":
            places = places - (steps - lengths)
        return places, (places >= 0) & (places < lengths)


def _steps(sequence: Any, position: int, who: str) -> Tensor:
    steps = as_tensor(sequence, f"{who} {position}")
    if steps.dim() == 0:
        raise ValueError(f"{who}: number {position} is a single number; expected a sequence, (steps, ...).")
    return steps


def _holds(dtype: torch.dtype, value: Any) -> bool:
    """Whether a tensor of that dtype can have that value, but for rounding."""
    if dtype.is_floating_point:
        return True
    low, high = (0, 1) if dtype is torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return bool(low <= value <= high and value == int(value))
