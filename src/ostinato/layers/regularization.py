"""`Dropout`."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ostinato.core.layer import Layer
from ostinato.core.registry import builtin
from ostinato.random import DEFAULT, Stream, dropout_mask


@builtin("layers")
class Dropout(Layer):
    """In training, sets a share of the values to zero and scales the others up (Srivastava et al., 2014).

    rate: the share, in [0, 1]. noise_shape: shape of the mask, None where the input's size is meant, 1 where values are
    to be dropped together. seed: of the masks.

    >>> import torch, ostinato
    >>> ostinato.layers.Dropout(0.5)(torch.ones(2), training=False)
    tensor([1., 1.])
    """

    supports_masking = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(rate, (int, float, np.floating)) or not 0 <= rate <= 1:
            raise ValueError(f"Dropout: rate must be in [0, 1], got {rate!r}.")
        self.rate, self.noise_shape, self.seed = float(rate), noise_shape, seed
        self._stream = DEFAULT if seed is None else Stream(seed)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        if self.rate == 1:
            return inputs * 0
        shape = tuple(inputs.shape)
        if self.noise_shape is not None:
            fits = len(self.noise_shape) == len(shape)
            if not fits or any(m not in (None, 1, n) for n, m in zip(shape, self.noise_shape, strict=True)):
                raise ValueError(
                    f"{self.described}: noise_shape {tuple(self.noise_shape)} does not fit an input of shape {shape}; "
                    f"each entry must be None, 1 or the input's size."
                )
            shape = tuple(n if m is None else m for n, m in zip(shape, self.noise_shape, strict=True))
        return inputs * dropout_mask(shape, self.rate, inputs, self._stream)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return tuple(input_shape)

    def _differs_in_training(self) -> bool:
        return self.rate > 0
