"""What all layers that merge a list of tensors share: the list, its shapes and its masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.core.input_spec import check_tensors
from ostinato.core.layer import Layer, shapes_of_symbols
from ostinato.core.shapes import Shape, as_shape, is_shape
from ostinato.layers.masked import finite, over


class Merge(Layer):
    """A layer on a list of tensors that become one.

    A subclass says what in `merge`, and in `merged_shape` which shapes it takes. What is not finite in a masked step of
    an input counts as 0 there, so that padding reaches no other step; finite values count as they stand.
    """

    supports_masking = True
    _makes_mask = False

    def merge(self, inputs: list[Tensor], used: list[Tensor | None]) -> Tensor:
        """The tensors as one; used: of each input the steps that are not masked, of the input's rank, None for all."""
        raise NotImplementedError(f"{type(self).__name__} must define merge(inputs, used).")

    def merged_shape(self, shapes: list[Shape]) -> Shape:
        """Shape of the output. Raises ValueError for shapes that do not go together."""
        raise NotImplementedError(f"{type(self).__name__} must define merged_shape(shapes).")

    def call(self, inputs: Any, mask: Any = None) -> Tensor:
        shapes = self._shapes(inputs)
        self.merged_shape(shapes)
        used = self._used(inputs, mask)
        return self.merge([finite(x, each) for x, each in zip(inputs, used, strict=True)], used)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The merged shape, None where a size is open."""
        if is_shape(input_shape) and len(input_shape):
            raise ValueError(f"{self.described}: expected a list of tensors, got one of shape {tuple(input_shape)}.")
        return self.merged_shape(self._counted([as_shape(shape) for shape in input_shape]))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Tensor | None:
        """True where the step of any input is used; None if an input has no mask, since all its steps are used.

        Raises ValueError unless mask is None or a list with a mask or None for each input.
        """
        used = self._used(inputs, mask)
        present = [each for each in used if each is not None]
        if not present or len(present) < len(used):
            return None
        rank = max(each.dim() for each in present)
        kept = max(given.dim() + rank - x.dim() for given, x in zip(mask, inputs, strict=True))
        joined = _any_of([widened(each, rank) for each in present])
        return joined.reshape(joined.shape[:kept])

    def _shapes(self, inputs: Any) -> list[Shape]:
        """The shapes of the inputs. Raises ValueError if they are no list of tensors."""
        if not isinstance(inputs, (list, tuple)):
            shape = getattr(inputs, "shape", None)
            got = type(inputs).__name__ if shape is None else f"one of shape {tuple(shape)}"
            raise ValueError(f"{self.described}: expected a list of tensors, got {got}.")
        check_tensors(list(inputs), self.described)
        return self._counted(list(shapes_of_symbols(list(inputs))))

    def _counted(self, shapes: list[Shape]) -> list[Shape]:
        """The shapes. Raises ValueError if there is none, or one without a batch."""
        if not shapes or any(len(shape) == 0 for shape in shapes):
            raise ValueError(f"{self.described}: expected at least one tensor, each with a batch, got shapes {shapes}.")
        return shapes

    def _used(self, inputs: Any, mask: Any) -> list[Tensor | None]:
        """The masks as booleans that broadcast over their inputs, None where there is none."""
        if mask is None:
            return [None] * len(inputs)
        if not isinstance(mask, (list, tuple)) or not isinstance(inputs, (list, tuple)) or len(mask) != len(inputs):
            got = f"{len(mask)}" if isinstance(mask, (list, tuple)) else type(mask).__name__
            raise ValueError(
                f"{self.described}: expected a list with a mask or None for each of the inputs, got {got} for "
                f"{len(inputs) if isinstance(inputs, (list, tuple)) else type(inputs).__name__}."
            )
        return [None if m is None else over(m, x, self.described) for x, m in zip(inputs, mask, strict=True)]

    def _output_dtype(self, inputs: Any) -> torch.dtype:
        dtypes = [symbol.dtype or self._dtype for symbol in inputs]
        found = dtypes[0]
        for each in dtypes[1:]:
            found = torch.promote_types(found, each)
        return found


def widened(x: Tensor, rank: int) -> Tensor:
    """`x` with axes of size 1 after the batch, up to a rank.

    >>> widened(torch.zeros(2, 3), 4).shape
    torch.Size([2, 1, 1, 3])
    """
    return x.reshape(x.shape[:1] + (1,) * (rank - x.dim()) + x.shape[1:])


def common_batch(shapes: list[Shape], who: str) -> int | None:
    """The batch of all shapes, None if none says. Raises ValueError if they say different ones."""
    batch, agree = common([shape[0] for shape in shapes])
    if not agree:
        raise ValueError(f"{who}: the inputs must have the same batch, got shapes {shapes}.")
    return batch


def common(sizes: Sequence[int | None]) -> tuple[int | None, bool]:
    """The first size that is known, None if none is; and whether all that are known are equal.

    >>> common([None, 3, 3]), common([2, 3])
    ((3, True), (2, False))
    """
    known = [size for size in sizes if size is not None]  # no set: sizes may be symbols while torch compiles
    return (known[0] if known else None), all(size == known[0] for size in known)


def _any_of(masks: list[Tensor]) -> Tensor:
    found = masks[0]
    for each in masks[1:]:
        found = found | each
    return found
