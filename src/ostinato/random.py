"""The one source of randomness: what is drawn is a function of (seed, counter).

Until a seed is set, each draw takes its seed from torch's global generator, so that `torch.manual_seed` governs. A
layer with a `seed` of its own has a stream of its own.
"""

from __future__ import annotations

import itertools
import random
import threading
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_KEYS = itertools.count()


class Stream:
    """A sequence of seeds: the n-th is a function of (seed, n). seed None: taken from torch's global generator."""

    def __init__(self, seed: int | None = None, counter: int = 0) -> None:
        self.seed, self.counter = seed, counter
        self.key = next(_KEYS)  # by which compiled code finds it
        _STREAMS[self.key] = self

    def __reduce__(self) -> Any:
        return (_default, ()) if self is DEFAULT else (Stream, (self.seed, self.counter))  # copies draw by themselves

    def next(self) -> int:
        """The next seed, `0 <= seed < 2**63`."""
        if self.seed is None:
            return int(torch.randint(0, 2**63 - 1, (), dtype=torch.int64, device="cpu"))
        self.counter += 1
        return _mix(_mix(self.seed) ^ self.counter) >> 1

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator on `device`, seeded with the next seed."""
        generator = torch.Generator(device)
        generator.manual_seed(self.next())
        return generator


def _mix(value: int) -> int:
    """SplitMix64's finaliser (Steele, Lea & Flood, 2014): neighbouring counters give unrelated seeds."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


_STREAMS: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
DEFAULT = Stream()
"""The stream of everything that has no seed of its own."""


def _default() -> Stream:
    return DEFAULT


def set_random_seed(seed: int) -> None:
    """Make what follows repeatable: seeds this library, Python's `random`, NumPy and torch.

    seed: an int, `0 <= seed < 2**32`. Raises ValueError otherwise.

    >>> import ostinato
    >>> ostinato.utils.set_random_seed(7)
    >>> first = ostinato.layers.Dense(2)(np.ones((1, 3)))
    >>> ostinato.utils.set_random_seed(7)
    >>> bool((first == ostinato.layers.Dense(2)(np.ones((1, 3)))).all())
    True
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"set_random_seed: expected an int from 0 to 2**32 - 1, got {seed!r}.")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    DEFAULT.seed, DEFAULT.counter = seed, 0


class _Place(threading.local):
    """Counts the draws of a compiled call, so that no two of them look the same to the compiler."""

    def __init__(self) -> None:
        self.draws = 0


PLACE = _Place()


def dropout_mask(shape: tuple[int, ...], rate: float, like: Tensor, stream: Stream) -> Tensor:
    """Inverted dropout: 0 with probability `rate`, else `1 / (1 - rate)`; dtype and device of `like`."""
    if torch.compiler.is_compiling():
        PLACE.draws += 1
        return torch.ops.ostinato.dropout_mask(list(shape), rate, like, stream.key, PLACE.draws)
    return _drawn(shape, rate, like, stream)


def _drawn(shape: Any, rate: float, like: Tensor, stream: Stream) -> Tensor:
    mask = torch.empty(shape, dtype=like.dtype, device=like.device)
    return mask.bernoulli_(1 - rate, generator=stream.generator(like.device)).div_(1 - rate)


# A compiler would take a generator's seed for a constant. It gets an operator that draws anew whenever it is run.
_LIBRARY = torch.library.Library("ostinato", "FRAGMENT")
_LIBRARY.define(
    "dropout_mask(SymInt[] shape, float rate, Tensor like, int stream, int place) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded,),
)
_LIBRARY.impl(
    "dropout_mask",
    lambda shape, rate, like, stream, place: _drawn(shape, rate, like, _STREAMS[stream]),
    "CompositeExplicitAutograd",
)
torch.library.register_fake(
    "ostinato::dropout_mask", lambda shape, rate, like, stream, place: like.new_empty(shape), lib=_LIBRARY
)
