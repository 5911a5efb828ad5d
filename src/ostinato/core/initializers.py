"""Initial values of weights, by Keras's names and formulas.

Drawn on the CPU, so that a seed means the same on any device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.core.config import bound_arguments, without_foreign
from ostinato.core.dtypes import as_dtype
from ostinato.random import DEFAULT, Stream


class Initializer:
    """Base: a callable `(shape, dtype=None) -> Tensor` with a config."""

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls)
        self._arguments = bound_arguments(cls, args, kwargs)
        return self

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype=None).")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: registry.serialize_keras_object(value) for key, value in self._arguments.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The initializer that `get_config` described."""
        return cls(**without_foreign(cls, config))


@registry.builtin("initializers", "zeros")
class Zeros(Initializer):
    """Zeros."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return torch.zeros(tuple(shape), dtype=as_dtype(dtype), device="cpu")


@registry.builtin("initializers", "ones")
class Ones(Initializer):
    """Ones."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return torch.ones(tuple(shape), dtype=as_dtype(dtype), device="cpu")


@registry.builtin("initializers", "constant")
class Constant(Initializer):
    """One value everywhere."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return torch.full(tuple(shape), self.value, dtype=as_dtype(dtype), device="cpu")


class _Random(Initializer):
    """An initializer that draws; with a seed of its own it draws the same values at every call."""

    seed: int | None = None

    def _generator(self) -> torch.Generator:
        stream = DEFAULT if self.seed is None else Stream(self.seed)
        return stream.generator("cpu")


@registry.builtin("initializers", "random_uniform", "uniform")
class RandomUniform(_Random):
    """Uniform in `[minval, maxval)`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        values = torch.empty(tuple(shape), dtype=as_dtype(dtype), device="cpu")
        return values.uniform_(self.minval, self.maxval, generator=self._generator())


@registry.builtin("initializers", "random_normal", "normal")
class RandomNormal(_Random):
    """Normal with `mean` and `stddev`."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        values = torch.empty(tuple(shape), dtype=as_dtype(dtype), device="cpu")
        return values.normal_(self.mean, self.stddev, generator=self._generator())


@registry.builtin("initializers", "truncated_normal")
class TruncatedNormal(_Random):
    """Normal with `mean` and `stddev`, drawn within two standard deviations of the mean."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        values = torch.empty(tuple(shape), dtype=as_dtype(dtype), device="cpu")
        low, high = self.mean - 2 * self.stddev, self.mean + 2 * self.stddev
        return torch.nn.init.trunc_normal_(values, self.mean, self.stddev, low, high, generator=self._generator())


@registry.builtin("initializers", "variance_scaling")
class VarianceScaling(_Random):
    """Values whose variance is `scale / n`.

    mode: n is the number of inputs ("fan_in"), of outputs ("fan_out") or their mean ("fan_avg").
    distribution: "truncated_normal", "untruncated_normal" or "uniform".
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        modes, distributions = ("fan_in", "fan_out", "fan_avg"), ("truncated_normal", "untruncated_normal", "uniform")
        distribution = "truncated_normal" if distribution == "normal" else distribution
        if scale <= 0:
            raise ValueError(f"VarianceScaling: scale must be above 0, got {scale}.")
        if mode not in modes:
            raise ValueError(f"VarianceScaling: mode {mode!r} is not one of {modes}.")
        if distribution not in distributions:
            raise ValueError(f"VarianceScaling: distribution {distribution!r} is not one of {distributions}.")
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        fan_in, fan_out = _fans(tuple(shape))
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        values = torch.empty(tuple(shape), dtype=as_dtype(dtype), device="cpu")
        generator = self._generator()
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return values.uniform_(-limit, limit, generator=generator)
        if self.distribution == "untruncated_normal":
            return values.normal_(0, math.sqrt(variance), generator=generator)
        # 0.8796... is the standard deviation of a unit normal cut off at two.
        stddev = math.sqrt(variance) / 0.87962566103423978
        return torch.nn.init.trunc_normal_(values, 0, stddev, -2 * stddev, 2 * stddev, generator=generator)


class _Scaled(VarianceScaling):
    """A VarianceScaling with its numbers fixed; only the seed is an argument."""

    _numbers: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self._numbers, seed=seed)


@registry.builtin("initializers", "glorot_uniform")
class GlorotUniform(_Scaled):
    """Uniform in `+-sqrt(6 / (fan_in + fan_out))` (Glorot & Bengio, 2010)."""

    _numbers = (1.0, "fan_avg", "uniform")


@registry.builtin("initializers", "glorot_normal")
class GlorotNormal(_Scaled):
    """Truncated normal with variance `2 / (fan_in + fan_out)` (Glorot & Bengio, 2010)."""

    _numbers = (1.0, "fan_avg", "truncated_normal")


@registry.builtin("initializers", "he_uniform")
class HeUniform(_Scaled):
    """Uniform in `+-sqrt(6 / fan_in)` (He et al., 2015)."""

    _numbers = (2.0, "fan_in", "uniform")


@registry.builtin("initializers", "he_normal")
class HeNormal(_Scaled):
    """Truncated normal with variance `2 / fan_in` (He et al., 2015)."""

    _numbers = (2.0, "fan_in", "truncated_normal")


@registry.builtin("initializers", "lecun_uniform")
class LecunUniform(_Scaled):
    """Uniform in `+-sqrt(3 / fan_in)` (LeCun et al., 1998)."""

    _numbers = (1.0, "fan_in", "uniform")


@registry.builtin("initializers", "lecun_normal")
class LecunNormal(_Scaled):
    """Truncated normal with variance `1 / fan_in` (LeCun et al., 1998)."""

    _numbers = (1.0, "fan_in", "truncated_normal")


@registry.builtin("initializers", "orthogonal", "OrthogonalInitializer")
class Orthogonal(_Random):
    """An orthogonal matrix times `gain` (Saxe et al., 2014); of a longer shape, all but the last axis as rows."""

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain, self.seed = gain, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: expected a shape of 2 or more dimensions, got {tuple(shape)}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = torch.empty(max(rows, columns), min(rows, columns), device="cpu", dtype=torch.float64)
        q, r = torch.linalg.qr(tall.normal_(generator=self._generator()))
        q = q * torch.sign(torch.diagonal(r))  # makes the decomposition unique, and the matrix uniformly distributed
        q = q.t() if rows < columns else q
        return (self.gain * q).reshape(tuple(shape)).to(as_dtype(dtype))


def _fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """Number of inputs and outputs of a weight of this shape."""
    if len(shape) < 2:
        size = float(shape[0]) if shape else 1.0
        return size, size
    receptive = math.prod(shape[:-2])
    return float(shape[-2] * receptive), float(shape[-1] * receptive)


def get(identifier: Any) -> Any:
    """The initializer for a name, a config, a class or a callable `(shape, dtype)`; None stays None.

    Raises ValueError for an unknown name, with the nearest known one.
    """
    return registry.resolve("initializers", identifier)


def serialize(initializer: Any) -> Any:
    """The config of an initializer."""
    return registry.serialize_keras_object(initializer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The initializer that `serialize` described."""
    return registry.resolve("initializers", config, custom_objects)


__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "deserialize",
    "get",
    "serialize",
]
