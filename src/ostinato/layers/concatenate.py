"""`Concatenate`: tensors one after the other along an axis."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core.registry import builtin
from ostinato.core.shapes import Shape
from ostinato.layers.merge import Merge, common


@builtin("layers")
class Concatenate(Merge):
    """A list of tensors as one, one after the other along an axis.

    axis: the axis, counted with the batch; the last by default.

    Called with a list of tensors that differ in size along that axis at most. Masks, as soon as one input has one:
    along the steps they are joined like the tensors; along the features a step is used if it is used in any input. An
    input without a mask has all its steps used. What is not finite in a masked step is 0 in the output.
    Raises ValueError for inputs that are no list, whose shapes do not go together, or that have no such axis.
    Source: keras/src/layers/merging/concatenate.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Concatenate(axis=1)([torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)]).shape
    torch.Size([2, 8, 4])
    """

    _makes_mask = False

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise ValueError(f"Concatenate: axis must be a whole number, got {axis!r}.")
        self.axis = int(axis)

    def merged_shape(self, shapes: list[Shape]) -> Shape:
        """Sizes added up along the axis, equal along the others."""
        rank = len(shapes[0])
        if any(len(shape) != rank for shape in shapes) or not -rank <= self.axis < rank:
            raise ValueError(
                f"{self.described}: the inputs must have the same number of axes, among them axis {self.axis}; got "
                f"shapes {shapes}."
            )
        merged: list[int | None] = []
        for axis, sizes in enumerate(zip(*shapes, strict=True)):
            size, agree = common(sizes)
            if axis == self.axis % rank:
                size = None if any(each is None for each in sizes) else sum(sizes)
            elif not agree:
                raise ValueError(
                    f"{self.described}: the inputs must have equal sizes except along axis {self.axis}; got shapes "
                    f"{shapes}."
                )
            merged.append(size)
        return tuple(merged)

    def merge(self, inputs: list[Tensor], used: list[Tensor | None]) -> Tensor:
        return torch.cat(inputs, self.axis)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Tensor | None:
        """The masks joined along the axis, or, along the features, True where any is; None if there is none at all.

        Raises ValueError unless mask is None or a list with a mask or None for each input.
        """
        used = self._used(inputs, mask)
        if all(each is None for each in used):
            return None
        kept = max(given.dim() for given in mask if given is not None)
        joined = [
            torch.ones(x.shape[:kept], dtype=torch.bool, device=x.device)
            if each is None
            else each.reshape(each.shape[:kept]).expand(x.shape[:kept])
            for x, each in zip(inputs, used, strict=True)
        ]
        axis = self.axis % inputs[0].dim()
        if axis < kept:
            return torch.cat(joined, axis)
        return torch.stack(joined).any(0)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate(axis, **kwargs)(inputs)`: a list of tensors as one, symbolic ones too.

    >>> concatenate([torch.zeros(2, 3), torch.zeros(2, 1)]).shape
    torch.Size([2, 4])
    """
    return Concatenate(axis=axis, **kwargs)(inputs)
