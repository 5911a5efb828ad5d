"""Initial values that are drawn, on the CPU: a seed means the same on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.core.dtypes import as_dtype
from ostinato.core.initializers.base import Initializer
from ostinato.random import DEFAULT, Stream


class RandomInitializer(Initializer):
    """Base of those that draw: with a seed the same values at every call, without one by `utils.set_random_seed`.

    seed: an int, or None. Raises ValueError otherwise.

    >>> draw = RandomNormal(seed=1)
    >>> bool((draw((3,)) == draw((3,))).all())
    True
    """

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and (isinstance(seed, bool) or not hasattr(seed, "__index__")):
            raise ValueError(f"{type(self).__name__}: seed must be an int or None, got {seed!r}.")
        self.seed = seed

    def _generator(self) -> torch.Generator:
        stream = DEFAULT if self.seed is None else Stream(int(self.seed))
        return stream.generator("cpu")

    def _uniform(self, shape: Sequence[int], low: float, high: float, dtype: Any) -> Tensor:
        values, chosen = self._empty(shape, dtype)
        return values.uniform_(low, high, generator=self._generator()).to(chosen)

    def _normal(self, shape: Sequence[int], mean: float, stddev: float, dtype: Any) -> Tensor:
        values, chosen = self._empty(shape, dtype)
        return values.normal_(mean, stddev, generator=self._generator()).to(chosen)

    def _truncated(self, shape: Sequence[int], mean: float, stddev: float, dtype: Any) -> Tensor:
        """Normal values, those beyond two standard deviations of the mean drawn again."""
        values, chosen = self._empty(shape, dtype)
        torch.nn.init.trunc_normal_(values, 0, 1, -2, 2, generator=self._generator())
        return values.mul_(stddev).add_(mean).to(chosen)

    def _empty(self, shape: Sequence[int], dtype: Any) -> tuple[Tensor, torch.dtype]:
        """Room to draw in, of single precision at least, and the dtype asked for."""
        chosen = as_dtype(dtype)
        if not chosen.is_floating_point:
            raise ValueError(f"{type(self).__name__} draws floating-point values, not {chosen}.")
        drawn = torch.float64 if chosen is torch.float64 else torch.float32
        return torch.empty(tuple(shape), dtype=drawn, device="cpu"), chosen


@registry.builtin("initializers", "random_uniform", "uniform")
class RandomUniform(RandomInitializer):
    """Uniform in `[minval, maxval)`.

    >>> values = RandomUniform(0.0, 2.0, seed=1)((100,))
    >>> bool((values >= 0).all() and (values < 2).all())
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return self._uniform(shape, self.minval, self.maxval, dtype)


@registry.builtin("initializers", "random_normal", "normal")
class RandomNormal(RandomInitializer):
    """Normal with `mean` and `stddev`.

    >>> RandomNormal(mean=1.0, stddev=0.0)((2,))
    tensor([1., 1.])
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return self._normal(shape, self.mean, self.stddev, dtype)


@registry.builtin("initializers", "truncated_normal")
class TruncatedNormal(RandomInitializer):
    """Normal with `mean` and `stddev` before values beyond two standard deviations of the mean are drawn again.

    >>> bool((TruncatedNormal(stddev=1.0, seed=1)((100,)).abs() <= 2).all())
    True
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return self._truncated(shape, self.mean, self.stddev, dtype)


@registry.builtin("initializers", "orthogonal", "OrthogonalInitializer")
class Orthogonal(RandomInitializer):
    """An orthogonal matrix times `gain` (Saxe et al., 2014); of a longer shape, all but the last axis as rows.

    With fewer rows than columns the rows are orthogonal, else the columns. Raises ValueError for a shape of less than 2
    dimensions.

    >>> matrix = Orthogonal(seed=1)((2, 2))
    >>> torch.allclose(matrix @ matrix.T, torch.eye(2), atol=1e-6)
    True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: expected a shape of 2 or more dimensions, got {tuple(shape)}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = torch.empty(max(rows, columns), min(rows, columns), device="cpu", dtype=torch.float64)
        q, r = torch.linalg.qr(tall.normal_(generator=self._generator()))
        q = q * torch.sign(torch.diagonal(r))  # makes the decomposition unique, and the matrix uniformly distributed
        q = q.t() if rows < columns else q
        return (self.gain * q).reshape(tuple(shape)).to(as_dtype(dtype))
