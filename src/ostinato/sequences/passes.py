"""What data is passed over in, again and again: an order that is a function of (seed, epoch)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato import random
from ostinato.sequences.arrays import whole


class Passes(ABC):
    """Items that are made as they are asked for, in an order of their own.

    `iter()` begins a pass, and the next one counts as the next epoch. `[index]` gives the item at that place of the
    pass of `epoch`, without beginning one.

    shuffle: whether each pass has a new order. seed: an int; by default drawn once, when this is made.
    """

    epoch: int  # the number of the next pass, from 0

    def __init__(self, shuffle: bool, seed: int | None, who: str) -> None:
        if not isinstance(shuffle, bool):
            raise ValueError(f"{who}: `shuffle` must be True or False, got {shuffle!r}.")
        if seed is not None and (isinstance(seed, bool) or not hasattr(seed, "__index__")):
            raise ValueError(f"{who}: `seed` must be a whole number, got {seed!r}.")
        self.shuffle = shuffle
        self.seed = None if not shuffle else random.DEFAULT.next() if seed is None else int(seed)
        self.epoch = 0
        self._planned: tuple[int, Sequence[Tensor] | Tensor] | None = None  # the plan of an epoch

    @abstractmethod
    def plan(self, order: torch.Generator | None) -> Sequence[Tensor] | Tensor:
        """The samples of each item of a pass; order: draws their order, None leaves it as it is."""

    @abstractmethod
    def gather(self, rows: Tensor) -> Any:
        """An item: of the samples at these rows."""

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be that of `epoch`, counted from 0: to repeat one, or to go on after a restart."""
        self.epoch = whole(epoch, "epoch", f"{type(self).__name__}.set_epoch", least=0)

    def _plan(self) -> Sequence[Tensor] | Tensor:
        epoch = self.epoch if self.shuffle else 0
        if self._planned is None or self._planned[0] != epoch:
            order = random.Stream(self.seed, epoch).generator() if self.shuffle else None
            self._planned = epoch, self.plan(order)
        return self._planned[1]

    def __len__(self) -> int:
        return len(self._plan())

    def __iter__(self) -> Iterator[Any]:
        plan = self._plan()
        self.epoch += 1
        return map(self.gather, plan)

    def __getitem__(self, index: int) -> Any:
        return self.gather(self._plan()[index])


class Batches(Passes):
    """Passes whose items are batches: what `fit`, `evaluate` and `predict` take, and torch's `DataLoader` too.

    `fit` keeps to this order, whatever its argument `shuffle` says. For a `DataLoader`, which may make the batches in
    other processes, say `batch_size=None`, and call `set_epoch` before each pass.
    """

    @property
    def sizes(self) -> frozenset[int]:
        """The sizes that batches have, in samples; the same in every pass."""
        return frozenset(len(rows) for rows in self._plan())

    @property
    def order(self) -> Tensor:
        """The numbers of the samples, `(samples,)` of int64, in the order of the next pass: with shuffle=False of all.

        What `predict` gives is in that order; `outputs[batches.order.argsort()]` is in that of the data.
        """
        return torch.cat(list(self._plan()))
