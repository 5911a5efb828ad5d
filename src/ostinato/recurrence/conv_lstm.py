"""The convolutional LSTM (Shi et al., 2015): an LSTM whose products are convolutions over space."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from ostinato.recurrence.activations import Activation
from ostinato.recurrence.base import STATIC, Recurrence, fields_of
from ostinato.recurrence.convolution import Convolution


@dataclasses.dataclass(eq=False)
class ConvLSTM(Recurrence):
    """Four gates on a carried cell state, at each place in space.

    ::

        i, f, g, o = split(x * W + b + h * U)
        c' = s(f) c + s(i) a(g)
        h' = s(o) a(c')

    with `*` for convolution, a the activation and s the recurrent activation; output h'; state (h, c). kernel W
    `(*window, channels, 4 filters)`, recurrent_kernel U `(*window, filters, 4 filters)`, bias b `(4 filters,)` or None,
    gates in Keras's order i, f, c, o. Inputs `(..., batch, *sizes, channels)`, states `(batch, *places, filters)`, or
    with the channels before the sizes, as the convolutions have it.

    convolution: of the input. recurrent_convolution: of the state, whose sizes it keeps. Dropout masks, for the input
    and for h: `(batch, ...)`, or `(4, batch, ...)` with one for each gate, or None.

    Source: arXiv:1506.04214, equation 3 without its peepholes; keras/src/layers/rnn/conv_lstm.py.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    convolution: Convolution = dataclasses.field(metadata=STATIC)
    recurrent_convolution: Convolution = dataclasses.field(metadata=STATIC)
    bias: Tensor | None = None
    dropout: Tensor | None = None
    recurrent_dropout: Tensor | None = None
    activation: Activation = dataclasses.field(default=torch.tanh, metadata=STATIC)
    recurrent_activation: Activation = dataclasses.field(default=torch.sigmoid, metadata=STATIC)

    name = "conv_lstm"

    def project(self, xs: Tensor) -> Tensor:
        """One convolution for all steps: they are samples like any other."""
        xs = self._dropped(xs, self.dropout)
        lead = xs.shape[: -1 - self._rank]
        return self.convolution(xs.flatten(0, len(lead) - 1), self.kernel, self.bias).unflatten(0, lead)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, c = state
        gates = x + self.recurrent_convolution(self._dropped(h, self.recurrent_dropout), self.recurrent_kernel)
        gates = gates if gates.dtype is h.dtype else gates.to(h.dtype)  # autocast lowers products, not the state
        i, f, g, o = gates.chunk(4, dim=self._channels)
        squash = self.recurrent_activation
        c = torch.addcmul(squash(f) * c, squash(i), self.activation(g))
        h = squash(o) * self.activation(c)
        return h, (h, c)

    def _dropped(self, x: Tensor, masks: Tensor | None) -> Tensor:
        """`x` times its mask; with a mask for each gate, four times side by side, which the kernel takes as groups."""
        if masks is None:
            return x
        if masks.dim() == self._rank + 2:
            return x * masks
        return torch.cat([x * mask for mask in masks.unbind(0)], dim=self._channels)

    @property
    def _rank(self) -> int:
        return len(self.convolution.kernel_size)

    @property
    def _channels(self) -> int:
        return -1 if self.convolution.channels_last else -1 - self._rank

    @classmethod
    def facts(cls, options: tuple[Any, ...]) -> dict[str, Any]:
        own = dict(zip(fields_of(cls).statics, options, strict=False))
        convolutions = {name: value for name, value in own.items() if isinstance(value, Convolution)}
        return {**super().facts(options), **convolutions}  # which can be called, but are no activations
