"""The gated recurrent unit (Cho et al., 2014, arXiv:1406.1078), in both of its versions."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ostinato.recurrence.activations import Activation
from ostinato.recurrence.base import STATIC, Recurrence, affine, recur


@dataclasses.dataclass(eq=False, slots=True)
class GRU(Recurrence):
    """An update gate z and a reset gate r.

    ::

        z = s(x Wz + bz + h Uz)
        r = s(x Wr + br + h Ur)
        k = a(x Wh + bh + r * (h Uh + ch))      reset_after (arXiv:1406.1078v1, and cuDNN)
        k = a(x Wh + bh + (r * h) Uh)           otherwise (arXiv:1406.1078v3)
        h' = z * h + (1 - z) * k

    with a the activation and s the recurrent activation; output h'; state (h,). kernel W `(features, 3 units)`,
    recurrent_kernel U `(units, 3 units)`, gates in Keras's order z, r, h; bias `(2, 3 units)` if reset_after (row 0 for
    the input, row 1 for the recurrent part), else `(3 units,)`, or None. Dropout masks: `(batch, features)` or
    `(3, batch, features)`, and `(3, batch, units)`, or None.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None = None
    dropout: Tensor | None = None
    recurrent_dropout: Tensor | None = None
    activation: Activation = dataclasses.field(default=torch.tanh, metadata=STATIC)
    recurrent_activation: Activation = dataclasses.field(default=torch.sigmoid, metadata=STATIC)
    reset_after: bool = dataclasses.field(default=True, metadata=STATIC)

    name = "gru"

    def project(self, xs: Tensor) -> Tensor:
        bias = self.bias[0] if self.bias is not None and self.reset_after else self.bias
        return affine(xs, self.kernel, bias, self.dropout)

    def step(self, x: Tensor, state: tuple[Tensor]) -> tuple[Tensor, tuple[Tensor]]:
        (h,) = state
        squash = self.recurrent_activation
        units = h.shape[-1]
        if self.reset_after:
            xz, xr, xh = x.chunk(3, dim=-1)
            bias = None if self.bias is None else self.bias[1]
            hz, hr, hh = recur(bias, h, self.recurrent_kernel, self.recurrent_dropout).chunk(3, dim=-1)
            z = squash(xz + hz)
            r = squash(xr + hr)
            k = self.activation(torch.addcmul(xh, r, hh))
        else:
            masks = self.recurrent_dropout
            gates, candidate = self.recurrent_kernel.tensor_split([2 * units], dim=-1)
            x, xh = x.tensor_split([2 * units], dim=-1)
            mask = None if masks is None else masks[:2]
            z, r = recur(x, h, gates, mask).chunk(2, dim=-1)
            z, r = squash(z), squash(r)
            k = self.activation(recur(xh, r * h, candidate, None if masks is None else masks[2]))
        h = torch.lerp(k, h, z)
        return h, (h,)
