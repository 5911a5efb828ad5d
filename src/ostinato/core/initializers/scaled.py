"""Initial values that are drawn with a variance by the number of inputs and outputs of the weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ostinato.core import registry
from ostinato.core.initializers.drawn import RandomInitializer

Axes = Sequence[int] | None

# The standard deviation of a unit normal whose values beyond two were drawn again.
_TRUNCATED = 0.87962566103423978


@registry.builtin("initializers", "variance_scaling")
class VarianceScaling(RandomInitializer):
    """Values whose variance is `scale / n`.

    mode: n is the number of inputs ("fan_in"), of outputs ("fan_out") or their mean ("fan_avg"), at least 1.
    distribution: "truncated_normal" (or "normal"), "untruncated_normal" or "uniform".
    input_axes, output_axes: the axes of the weight that are inputs and outputs; by default the last but one and the
    last, those before them counted to both, as of a convolution's kernel. Raises ValueError for anything else.

    >>> values = VarianceScaling(scale=3.0, distribution="uniform", seed=1)((4, 5))
    >>> bool((values.abs() <= 1.5).all())
    True
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Axes = None,
        output_axes: Axes = None,
    ) -> None:
        super().__init__(seed)
        who = type(self).__name__
        modes, distributions = ("fan_in", "fan_out", "fan_avg"), ("truncated_normal", "untruncated_normal", "uniform")
        distribution = "truncated_normal" if distribution.lower() == "normal" else distribution.lower()
        if scale <= 0:
            raise ValueError(f"{who}: scale must be above 0, got {scale}.")
        if mode not in modes:
            raise ValueError(f"{who}: mode {mode!r} is not one of {modes}.")
        if distribution not in distributions:
            raise ValueError(f"{who}: distribution {distribution!r} is not one of {distributions}.")
        self.scale, self.mode, self.distribution = scale, mode, distribution
        self.input_axes, self.output_axes = input_axes, output_axes

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        fan_in, fan_out = fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, fan))
        if self.distribution == "uniform":
            limit = math.sqrt(3) * stddev
            return self._uniform(shape, -limit, limit, dtype)
        if self.distribution == "untruncated_normal":
            return self._normal(shape, 0, stddev, dtype)
        return self._truncated(shape, 0, stddev / _TRUNCATED, dtype)


def fans(shape: Sequence[int], input_axes: Axes = None, output_axes: Axes = None) -> tuple[int, int]:
    """The number of inputs and outputs of a weight of this shape.

    >>> fans((4, 5)), fans((3, 3, 4, 5)), fans((2, 4, 5), input_axes=[0], output_axes=[1, 2])
    ((4, 5), (36, 45), (2, 20))
    """
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
    if len(shape) < 2:
        size = shape[0] if len(shape) else 1
        return size, size
    receptive = math.prod(shape[:-2])
    return shape[-2] * receptive, shape[-1] * receptive


class _Fixed(VarianceScaling):
    """A VarianceScaling with its numbers fixed."""

    _numbers: tuple[float, str, str]

    def __init__(self, seed: int | None = None, input_axes: Axes = None, output_axes: Axes = None) -> None:
        super().__init__(*self._numbers, seed, input_axes, output_axes)


@registry.builtin("initializers", "glorot_uniform")
class GlorotUniform(_Fixed):
    """Uniform in `+-sqrt(6 / (fan_in + fan_out))` (Glorot & Bengio, 2010).

    >>> bool((GlorotUniform(seed=1)((2, 4)).abs() <= 1).all())
    True
    """

    _numbers = (1.0, "fan_avg", "uniform")


@registry.builtin("initializers", "glorot_normal")
class GlorotNormal(_Fixed):
    """Truncated normal with variance `2 / (fan_in + fan_out)` (Glorot & Bengio, 2010).

    >>> GlorotNormal(seed=1)((2, 4)).shape
    torch.Size([2, 4])
    """

    _numbers = (1.0, "fan_avg", "truncated_normal")


@registry.builtin("initializers", "he_uniform")
class HeUniform(_Fixed):
    """Uniform in `+-sqrt(6 / fan_in)` (He et al., 2015).

    >>> bool((HeUniform(seed=1)((6, 4)).abs() <= 1).all())
    True
    """

    _numbers = (2.0, "fan_in", "uniform")


@registry.builtin("initializers", "he_normal")
class HeNormal(_Fixed):
    """Truncated normal with variance `2 / fan_in` (He et al., 2015).

    >>> HeNormal(seed=1)((2, 4)).shape
    torch.Size([2, 4])
    """

    _numbers = (2.0, "fan_in", "truncated_normal")


@registry.builtin("initializers", "lecun_uniform")
class LecunUniform(_Fixed):
    """Uniform in `+-sqrt(3 / fan_in)` (LeCun et al., 1998).

    >>> bool((LecunUniform(seed=1)((3, 4)).abs() <= 1).all())
    True
    """

    _numbers = (1.0, "fan_in", "uniform")


@registry.builtin("initializers", "lecun_normal")
class LecunNormal(_Fixed):
    """Truncated normal with variance `1 / fan_in` (LeCun et al., 1998).

    >>> LecunNormal(seed=1)((2, 4)).shape
    torch.Size([2, 4])
    """

    _numbers = (1.0, "fan_in", "truncated_normal")
