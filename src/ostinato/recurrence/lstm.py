"""Long short-term memory (Hochreiter & Schmidhuber, 1997), with the forget gate of Gers et al. (2000)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ostinato.recurrence.activations import Activation
from ostinato.recurrence.base import STATIC, Recurrence, affine, recur


@dataclasses.dataclass(eq=False, slots=True)
class LSTM(Recurrence):
    """Four gates on a carried cell state.

    ::

        i, f, g, o = split(x W + b + h U)
        c' = s(f) * c + s(i) * a(g)
        h' = s(o) * a(c')

    with a the activation and s the recurrent activation; output h'; state (h, c). kernel W `(features, 4 units)`,
    recurrent_kernel U `(units, 4 units)`, bias b `(4 units,)` or None, gates in Keras's order i, f, c, o. Dropout
    masks: `(batch, features)` or `(4, batch, features)`, and `(4, batch, units)`, or None.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None = None
    dropout: Tensor | None = None
    recurrent_dropout: Tensor | None = None
    activation: Activation = dataclasses.field(default=torch.tanh, metadata=STATIC)
    recurrent_activation: Activation = dataclasses.field(default=torch.sigmoid, metadata=STATIC)

    name = "lstm"

    def project(self, xs: Tensor) -> Tensor:
        return affine(xs, self.kernel, self.bias, self.dropout)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, c = state
        gates = recur(x, h, self.recurrent_kernel, self.recurrent_dropout)
        i, f, g, o = gates.chunk(4, dim=-1)
        squash = self.recurrent_activation
        c = torch.addcmul(squash(f) * c, squash(i), self.activation(g))
        h = squash(o) * self.activation(c)
        return h, (h, c)
