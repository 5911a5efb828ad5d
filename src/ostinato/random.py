"""The one source of randomness: what is drawn is a function of (seed, counter).

Until a seed is set, each draw takes its seed from torch's global generator, so that `torch.manual_seed` governs. A
layer with a `seed` of its own has a stream of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_KEYS = itertools.count()
_REMEMBERED = 4096  # draws between a call and the same call again in a backward, at most


class Stream:
    """A sequence of seeds: the n-th is a function of (seed, n). seed None: taken from torch's global generator."""

    def __init__(self, seed: int | None = None, counter: int = 0) -> None:
        self.seed, self.counter = seed, counter
        self.key = next(_KEYS)  # by which compiled code finds it
        self._drawn: dict[int, int] = {}  # the latest seeds, by where torch's generator stood
        _STREAMS[self.key] = self

    def __reduce__(self) -> Any:
        return (_default, ()) if self is DEFAULT else (Stream, (self.seed, self.counter))  # copies draw by themselves

    def next(self) -> int:
        """The next seed, `0 <= seed < 2**63`."""
        if self.seed is None:
            return _of_torch()
        self.counter += 1
        return _mix(_mix(self.seed) ^ self.counter) >> 1

    def next_in_call(self) -> int:
        """The next seed for a call; in a backward, where `torch.utils.checkpoint` calls again, the one of that call.

        checkpoint puts torch's generator back to where it stood. Raises RuntimeError if it was told not to.
        """
        if self.seed is None:
            return self.next()
        place = _of_torch()
        if torch._C._current_graph_task_id() < 0:
            self._drawn.pop(place, None)
            found = self._drawn[place] = self.next()
            if len(self._drawn) > _REMEMBERED:
                del self._drawn[next(iter(self._drawn))]
            return found
        if place not in self._drawn:
            raise RuntimeError(
                "A backward that computes a call again cannot tell which random numbers it drew. Use "
                "torch.utils.checkpoint with preserve_rng_state=True."
            )
        return self._drawn[place]

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator on `device`, seeded with the next seed."""
        return _generator(device, self.next())


def _of_torch() -> int:
    """A number from torch's global generator."""
    with outside_transforms():
        return int(torch.randint(0, 2**63 - 1, (), dtype=torch.int64, device="cpu"))


def _generator(device: torch.device | str, seed: int) -> torch.Generator:
    generator = torch.Generator(device)
    generator.manual_seed(seed)
    return generator


def outside_transforms() -> contextlib.AbstractContextManager[Any]:
    """Where `torch.func` transforms do not reach: a seed is one for all samples of a vmap, which draws from it."""
    return torch._C._DisableFuncTorch() if torch._C._are_functorch_transforms_active() else contextlib.nullcontext()


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
    return _drop(_empty(shape, like), rate, stream)


def normal_noise(shape: tuple[int, ...], stddev: float, like: Tensor, stream: Stream) -> Tensor:
    """Normal values of mean 0 and a standard deviation; dtype and device of `like`."""
    if torch.compiler.is_compiling():
        PLACE.draws += 1
        return torch.ops.ostinato.normal_noise(list(shape), stddev, like, stream.key, PLACE.draws)
    return _scatter(_empty(shape, like), stddev, stream)


def _empty(shape: Any, like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device)


# Not in place, so that vmap can draw for each sample (randomness="different"); the values are the same.


def _drop(values: Tensor, rate: float, stream: Stream) -> Tensor:
    return torch.bernoulli(values, 1 - rate, generator=_generator(values.device, stream.next_in_call())).div_(1 - rate)


def _scatter(values: Tensor, stddev: float, stream: Stream) -> Tensor:
    generator = _generator(values.device, stream.next_in_call())
    return torch.normal(0.0, stddev, values.shape, generator=generator, dtype=values.dtype, device=values.device)


# A compiler would take a generator's seed for a constant. It gets operators that draw anew whenever they are run.
_LIBRARY = torch.library.Library("ostinato", "FRAGMENT")


def _operator(name: str, fill: Callable[[Tensor, float, Stream], Tensor]) -> None:
    """Make `torch.ops.ostinato.<name>`, which fills a new tensor from the stream of that key."""
    _LIBRARY.define(
        f"{name}(SymInt[] shape, float amount, Tensor like, int stream, int place) -> Tensor",
        tags=(torch.Tag.nondeterministic_seeded,),
    )

    def run(shape: Any, amount: float, like: Tensor, stream: int, place: int) -> Tensor:
        return fill(_empty(shape, like), amount, _STREAMS[stream])

    def fake(shape: Any, amount: float, like: Tensor, stream: int, place: int) -> Tensor:
        return like.new_empty(shape)

    _LIBRARY.impl(name, run, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, torch.library.fallthrough_kernel, "Autograd")  # what is drawn depends on no value
    torch.library.register_fake(f"ostinato::{name}", fake, lib=_LIBRARY)


_operator("dropout_mask", _drop)
_operator("normal_noise", _scatter)
