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
        index = positions.clamp(min=0)
        before = positions < 0

        def back(leaf: Tensor) -> Tensor:
            return leaf.gather(0, _like(index, leaf)).masked_fill(_beside(before, leaf), 0)

        return map_nest(back, outputs)


def compact(inputs: Nest, mask: Tensor, lengths: Tensor | None = None) -> Compacted:
    """Bring the used steps of each row to the front, in their order.

    inputs: nest of `(time, batch, ...)`; mask: `(time, batch)` bool, True = use; lengths: `(batch,)` int64 if the mask
    is known to be right padding to these.

    What stands in a masked step is replaced by zeros here, before anything is multiplied with it: NaN times a zero
    gradient would still be NaN.
    """
    if lengths is None:
        lengths = mask.sum(0)
        padding = torch.arange(mask.shape[0], device=mask.device)[:, None] >= lengths
        if not _known_right_padded(mask, padding):
            order = torch.argsort((~mask).to(torch.uint8), dim=0, stable=True)
            inputs = map_nest(lambda leaf: leaf.gather(0, _like(order, leaf)), inputs)
    else:
        padding = ~mask
    inputs = map_nest(lambda leaf: leaf.masked_fill(_beside(padding, leaf), 0), inputs)
    return Compacted(inputs, lengths, mask)


def turned(nest: Nest, lengths: Tensor) -> Nest:
    """`(time, batch, ...)` with the first `lengths` steps of each row in the opposite order, finite after them.

    >>> turned(torch.tensor([[1], [2], [0]]), torch.tensor([2])).flatten().tolist()
    [2, 1, 1]
    """

    def turn(leaf: Tensor) -> Tensor:
        steps = torch.arange(leaf.shape[0], device=leaf.device)[:, None]
        index = (lengths.to(leaf.device) - 1 - steps).clamp(min=0)
        return leaf.gather(0, _like(index, leaf))

    return map_nest(turn, nest)


def mask_of_lengths(lengths: Tensor, time: int) -> Tensor:
    """`(time, batch)` bool, True where the step is before the row's length."""
    return torch.arange(time, device=lengths.device)[:, None] < lengths


def batch_of(inputs: Nest) -> tuple[int, int]:
    """(time, batch) of a nest of `(time, batch, ...)`."""
    time, batch = flatten(inputs)[0].shape[:2]
    return time, batch


def _known_right_padded(mask: Tensor, padding: Tensor) -> bool:
    """Whether no gather is needed; asked only where the answer costs no wait for a device and no trace."""
    return not values_hidden() and mask.device.type == "cpu" and not bool((mask == padding).any())


def _beside(flags: Tensor, leaf: Tensor) -> Tensor:
    """`(time, batch)` as `(time, batch, 1, ...)`, to broadcast against a leaf."""
    return flags.reshape(flags.shape + (1,) * (leaf.dim() - 2))


def _like(index: Tensor, leaf: Tensor) -> Tensor:
    return _beside(index, leaf).expand(leaf.shape)
