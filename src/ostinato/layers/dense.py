"""`Dense`: a linear map and an activation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import activations, constraints, initializers, regularizers
from ostinato.core.input_spec import InputSpec
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin
from ostinato.layers.masked import activated, finite, over


@builtin("layers")
class Dense(Layer):
    """`activation(x W + b)` along the last axis.

    units: size of the output. activation: name or function, none by default. use_bias: whether there is a bias.
    *_initializer, *_regularizer, *_constraint: of kernel `(features, units)` and bias `(units,)`.

    Called with `(batch, ..., features)`, and a mask of its leading axes; returns `(batch, ..., units)`, with that mask.
    What is not finite in a masked step counts as 0, and so reaches no gradient; all else is mapped as if it were used.
    Raises ValueError for inputs or a mask that do not fit.

    >>> import torch, ostinato
    >>> ostinato.layers.Dense(3, activation="relu")(torch.zeros(2, 5)).shape
    torch.Size([2, 3])
    """

    supports_masking = True
    steps_independent = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if isinstance(units, bool) or not hasattr(units, "__index__") or int(units) < 1:
            raise ValueError(f"Dense: `units` must be a positive integer, got {units!r}.")
        self.units = int(units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            got = tuple(input_shape)
            raise ValueError(f"{self.described}: expected input (batch, ..., features) with features known, got {got}.")
        features = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(features, self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        self.bias: Tensor | None = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )
        self.input_spec = InputSpec(min_ndim=2, axes={-1: features})

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        if not inputs.is_floating_point():
            inputs = inputs.to(self._dtype)
        if mask is not None and mask.dim() >= inputs.dim():
            mask = None  # one of entries, which says nothing of steps
        used = None if mask is None else over(mask, inputs, self.described)
        x, kernel, bias = finite(inputs, used), self.kernel, self.bias
        if x.dim() == 2 and bias is not None:
            outputs = torch.addmm(bias, x, kernel)
        else:
            outputs = torch.nn.functional.linear(x, kernel.t(), bias)
        return outputs if self.activation is None else activated(self.activation, outputs, used)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(batch, ..., units)`."""
        return (*input_shape[:-1], self.units)
