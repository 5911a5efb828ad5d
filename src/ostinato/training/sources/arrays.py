"""Arrays and tensors as batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ostinato.recurrence.nests import Nest, flatten, map_nest, pack_like
from ostinato.training.sources.base import Batch, Reader, Source, leaves_of

_GATHERED = 1 << 20  # bytes; memory of more is given back to the system each time, and taken page by page


class Arrays(Source):
    """Inputs, targets and sample weights of the same length, to be taken in batches.

    x, y, weights: nests of tensors, batch first; y and weights may be None. batch_size: in samples. `read` makes one of
    anything like arrays. Raises ValueError for arrays without samples.
    """

    def __init__(self, x: Nest, y: Nest, weights: Nest, batch_size: int, who: str) -> None:
        self.x, self.y, self.weights, self.batch_size, self.who = x, y, weights, batch_size, who
        self.length = len(flatten(x)[0])
        if self.length == 0:
            raise ValueError(f"{who}: the arrays are empty.")
        self.steps = -(-self.length // batch_size)
        full = [batch_size] * (self.length // batch_size)
        self.sizes = frozenset([*full, self.length % batch_size or batch_size][: self.steps])

    @classmethod
    def read(cls, reader: Reader, x: Nest, y: Nest, weights: Nest, batch_size: int | None) -> Arrays:
        """Of arrays or tensors; batch_size: 32 by default.

        Raises ValueError for arrays of different lengths or of none, TypeError for what is no array.
        """
        return cls(*reader.read(x, y, weights), positive(batch_size, "batch_size", reader.who, 32), reader.who)

    def split(self, share: float, batch_size: int | None) -> tuple[Arrays, Arrays]:
        """The first samples to train with and the last ones, `share` of all, to validate with.

        Raises ValueError for a share outside ]0, 1[, or one that leaves either part empty.
        """
        who = self.who
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
            raise ValueError(f"{who}: validation_split must be a share between 0 and 1, got {share!r}.")
        kept = int(self.length * (1.0 - share))
        if kept in (0, self.length):
            raise ValueError(
                f"{who}: validation_split={share} of {self.length} samples leaves {kept} to train with and "
                f"{self.length - kept} to validate with; neither may be empty."
            )
        size = positive(batch_size, "validation_batch_size", who, self.batch_size)
        return self._rows(slice(None, kept), self.batch_size), self._rows(slice(kept, None), size)

    def _rows(self, rows: slice, batch_size: int) -> Arrays:
        x, y, weights = map_nest(lambda leaf: None if leaf is None else leaf[rows], (self.x, self.y, self.weights))
        return Arrays(x, y, weights, batch_size, self.who)

    def batches(self, device: torch.device, order: torch.Generator | None = None) -> Iterator[Batch]:
        """A pass, see `Source`.

        Rows are gathered and moved for many batches at a time, which costs a fraction of doing it for each; a batch is
        a view of those.
        """
        held = leaves_of(self.x, self.y, self.weights)
        packed = (self.x, self.y, self.weights)
        single = all(isinstance(each, Tensor) or each is None for each in packed)
        rows = None if order is None else torch.randperm(self.length, generator=order)
        bytes_of_batch = self.batch_size * sum(leaf[0].numel() * leaf.element_size() for leaf in held)
        samples = self.batch_size * max(1, _GATHERED // max(1, bytes_of_batch))
        for start in range(0, self.length, samples):
            stop = min(start + samples, self.length)
            gathered = [_taken(leaf, start, stop, rows, device).split(self.batch_size) for leaf in held]
            for columns in zip(*gathered, strict=True):
                leaves = iter(columns)
                if single:
                    x, y, weights = (None if each is None else next(leaves) for each in packed)
                else:
                    whole = [None if leaf is None else next(leaves) for leaf in flatten(list(packed))]
                    x, y, weights = pack_like(packed, whole)
                yield Batch(x, y, weights, len(columns[0]))


def positive(given: int | None, what: str, who: str, default: int) -> int:
    """A positive whole number; `default` for None. Raises ValueError for anything else."""
    if given is None:
        return default
    if isinstance(given, bool) or not hasattr(given, "__index__") or int(given) < 1:
        raise ValueError(f"{who}: {what} must be a positive whole number, got {given!r}.")
    return int(given)


def _taken(leaf: Tensor, start: int, stop: int, order: Tensor | None, device: torch.device) -> Tensor:
    rows = leaf[start:stop] if order is None else leaf.index_select(0, order[start:stop].to(leaf.device))
    return rows if rows.device == device else rows.to(device, non_blocking=True)
