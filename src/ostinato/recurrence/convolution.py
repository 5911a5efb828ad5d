"""Convolution as Keras pads it: the mathematics of convolutional layers, and of cells that convolve."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_BY_RANK: dict[int, Any] = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}


@dataclasses.dataclass(frozen=True)
class Convolution:
    """How a window moves over 1, 2 or 3 axes.

    kernel_size, strides, dilation: a number for each axis. padding: "valid" (none), "same" (zeros on both sides, the
    odd one behind, so that `ceil(size / stride)` positions remain), "causal" (as many, all of them in front).
    channels_last: inputs and outputs are `(batch, *sizes, channels)` rather than `(batch, channels, *sizes)`.

    >>> twos = Convolution((2,), (1,), (1,), "causal", channels_last=True)
    >>> twos(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.ones(2, 1, 1)).flatten().tolist()
    [1.0, 3.0, 5.0]
    """

    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str
    channels_last: bool

    def __call__(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        """The sum of the inputs under the window, weighted by the kernel, at each position.

        kernel: `kernel_size + (channels of a group, filters)`, Keras's layout; the inputs' channels say how many groups
        there are. bias: `(filters,)`. Returns `(batch, *sizes, filters)`, or with the filters first.
        """
        x = inputs.movedim(-1, 1) if self.channels_last else inputs
        pads = self._pads(x.shape[2:])
        inside: list[int] | int = [before for before, _ in pads]
        if any(before != after for before, after in pads):  # which torch's convolution itself cannot do
            x = torch.nn.functional.pad(x, [each for pair in reversed(pads) for each in pair])
            inside = 0
        rank = len(self.kernel_size)
        groups = x.shape[1] // kernel.shape[-2]
        kernel = kernel.permute(-1, -2, *range(rank))
        # Of one channel, or one filter, the strides say either layout, and torch on a CPU takes both at once: it reads
        # beyond the inputs, and refuses to differentiate. So there the strides are made to say one.
        x = x.squeeze(1).unsqueeze(1) if x.shape[1] == 1 else x
        kernel = kernel.contiguous() if kernel.shape[0] == 1 else kernel
        y = _BY_RANK[rank](x, kernel, bias, self.strides, inside, self.dilation, groups)
        return y.movedim(1, -1) if self.channels_last else y

    def spatial(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """The sizes that the window moves over, of the shape of an input.

        >>> Convolution((3,), (1,), (1,), "valid", channels_last=False).spatial((2, 4, 9))
        (9,)
        """
        return tuple(shape[1:-1] if self.channels_last else shape[2:])

    def positions(self, sizes: Sequence[Any]) -> tuple[Any, ...]:
        """Number of positions along each axis; None where the size is None, 0 or less where the window does not fit.

        >>> Convolution((3, 3), (2, 2), (1, 1), "valid", channels_last=True).positions((28, None))
        (13, None)
        """
        return tuple(
            None if size is None else (size - 1 - (reach if self.padding == "valid" else 0)) // stride + 1
            for size, stride, reach in zip(sizes, self.strides, self._reach(), strict=True)
        )

    def _reach(self) -> list[int]:
        """How far the last point of the window is from its first, along each axis."""
        return [rate * (size - 1) for rate, size in zip(self.dilation, self.kernel_size, strict=True)]

    def _pads(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        """Zeros before and after, along each axis."""
        if self.padding == "valid":
            return [(0, 0)] * len(self.kernel_size)
        if self.padding == "causal":
            return [(reach, 0) for reach in self._reach()]
        pads = []
        for size, stride, reach in zip(sizes, self.strides, self._reach(), strict=True):
            total = max(0, (size - 1) // stride * stride + reach + 1 - size)
            pads.append((total // 2, total - total // 2))
        return pads
