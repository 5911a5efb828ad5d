"""From whatever `fit`, `evaluate` and `predict` were given to batches, cut into epochs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ostinato import random
from ostinato.recurrence.nests import Nest, is_nested
from ostinato.sequences.passes import Batches
from ostinato.training.sources.arrays import Arrays, positive
from ostinato.training.sources.base import Batch, Reader, Source, unpack
from ostinato.training.sources.streams import BatchSequence, Iterated, Loader, TorchDataset


def open_source(reader: Reader, x: Any, y: Nest, weights: Nest, batch_size: int | None) -> Source:
    """The source for x: nests of arrays, or what gives batches by itself.

    Raises ValueError for targets, weights or a batch size beside what has its own.
    """
    who = reader.who
    if is_nested(x) or hasattr(x, "__array__") or x is None:
        return Arrays.read(reader, x, y, weights, batch_size)
    kind = type(x).__name__
    for what, given in (("y", y), ("sample_weight", weights)):
        if given is not None:
            raise ValueError(f"{who}: x is a {kind}, which gives batches of (x, y, ...); {what} cannot go beside it.")
    if type(x) is TensorDataset:
        return Arrays.read(reader, *unpack(x.tensors, who), batch_size)
    if isinstance(x, Dataset):
        return TorchDataset(reader, x, positive(batch_size, "batch_size", who, 32))
    if batch_size is not None:
        raise ValueError(f"{who}: x is a {kind}, whose batches are made already; batch_size cannot go beside it.")
    if isinstance(x, DataLoader):
        return Loader(reader, x)
    if isinstance(x, Batches):
        return Iterated(reader, x, x.sizes)  # in its own order
    if hasattr(x, "__len__") and hasattr(x, "__getitem__"):
        return BatchSequence(reader, x)
    if hasattr(x, "__iter__"):
        return Iterated(reader, x)
    raise TypeError(
        f"{who}: x must be arrays or tensors (or lists, tuples, dicts of them), a torch Dataset or DataLoader, or an "
        f"iterable of batches, got {kind}."
    )


class Epochs:
    """A source cut into epochs: a pass each, or `steps` batches each, going on where the last epoch stopped.

    orders: the stream that draws the order of each pass; None leaves the order as it is.
    """

    def __init__(self, source: Source, steps: int | None, orders: random.Stream | None, who: str) -> None:
        self.source, self.orders, self.who = source, orders, who
        self._asked = None if steps is None else positive(steps, "steps", who, 1)
        self._pass: Iterator[Batch] | None = None

    @property
    def steps(self) -> int | None:
        """Batches in an epoch; None if it is not known yet."""
        return self.source.steps if self._asked is None else self._asked

    def batches(self, device: torch.device) -> Iterator[Batch]:
        """The batches of the next epoch. Warns if the data ends before it."""
        if self._asked is None:
            yield from self._begun(device)
            return
        for taken in range(self._asked):
            batch = None if self._pass is None else next(self._pass, None)
            if batch is None and not taken and not (self._pass and self.source.once):
                self._pass = self._begun(device)  # the first one; or the last epoch ended with its pass
                batch = next(self._pass, None)
            if batch is None:
                warnings.warn(
                    f"{self.who}: the data ended after {taken} of {self._asked} steps; the epoch ends here.",
                    stacklevel=3,
                )
                return
            yield batch

    def _begun(self, device: torch.device) -> Iterator[Batch]:
        return self.source.batches(device, None if self.orders is None else self.orders.generator())
