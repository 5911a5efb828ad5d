"""The mask rule: compact, run, restore.

At a masked step the state is held. So any mask equals right padding once the used steps are brought to the front, in
order: gather the inputs, run with lengths, gather the outputs back.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ostinato.recurrence.nests import Nest, flatten, map_nest
from ostinato.recurrence.tracing import values_hidden


@dataclasses.dataclass(slots=True, eq=False)
class Compacted:
    """Inputs with the used steps at the front, and the way back.

    inputs: nest of `(time, batch, ...)`, zeros at and after each row's length.
    lengths: `(batch,)` int64, the number of used steps of each row.
    mask: `(time, batch)` bool, the mask that was.
    """

    inputs: Nest
    lengths: Tensor
    mask: Tensor

    def restore(self, outputs: Nest, reverse: bool = False) -> Nest:
        """Outputs `(time, batch, ...)` of the compacted run, back at the steps of the mask.

        A masked step shows the output before it, zeros before the first used step. reverse: the run took the steps from
        the last to the first; outputs are in processing order before and after.
        """
        mask = self.mask.flip(0) if reverse else self.mask
        positions = mask.to(torch.int64).cumsum(0) - 1  # which output stands at each step
        before = positions < 0
        absent = None if _known_not_any(before) else before
        steps = positions if absent is None else positions.clamp(min=0)
        return map_nest(lambda leaf: taken(leaf, steps, absent), outputs)


def compact(inputs: Nest, mask: Tensor, lengths: Tensor | None = None) -> Compacted:
    """Bring the used steps of each row to the front, in their order.

    inputs: nest of `(time, batch, ...)`; mask: `(time, batch)` bool, True = use; lengths: `(batch,)` int64 if the mask
    is known to be right padding to these.

    What stands in a masked step is replaced by zeros here, before anything is multiplied with it: NaN times a zero
    gradient would still be NaN.
    """
    steps = None
    if lengths is None:
        lengths = mask.sum(0)
        padding = torch.arange(mask.shape[0], device=mask.device)[:, None] >= lengths
        if not _known_not_any(mask == padding):
            steps = torch.argsort((~mask).to(torch.uint8), dim=0, stable=True)
    else:
        padding = ~mask
    return Compacted(map_nest(lambda leaf: taken(leaf, steps, padding), inputs), lengths, mask)


def taken(leaf: Tensor, steps: Tensor | None, absent: Tensor | None = None) -> Tensor:
    """`(time, batch, ...)`: what `leaf` has at other steps, `steps[t, b]` of row b; zeros where it is absent.

    steps: `(time, batch)` int64, None for each step itself; absent: `(time, batch)` bool, None for nowhere. What nobody
    takes is not looked at, and its gradient is zero. Rows of memory are moved as a whole, not number by number as by
    `gather`; as they lie in `leaf`, by time or by batch, so they do in the result.

    >>> taken(torch.tensor([[1.0], [2.0]]), torch.tensor([[1], [1]]), torch.tensor([[True], [False]])).flatten()
    tensor([0., 2.])
    """
    by_batch = leaf.stride(0) < leaf.stride(1)
    rows = leaf.transpose(0, 1) if by_batch else leaf
    outer, inner = rows.shape[:2]
    rows = rows.flatten(0, 1)
    if steps is not None:
        batch = torch.arange(leaf.shape[1], device=leaf.device)
        places = (steps + batch * inner).t() if by_batch else steps * inner + batch
        rows = rows.index_select(0, places.flatten())
    if absent is not None:
        flags = (absent.t() if by_batch else absent).flatten()
        rows = _cleared(rows, flags, steps is not None)
    found = rows.unflatten(0, (outer, inner))
    return found.transpose(0, 1) if by_batch else found


def _cleared(rows: Tensor, flags: Tensor, own: bool) -> Tensor:
    """Rows with zeros where flags are True; own: they may be written to."""
    if not _known(flags):
        return rows.masked_fill(flags.reshape(-1, *[1] * (rows.dim() - 1)), 0)
    cleared = flags.nonzero()[:, 0]  # in memory that is there already: of what is new each page would cost, too
    return rows.index_fill_(0, cleared, 0) if own else rows.index_fill(0, cleared, 0)


def turned(nest: Nest, lengths: Tensor) -> Nest:
    """`(time, batch, ...)` with the first `lengths` steps of each row in the opposite order, finite after them.

    >>> turned(torch.tensor([[1], [2], [0]]), torch.tensor([2])).flatten().tolist()
    [2, 1, 1]
    """

    def turn(leaf: Tensor) -> Tensor:
        steps = torch.arange(leaf.shape[0], device=leaf.device)[:, None]
        return taken(leaf, (lengths.to(leaf.device) - 1 - steps).clamp(min=0))

    return map_nest(turn, nest)


def mask_of_lengths(lengths: Tensor, time: int) -> Tensor:
    """`(time, batch)` bool, True where the step is before the row's length."""
    return torch.arange(time, device=lengths.device)[:, None] < lengths


def batch_of(inputs: Nest) -> tuple[int, int]:
    """(time, batch) of a nest of `(time, batch, ...)`."""
    time, batch = flatten(inputs)[0].shape[:2]
    return time, batch


def _known(flags: Tensor) -> bool:
    """Whether their values can be asked for, at no wait for a device and in no trace."""
    return not values_hidden() and flags.device.type == "cpu"


def _known_not_any(flags: Tensor) -> bool:
    """Whether all are False, as far as that is known."""
    return _known(flags) and not bool(flags.any())
