"""`Dropout`, `SpatialDropout1D`, `GaussianNoise`: noise in training, nothing in inference."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ostinato.core.input_spec import InputSpec
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin
from ostinato.random import DEFAULT, Stream, dropout_mask, normal_noise


class Noisy(Layer):
    """A layer that draws in training only, from a stream of its own if it has a seed, and passes the mask on."""

    supports_masking = True
    steps_independent = True

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self._stream = DEFAULT if seed is None else Stream(seed)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return tuple(input_shape)


@builtin("layers")
class Dropout(Noisy):
    """In training, sets a share of the values to zero and scales the others up (Srivastava et al., 2014).

    rate: the share, in [0, 1]. noise_shape: shape of the mask, None where the input's size is meant, 1 where values are
    to be dropped together. seed: of the masks.

    >>> import torch, ostinato
    >>> ostinato.layers.Dropout(0.5)(torch.ones(2), training=False)
    tensor([1., 1.])
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.rate, self.noise_shape = _share(type(self).__name__, "rate", rate), noise_shape
        self.rows_independent = not noise_shape or noise_shape[0] is None

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        if self.rate == 1:
            return inputs * 0
        return inputs * dropout_mask(self._drawn_shape(tuple(inputs.shape)), self.rate, inputs, self._stream)

    def _drawn_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the mask for an input of that shape. Raises ValueError if the noise_shape does not fit it."""
        if self.noise_shape is None:
            return shape
        fits = len(self.noise_shape) == len(shape)
        if not fits or any(m is not None and m != 1 and m != n for n, m in zip(shape, self.noise_shape, strict=True)):
            raise ValueError(
                f"{self.described}: noise_shape {tuple(self.noise_shape)} does not fit an input of shape {shape}; "
                f"each entry must be None, 1 or the input's size."
            )
        return tuple(n if m is None else m for n, m in zip(shape, self.noise_shape, strict=True))

    def _differs_in_training(self) -> bool:
        return self.rate > 0


@builtin("layers")
class SpatialDropout1D(Dropout):
    """Dropout of whole features: in a sample, a feature is dropped at all steps or at none (Tompson et al., 2015).

    rate: the share of features dropped, in [0, 1]. seed: of the masks.

    Called with `(batch, time, features)`; returns the same shape. The mask is passed on.
    Raises ValueError for another rate, or an input of another rank.
    Source: arXiv:1411.4280; keras/src/layers/regularization/spatial_dropout.py.

    >>> import torch, ostinato
    >>> y = ostinato.layers.SpatialDropout1D(0.5, seed=1)(torch.ones(4, 5, 3), training=True)
    >>> bool((y == y[:, :1]).all()), y.unique()
    (True, tensor([0., 2.]))
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, noise_shape=(None, 1, None), seed=seed, **kwargs)
        self.input_spec = InputSpec(ndim=3, layout="(batch, time, features)")


@builtin("layers")
class GaussianNoise(Noisy):
    """In training, adds normal noise of mean 0.

    stddev: its standard deviation, in [0, 1]. seed: of the noise.

    Called with any shape; returns the same. The mask is passed on.
    Raises ValueError for another stddev.
    Source: keras/src/layers/regularization/gaussian_noise.py.

    >>> import torch, ostinato
    >>> ostinato.layers.GaussianNoise(0.5)(torch.ones(2), training=False)
    tensor([1., 1.])
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.stddev = _share("GaussianNoise", "stddev", stddev)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.stddev == 0:
            return inputs
        x = inputs if inputs.is_floating_point() else inputs.to(self._dtype)
        return x + normal_noise(tuple(x.shape), self.stddev, x, self._stream)

    def _differs_in_training(self) -> bool:
        return self.stddev > 0


def _share(who: str, what: str, value: Any) -> float:
    """A number from 0 to 1. Raises ValueError for anything else."""
    if not isinstance(value, (int, float, np.floating)) or not 0 <= value <= 1:
        raise ValueError(f"{who}: {what} must be in [0, 1], got {value!r}.")
    return float(value)
