"""What a call hands down to the calls inside it: a `threading.local`, since ContextVars break torch.compile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

from ostinato.ops.devices import creating_on
from ostinato.random import PLACE


class CallContext(threading.local):
    """The state of the calls under way in this thread.

    training: the mode of the enclosing call, None outside any call.
    depth: how many layer calls are under way; number: counts the outermost ones, 0 for one in compiled code, of which
    the count would be a constant.
    inferring: shapes are being found on the meta device; nothing a call does may last.
    rehearsing: a call on data is only to build the layers; what they assign to their weights is dropped.
    held: the dropout masks of the cells in a cell of one's own, by cell, while it is stepped through a sequence; they
    are drawn at its first step and held over the others. None elsewhere.
    """

    def __init__(self) -> None:  # for each thread; where class attributes stand in, torch.compile loses its way
        self.training: bool | None = None
        self.depth = 0
        self.count = 0
        self.counted = True  # whether the latest outermost call was
        self.inferring = False
        self.rehearsing = False
        self.held: dict[tuple[int, int], Any] | None = None

    def enter(self, training: bool) -> bool | None:
        """A layer's call begins; returns what `leave` needs."""
        outer = self.training
        if self.depth == 0:
            self.counted = not torch.compiler.is_compiling()
            if self.counted:
                self.count += 1
            else:
                PLACE.draws = 0
        self.training = training
        self.depth += 1
        return outer

    @property
    def number(self) -> int:
        """The number of the latest outermost call."""
        return self.count if self.counted else 0

    def leave(self, outer: bool | None) -> None:
        """The call ends."""
        self.training = outer
        self.depth -= 1


CONTEXT = CallContext()


@contextlib.contextmanager
def holding(masks: dict[tuple[int, int], Any] | None) -> Iterator[None]:
    """While the block runs, dropout masks are held in `masks`, and found there; None: each call draws its own."""
    before = CONTEXT.held
    CONTEXT.held = masks
    try:
        yield
    finally:
        CONTEXT.held = before


@contextlib.contextmanager
def inferring_shapes() -> Iterator[None]:
    """While the block runs, layers compute shapes only, on copies of their weights without data.

    What `ostinato.ops` makes of nothing has no data either.
    """
    before = CONTEXT.inferring
    CONTEXT.inferring = True
    try:
        with creating_on("meta"):
            yield
    finally:
        CONTEXT.inferring = before


@contextlib.contextmanager
def rehearsing(only_building: bool = True) -> Iterator[None]:
    """While the block runs, layers are built by calls that leave nothing behind: their weights hold their values.

    only_building: False for what is to last all the same, inside.
    """
    before = CONTEXT.rehearsing
    CONTEXT.rehearsing = only_building
    try:
        yield
    finally:
        CONTEXT.rehearsing = before
