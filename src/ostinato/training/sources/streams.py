"""Data that comes as batches already: torch's datasets and loaders, sequences of batches, iterables, generators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ostinato.training.sources.base import Batch, Reader, Source


class Loader(Source):
    """A torch `DataLoader`; the order is its own."""

    def __init__(self, reader: Reader, loader: DataLoader[Any]) -> None:
        self.reader, self.loader = reader, loader
        self.steps = length_of(loader)
        samples = length_of(loader.dataset)
        if loader.batch_size is not None and samples is not None and type(loader.sampler) in _WHOLE:
            rest = 0 if loader.drop_last else samples % loader.batch_size
            full = [loader.batch_size] * (samples >= loader.batch_size)
            self.sizes = frozenset([*full, *[rest] * bool(rest)])

    def batches(self, device: torch.device, order: torch.Generator | None = None) -> Iterator[Batch]:
        """A pass, see `Source`."""
        for data in self.loader:
            yield self.reader.batch(data, device)


_WHOLE = (torch.utils.data.SequentialSampler, torch.utils.data.RandomSampler)
"""Samplers that take as many samples as the dataset has."""


class TorchDataset(Source):
    """A torch `Dataset` of samples x, (x, y) or (x, y, weight), collated by torch's `DataLoader`."""

    def __init__(self, reader: Reader, dataset: Dataset[Any], batch_size: int) -> None:
        self.reader, self.dataset, self.batch_size = reader, dataset, batch_size
        inner = Loader(reader, DataLoader(dataset, batch_size))
        self.steps, self.sizes = inner.steps, inner.sizes

    def batches(self, device: torch.device, order: torch.Generator | None = None) -> Iterator[Batch]:
        """A pass, see `Source`; the order of an `IterableDataset` is its own."""
        shuffled = order is not None and not isinstance(self.dataset, IterableDataset)
        loader = DataLoader(self.dataset, self.batch_size, shuffle=shuffled, generator=order if shuffled else None)
        yield from Loader(self.reader, loader).batches(device)


class BatchSequence(Source):
    """An object with `len()` and `[index]` that gives whole batches, such as Keras's PyDataset.

    Its `on_epoch_end`, if it has one, is called after each pass.
    """

    def __init__(self, reader: Reader, sequence: Any) -> None:
        self.reader, self.sequence = reader, sequence
        self.steps = len(sequence)

    def batches(self, device: torch.device, order: torch.Generator | None = None) -> Iterator[Batch]:
        """A pass, see `Source`; shuffled are the batches."""
        count = len(self.sequence)
        for index in range(count) if order is None else torch.randperm(count, generator=order).tolist():
            yield self.reader.batch(self.sequence[index], device)
        if hasattr(self.sequence, "on_epoch_end"):
            self.sequence.on_epoch_end()


class Iterated(Source):
    """Any iterable of batches: passed over again and again, or once, if it is an iterator (a generator, say).

    The order is its own. sizes: of its batches, as far as they are known.
    """

    def __init__(self, reader: Reader, iterable: Iterable[Any], sizes: frozenset[int] = frozenset()) -> None:
        self.reader, self.iterable, self.sizes = reader, iterable, sizes
        self.once = iter(iterable) is iterable if isinstance(iterable, Iterator) else False
        self.steps = None if self.once else length_of(iterable)

    def batches(self, device: torch.device, order: torch.Generator | None = None) -> Iterator[Batch]:
        """A pass, see `Source`."""
        for data in self.iterable:
            yield self.reader.batch(data, device)


def length_of(given: Any) -> int | None:
    """Its length; None if it has none, as an `IterableDataset` that says nothing of it, or a loader of one."""
    try:
        return len(given)
    except TypeError:
        return None
