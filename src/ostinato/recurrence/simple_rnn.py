"""The fully connected recurrence (Elman, 1990, "Finding structure in time")."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ostinato.recurrence.activations import Activation
from ostinato.recurrence.base import STATIC, Recurrence, affine, recur


@dataclasses.dataclass(eq=False, slots=True)
class SimpleRNN(Recurrence):
    """`h' = activation(x W + b + h U)`; output h'; state (h,).

    kernel W `(features, units)`, recurrent_kernel U `(units, units)`, bias b `(units,)` or None;
    dropout masks `(batch, features)` and `(batch, units)` or None.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None = None
    dropout: Tensor | None = None
    recurrent_dropout: Tensor | None = None
    activation: Activation = dataclasses.field(default=torch.tanh, metadata=STATIC)

    name = "simple_rnn"

    def project(self, xs: Tensor) -> Tensor:
        return affine(xs, self.kernel, self.bias, self.dropout)

    def step(self, x: Tensor, state: tuple[Tensor]) -> tuple[Tensor, tuple[Tensor]]:
        h = self.activation(recur(x, state[0], self.recurrent_kernel, self.recurrent_dropout))
        return h, (h,)
