"""States that recurrent layers are given and record: checked, never written into."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core.input_spec import InputSpec
from ostinato.core.shapes import Shape
from ostinato.recurrence.nests import Nest, describe


@dataclasses.dataclass(frozen=True, eq=False)
class Recorded:
    """What a stateful layer keeps from one call to the next; a new one takes its place, none is changed.

    leaves: the states, `(batch, ...)` each, without a graph. anew: `(batch,)` bool, the rows that start from the cell's
    own state again; None if no row does.
    """

    leaves: tuple[Tensor, ...]
    anew: Tensor | None = None

    @property
    def batch(self) -> int:
        """The number of rows."""
        return self.leaves[0].shape[0]

    def forgetting(self, rows: Tensor) -> Recorded:
        """The same, but for rows that start anew."""
        chosen = torch.zeros(self.batch, dtype=torch.bool).index_fill(0, rows, True)
        return Recorded(self.leaves, chosen if self.anew is None else chosen | self.anew)

    def replacing(self, rows: Tensor, states: Sequence[Tensor]) -> Recorded:
        """The same, but for the states of some rows."""
        leaves = [
            old.index_copy(0, rows.to(old.device), new.to(old)) for old, new in zip(self.leaves, states, strict=True)
        ]
        anew = None if self.anew is None else self.anew.index_fill(0, rows, False)
        return Recorded(tuple(leaves), anew)

    def started(self, states: Sequence[Tensor], own: Sequence[Tensor]) -> list[Tensor]:
        """`states`, the leaves as they are to be used, with those of the cell's `own` in the rows that start anew."""
        if self.anew is None:
            return list(states)
        pairs = zip(states, own, strict=True)
        return [torch.where(_beside(self.anew.to(old.device), old), new.to(old), old) for old, new in pairs]


def _beside(flags: Tensor, leaf: Tensor) -> Tensor:
    return flags.reshape(flags.shape + (1,) * (leaf.dim() - 1))


def plain_copy(state: Tensor, who: str) -> Tensor:
    """A copy of a state without a graph, that outlives the `torch.func` transforms it was computed under.

    Raises ValueError for one that differs between the samples of a vmap: outside there is none that fits.
    """
    copy = state.detach().clone()
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return copy
    while torch._C._functorch.is_gradtrackingtensor(copy):
        copy = torch._C._functorch.get_unwrapped(copy)
    if torch._C._functorch.is_batchedtensor(copy):
        raise ValueError(
            f"{who}: stateful=True records states, and inside torch.func.vmap there is one for each sample. Set "
            f"stateful=False there, and pass initial_state."
        )
    return copy


def row_numbers(rows: Any, batch: int, who: str) -> Tensor:
    """Rows as `(count,)` int64: numbers from 0, or `(batch,)` booleans. Raises ValueError for others.

    >>> row_numbers([True, False, True], 3, "LSTM 'lstm'"), row_numbers(1, 3, "LSTM 'lstm'")
    (tensor([0, 2]), tensor([1]))
    """
    array = np.asarray(rows.tolist() if isinstance(rows, Tensor) else rows)
    if (array.dtype.kind not in "biu" and array.size) or array.ndim > 1:
        raise ValueError(f"{who}: rows must be numbers of rows, or (batch,) booleans; got {rows!r}.")
    # Of an empty list nobody can tell.
    given = torch.as_tensor(array.astype(bool if array.dtype.kind == "b" else "int64"))
    if given.dtype is torch.bool:
        if tuple(given.shape) != (batch,):
            raise ValueError(f"{who}: rows as booleans must be (batch,) = ({batch},), got {tuple(given.shape)}.")
        return given.nonzero()[:, 0]
    numbers = given.reshape(-1)
    if bool(((numbers < 0) | (numbers >= batch)).any()) or len(numbers.unique()) != len(numbers):
        raise ValueError(f"{who}: rows must be different numbers from 0 to {batch - 1}, got {numbers.tolist()}.")
    return numbers


def check_names(given: Nest, structure: Nest, who: str) -> None:
    """Raise ValueError where a dict of states has other names than the cell's, whatever is around it.

    >>> check_names([{"h": 1, "c": 2}], {"h": 4, "c": 4}, "RNN 'rnn'")
    """
    if isinstance(structure, dict):
        if isinstance(given, (list, tuple)) and len(given) == 1:  # what return_state gives after the output
            given = given[0]
        if isinstance(given, dict):
            if set(given) != set(structure):
                raise ValueError(f"{who}: initial_state must have {sorted(structure)}, got {sorted(given)}.")
            for name, inner in structure.items():
                check_names(given[name], inner, who)
    elif isinstance(structure, (list, tuple)) and isinstance(given, (list, tuple)) and len(structure) == len(given):
        for each, inner in zip(given, structure, strict=True):
            check_names(each, inner, who)


def checked_states(
    leaves: Sequence[Any], sizes: Sequence[Shape], batch: int, what: str, who: str, names: str = ""
) -> list[Tensor]:
    """States as tensors. Raises ValueError unless they are `(batch, *size)`, one for each size; None in it is any.

    what: which states they are, for messages; names: what they are called, such as `(h, c)`.
    """
    wanted = ", ".join(f"(batch, {', '.join(map(str, size))})" for size in sizes)
    if len(leaves) != len(sizes):
        raise ValueError(
            f"{who}: {what} has {len(leaves)} tensor(s); this cell carries {len(sizes)}{' ' * bool(names)}{names}: "
            f"{wanted}." + (" Pass initial_state=[h, c]." if names else "")
        )
    if any(leaf is None or isinstance(leaf, str) for leaf in leaves):
        raise ValueError(f"{who}: {what} must be {wanted}, got {list(leaves)!r}.")
    tensors = [leaf if isinstance(leaf, Tensor) else torch.as_tensor(leaf) for leaf in leaves]
    for tensor, size in zip(tensors, sizes, strict=True):
        if tuple(tensor.shape) != (batch, *size) and not InputSpec(shape=(batch, *size)).fits(tensor.shape):
            raise ValueError(f"{who}: {what} must be {wanted} with batch {batch}, got {describe(tensors)}.")
    return tensors
