"""`Dot`: products of the rows of two tensors, summed over an axis of each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core.registry import builtin
from ostinato.core.shapes import Shape
from ostinato.layers.merge import Merge, common, common_batch


@builtin("layers")
class Dot(Merge):
    """The dot product of two tensors, for each sample, over an axis of each.

    ::

        y[b, i.., j..] = sum_k x1[b, i.., k] x2[b, k, j..]

    axes: the axis of both to sum over, counted with the batch, or one for each; never the batch, axis 0. normalize:
    whether the vectors along the axes are made 1 long before, so that the output is their cosine.

    Called with a list of two tensors `(batch, ...)`; returns `(batch, *other axes of the first, *of the second)`,
    `(batch, 1)` where there are none. The output has no mask; what is not finite in a masked step counts as 0.
    Raises TypeError or ValueError for other axes, ValueError unless there are two inputs, equal along the axes.
    Source: keras/src/layers/merging/dot.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Dot(axes=(1, 2))([torch.zeros(2, 3, 5), torch.zeros(2, 7, 3)]).shape
    torch.Size([2, 5, 7])
    """

    _makes_mask = False

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, (int, list, tuple)):
            raise TypeError(f"Dot: axes must be a whole number or two of them, got {axes!r}.")
        pair = [axes, axes] if isinstance(axes, int) else list(axes)
        if len(pair) != 2 or any(isinstance(axis, bool) or not isinstance(axis, int) for axis in pair):
            raise ValueError(f"Dot: axes must be a whole number or two of them, got {axes!r}.")
        self.axes, self.normalize = axes, normalize

    def merged_shape(self, shapes: list[Shape]) -> Shape:
        """The axes of both that are not summed over, after the batch."""
        if len(shapes) != 2:
            raise ValueError(f"{self.described}: expected exactly 2 inputs, got {len(shapes)}.")
        first, second = self._axes(shapes)
        _, agree = common([shapes[0][first], shapes[1][second]])
        if not agree:
            raise ValueError(
                f"{self.described}: sizes along the axes summed over must be equal, got {shapes[0][first]} (axis "
                f"{first} of {shapes[0]}) and {shapes[1][second]} (axis {second} of {shapes[1]})."
            )
        rest = (*_without(shapes[0], first)[1:], *_without(shapes[1], second)[1:])
        return (common_batch(shapes, self.described), *(rest or (1,)))

    def merge(self, inputs: list[Tensor], used: list[Tensor | None]) -> Tensor:
        axes = self._axes([tuple(x.shape) for x in inputs])
        if self.normalize:
            inputs = [
                torch.nn.functional.normalize(x, dim=axis, eps=1e-7) for x, axis in zip(inputs, axes, strict=True)
            ]
        first, second = inputs[0].movedim(axes[0], -1), inputs[1].movedim(axes[1], 1)
        batch, size = first.shape[0], first.shape[-1]
        rows, columns = first.shape[1:-1].numel(), second.shape[2:].numel()
        product = torch.bmm(first.reshape(batch, rows, size), second.reshape(batch, size, columns))
        return product.reshape(batch, *((*first.shape[1:-1], *second.shape[2:]) or (1,)))

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None: the axes of the output are no steps any more."""
        return

    def _axes(self, shapes: list[Shape]) -> tuple[int, int]:
        """The axis of each input, counted from 0. Raises ValueError for the batch, or one that is not there."""
        pair = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        found = []
        for axis, shape in zip(pair, shapes, strict=True):
            if not -len(shape) <= axis < len(shape) or axis % len(shape) == 0:
                raise ValueError(
                    f"{self.described}: cannot sum over axis {axis} of shape {shape}; it must be there, and not the "
                    f"batch, axis 0."
                )
            found.append(axis % len(shape))
        return found[0], found[1]


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """`Dot(axes, **kwargs)(inputs)`: products of the rows of two tensors, symbolic ones too.

    >>> dot([torch.ones(2, 3), torch.ones(2, 3)])
    tensor([[3.],
            [3.]])
    """
    return Dot(axes=axes, **kwargs)(inputs)
