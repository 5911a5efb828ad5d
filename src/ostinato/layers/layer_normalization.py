"""`LayerNormalization`: each sample by itself."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from ostinato.core import constraints, initializers, regularizers
from ostinato.core.input_spec import InputSpec
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin
from ostinato.core.shapes import spares_time
from ostinato.layers.masked import finite, over


@builtin("layers")
class LayerNormalization(Layer):
    """Mean 0 and variance 1 over the features of each sample (Ba, Kiros & Hinton, 2016, arXiv:1607.06450).

    ::

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    Mean and variance are those along `axis`, in training and inference alike; half precision is computed in single.

    axis: whole number or list of them, of the features; gamma and beta have their sizes. epsilon: as above. center,
    scale: whether there is a beta, a gamma. *_initializer, *_regularizer, *_constraint: of the two. rms_scaling:
    Keras's deprecated option `y = gamma * x / sqrt(variance + epsilon)`, without beta; it warns.

    Called with floats of any shape; returns the same shape. The mask is passed on. As in Keras it changes no value, so
    that along an axis of steps masked ones count too; but what is not finite in a masked step counts as 0.
    Raises TypeError for an axis that is no whole number, ValueError for one that is not in the input, or that is open.
    Source: keras/src/layers/normalization/layer_normalization.py.

    >>> import torch, ostinato
    >>> ostinato.layers.LayerNormalization(epsilon=1e-6)(torch.tensor([[1.0, 3.0], [10.0, 30.0]])).detach()
    tensor([[-1.0000,  1.0000],
            [-1.0000,  1.0000]])
    """

    supports_masking = True

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        rms_scaling: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
        if not axes or any(isinstance(each, bool) or not hasattr(each, "__index__") for each in axes):
            raise TypeError(f"LayerNormalization: axis must be a whole number or a list of them, got {axis!r}.")
        if rms_scaling:
            warnings.warn(
                "LayerNormalization: rms_scaling=True divides by the root of the variance, not of the mean square; "
                "Keras has deprecated it.",
                stacklevel=2,
            )
        self.axis = axes if isinstance(axis, (list, tuple)) else axis
        self.epsilon, self.center, self.scale, self.rms_scaling = epsilon, center, scale, rms_scaling
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    @property
    def steps_independent(self) -> bool:
        """Whether no step sees another one: not where it is normalized over the steps."""
        return spares_time(self.axis)

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        self._positions(len(shape), shape)
        # In the order of the axes as they were given, negative ones first: that of Keras's weights.
        order = sorted(self.axis) if isinstance(self.axis, list) else [self.axis]
        sizes = tuple(shape[axis] for axis in order)
        if None in sizes:
            raise ValueError(f"{self.described}: axis {self.axis} of the input must be known, got shape {shape}.")
        self.gamma: Tensor | None = None
        self.beta: Tensor | None = None
        if self.scale or self.rms_scaling:
            self.gamma = self.add_weight(
                shape=sizes,
                initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                name="gamma",
            )
        if self.center and not self.rms_scaling:
            self.beta = self.add_weight(
                shape=sizes,
                initializer=self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                name="beta",
            )
        self.input_spec = InputSpec(ndim=len(shape), axes=dict(zip(order, sizes, strict=True)))

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        x = inputs if inputs.is_floating_point() else inputs.to(self._dtype)
        x = finite(x, None if mask is None else over(mask, x, self.described))
        positions = self._positions(x.dim(), tuple(x.shape))
        last = tuple(range(x.dim() - len(positions), x.dim()))
        x = x.movedim(positions, last)
        sizes = x.shape[x.dim() - len(positions) :]
        gamma = None if self.gamma is None else self.gamma.reshape(sizes)
        beta = None if self.beta is None else self.beta.reshape(sizes)
        if self.rms_scaling:
            y = _over_deviation(x, last, self.epsilon)
            y = y if gamma is None else y * gamma
        else:
            y = torch.nn.functional.layer_norm(x, sizes, gamma, beta, self.epsilon)
        return y.movedim(last, positions)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input. Raises ValueError if an axis is not in it."""
        self._positions(len(input_shape), tuple(input_shape))
        return tuple(input_shape)

    def _positions(self, rank: int, shape: Any) -> tuple[int, ...]:
        """The axes counted from 0, in order. Raises ValueError if one is not there, or there twice."""
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        found = {axis % rank for axis in axes if -rank <= axis < rank} if rank else set()
        if len(found) != len(axes):
            raise ValueError(f"{self.described}: axis {self.axis} must be in the input, each once, got shape {shape}.")
        return tuple(sorted(found))


def _over_deviation(x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    """`x / sqrt(variance + epsilon)`, half precision computed in single."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    variance = wide.var(axes, correction=0, keepdim=True)
    return (wide * torch.rsqrt(variance + epsilon)).to(x.dtype)
