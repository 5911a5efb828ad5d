"""`BatchNormalization`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import constraints, initializers, regularizers
from ostinato.core.input_spec import InputSpec
from ostinato.core.layer import Layer
from ostinato.core.masks import first_mask
from ostinato.core.registry import builtin
from ostinato.core.shapes import spares_time
from ostinato.layers.masked import finite, over


@builtin("layers")
class BatchNormalization(Layer):
    """Mean 0 and variance 1 for each feature, over the batch (Ioffe & Szegedy, 2015, arXiv:1502.03167).

    ::

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    In training mean and variance are the batch's (steps that are masked do not count), and the moving ones follow as
    `moving = momentum * moving + (1 - momentum) * batch`, the variance as it is (biased), unlike torch's; in inference,
    and if the layer is not trainable, the moving ones are used.

    axis: of the features. momentum, epsilon: as above. center, scale: whether there is a beta, a gamma.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.BatchNormalization()
    >>> layer(torch.randn(8, 3), training=True).mean(0).abs().max().item() < 1e-6
    True
    """

    supports_masking = True
    rows_independent = False

    def __init__(
        self,
        axis: Any = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, (list, tuple)) and len(axis) == 1:
            (axis,) = axis  # in configs that Keras 2 wrote
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise ValueError(f"BatchNormalization: axis must be a whole number, got {axis!r}.")
        self.axis, self.momentum, self.epsilon = axis, momentum, epsilon
        self.center, self.scale = center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    @property
    def steps_independent(self) -> bool:
        """Whether no step sees another one: not where it is normalized over the steps."""
        return spares_time(self.axis)

    def build(self, input_shape: Any) -> None:
        rank = len(input_shape)
        if not -rank <= self.axis < rank or input_shape[self.axis] is None:
            raise ValueError(
                f"{self.described}: axis {self.axis} of the input must be there and known, got {tuple(input_shape)}."
            )
        shape = (input_shape[self.axis],)
        self.gamma: Tensor | None = None
        self.beta: Tensor | None = None
        if self.scale:
            self.gamma = self.add_weight(
                shape=shape,
                initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                name="gamma",
            )
        if self.center:
            self.beta = self.add_weight(
                shape=shape,
                initializer=self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                name="beta",
            )
        self.moving_mean = self.add_weight(
            shape=shape, initializer=self.moving_mean_initializer, trainable=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            shape=shape, initializer=self.moving_variance_initializer, trainable=False, name="moving_variance"
        )
        self.input_spec = InputSpec(ndim=rank, axes={self.axis: shape[0]})

    def call(self, inputs: Tensor, training: bool = False, mask: Any = None) -> Tensor:
        used = self._used(inputs, first_mask(mask))
        as_they_are = inputs.dim() == 2 and self.axis in (1, -1)  # views cost a little, forwards and backwards
        x = finite(inputs if as_they_are else inputs.movedim(self.axis, -1), used)
        rows = x if as_they_are else x.reshape(-1, x.shape[-1])
        if not training or not self._trainable or not len(rows):  # an empty batch has no mean to follow
            rows = torch.batch_norm(
                rows, self.gamma, self.beta, self.moving_mean, self.moving_variance, False, 0.0, self.epsilon, False
            )
        elif used is not None:
            mean, variance = _moments(x, used)
            with torch.no_grad():
                self._follow(mean, variance)
            rows = self._normalise(rows, mean, variance)
        else:
            with torch.no_grad():
                variance, mean = torch.var_mean(rows, dim=0, correction=0)
                self._follow(mean, variance)
            rows = torch.batch_norm(rows, self.gamma, self.beta, None, None, True, 0.0, self.epsilon, False)
        return rows if as_they_are else rows.reshape(x.shape).movedim(-1, self.axis)

    def _used(self, inputs: Tensor, mask: Tensor | None) -> Tensor | None:
        """What is not masked, over the input with its features last; None if there is no mask.

        The mask is one of the input's leading axes, as in Keras, or of those that are left without the features.
        """
        if mask is None:
            return None
        if mask.shape == inputs.shape[: mask.dim()]:
            return over(mask, inputs, self.described).expand_as(inputs).movedim(self.axis, -1)
        moved = inputs.movedim(self.axis, -1)
        return over(mask, moved, self.described).expand_as(moved)

    def _normalise(self, rows: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Written out, since gradients flow through the masked mean and variance."""
        rows = (rows - mean) * torch.rsqrt(variance + self.epsilon)
        rows = rows if self.gamma is None else rows * self.gamma
        return rows if self.beta is None else rows + self.beta

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the moving statistics towards a batch's."""
        self.moving_mean.lerp_(mean, 1 - self.momentum)
        self.moving_variance.lerp_(variance, 1 - self.momentum)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return tuple(input_shape)

    def _differs_in_training(self) -> bool:
        return self._trainable


def _moments(x: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over what is used, feature by feature; x, used: `(..., features)`."""
    axes = tuple(range(x.dim() - 1))
    count = used.to(x.dtype).sum(axes) + 1e-7
    mean = x.masked_fill(~used, 0).sum(axes) / count
    variance = (x - mean).masked_fill(~used, 0).square().sum(axes) / count
    return mean, variance
