"""`Add`, `Subtract`, `Multiply`, `Average`, `Maximum`, `Minimum`: tensors of one shape as one, element by element."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ostinato.core.registry import builtin
from ostinato.core.shapes import Shape
from ostinato.layers.merge import Merge, common, common_batch, widened


class Elementwise(Merge):
    """Inputs of shapes that broadcast; those of a lower rank get axes of size 1 after the batch."""

    def merged_shape(self, shapes: list[Shape]) -> Shape:
        """The shape that all broadcast to, with the batch of all."""
        batch = common_batch(shapes, self.described)
        rank = max(len(shape) for shape in shapes)
        columns = zip(*[(1,) * (rank - len(shape)) + shape[1:] for shape in shapes], strict=True)
        return (batch, *(self._broadcast(sizes, shapes) for sizes in columns))

    def _broadcast(self, sizes: tuple[int | None, ...], shapes: list[Shape]) -> int | None:
        wide = [size for size in sizes if size is None or size != 1]
        size, agree = common(wide or [1])
        if not agree:
            raise ValueError(f"{self.described}: shapes {shapes} do not go together; sizes must be equal, or 1.")
        return size if all(each is not None for each in wide) else None

    def merge(self, inputs: list[Tensor], used: list[Tensor | None]) -> Tensor:
        """The elements combined, over tensors of one rank."""
        rank = max(x.dim() for x in inputs)
        spread = [None if each is None else widened(each, rank) for each in used]
        return self.combine([x if x.dim() == rank else widened(x, rank) for x in inputs], spread)

    def combine(self, inputs: list[Tensor], used: list[Tensor | None]) -> Tensor:
        """The tensors, all of one rank, as one."""
        raise NotImplementedError(f"{type(self).__name__} must define combine(inputs, used).")


@builtin("layers")
class Add(Elementwise):
    """`x1 + x2 + ...` over a list of tensors.

    Called with a list of tensors that broadcast, `(batch, ...)` each; returns their sum. Masks: a step of the output is
    used if it is used in any input; there is no mask if an input has none. What stands in an input's masked steps is
    added as it is, unless it is not finite: then it counts as 0.
    Raises ValueError for inputs that are no list, or whose shapes do not go together.
    Source: keras/src/layers/merging/add.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Add()([torch.ones(1, 2), torch.tensor([[1.0, 2.0]])])
    tensor([[2., 3.]])
    """

    def combine(self, inputs: list[Tensor], used: list[Tensor | None]) -> Tensor:
        return functools.reduce(torch.add, inputs)


@builtin("layers")
class Subtract(Elementwise):
    """`x1 - x2` over a list of two tensors.

    Called with a list of two tensors that broadcast, `(batch, ...)` each. Masks as in `Add`.
    Raises ValueError for another number of inputs, or shapes that do not go together.
    Source: keras/src/layers/merging/subtract.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Subtract()([torch.ones(1, 2), torch.tensor([[1.0, 2.0]])])
    tensor([[ 0., -1.]])
    """

    def merged_shape(self, shapes: list[Shape]) -> Shape:
        """As of any elementwise layer. Raises ValueError unless there are two."""
        if len(shapes) != 2:
            raise ValueError(f"{self.described}: expected exactly 2 inputs, got {len(shapes)}.")
        return super().merged_shape(shapes)

    def combine(self, inputs: list[Tensor], used: list[Tensor | None]) -> Tensor:
        return inputs[0] - inputs[1]


@builtin("layers")
class Multiply(Elementwise):
    """`x1 * x2 * ...` over a list of tensors.

    Called with a list of tensors that broadcast, `(batch, ...)` each. Masks: in a masked step an input counts as 1; a
    step of the output is used if it is used in any input, and 0 if in none; there is no mask if an input has none.
    Raises ValueError for inputs that are no list, or whose shapes do not go together.
    Source: keras/src/layers/merging/multiply.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Multiply()([torch.full((1, 2), 3.0), torch.tensor([[1.0, 2.0]])])
    tensor([[3., 6.]])
    """

    def combine(self, inputs: list[Tensor], used: list[Tensor | None]) -> Tensor:
        factors = [x if each is None else x.masked_fill(~each, 1) for x, each in zip(inputs, used, strict=True)]
        product = functools.reduce(torch.mul, factors)
        masks = [each for each in used if each is not None]
        return product if len(masks) < len(used) else product.masked_fill(~functools.reduce(torch.logical_or, masks), 0)


@builtin("layers")
class Average(Elementwise):
    """`(x1 + ... + xn) / n` over a list of n tensors.

    Called with a list of tensors that broadcast, `(batch, ...)` each. Masks as in `Add`: a masked input still counts
    among the n.
    Raises ValueError for inputs that are no list, or whose shapes do not go together.
    Source: keras/src/layers/merging/average.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Average()([torch.ones(1, 2), torch.tensor([[1.0, 2.0]])])
    tensor([[1.0000, 1.5000]])
    """

    def combine(self, inputs: list[Tensor], used: list[Tensor | None]) -> Tensor:
        return functools.reduce(torch.add, inputs) / len(inputs)

    def _output_dtype(self, inputs: Any) -> torch.dtype:
        dtype = super()._output_dtype(inputs)
        return dtype if dtype.is_floating_point or dtype.is_complex else torch.get_default_dtype()


class Extreme(Elementwise):
    """A layer that picks among elements; a masked one gives way to the other."""

    pick: Callable[[Tensor, Tensor], Tensor]

    def combine(self, inputs: list[Tensor], used: list[Tensor | None]) -> Tensor:
        found, seen = inputs[0], used[0]
        for x, each in zip(inputs[1:], used[1:], strict=True):
            x = x if each is None else torch.where(each, x, found)
            found = found if seen is None else torch.where(seen, found, x)
            seen = None if each is None or seen is None else seen | each
            found = type(self).pick(found, x)
        return found


@builtin("layers")
class Maximum(Extreme):
    """`max(x1, x2, ...)` over a list of tensors.

    Called with a list of tensors that broadcast, `(batch, ...)` each. Masks: where one input is masked and another is
    not, the other one counts; the mask of the output is as in `Add`.
    Raises ValueError for inputs that are no list, or whose shapes do not go together.
    Source: keras/src/layers/merging/maximum.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Maximum()([torch.ones(1, 2), torch.tensor([[0.0, 2.0]])])
    tensor([[1., 2.]])
    """

    pick = staticmethod(torch.maximum)


@builtin("layers")
class Minimum(Extreme):
    """`min(x1, x2, ...)` over a list of tensors.

    Called with a list of tensors that broadcast, `(batch, ...)` each. Masks as in `Maximum`.
    Raises ValueError for inputs that are no list, or whose shapes do not go together.
    Source: keras/src/layers/merging/minimum.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Minimum()([torch.ones(1, 2), torch.tensor([[0.0, 2.0]])])
    tensor([[0., 1.]])
    """

    pick = staticmethod(torch.minimum)


def add(inputs: Any, **kwargs: Any) -> Any:
    """`Add(**kwargs)(inputs)`: the sum of a list of tensors, symbolic ones too.

    >>> add([torch.ones(1, 2), torch.ones(1, 2)])
    tensor([[2., 2.]])
    """
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """`Subtract(**kwargs)(inputs)`: the difference of two tensors, symbolic ones too.

    >>> subtract([torch.ones(1, 2), torch.ones(1, 2)])
    tensor([[0., 0.]])
    """
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """`Multiply(**kwargs)(inputs)`: the product of a list of tensors, symbolic ones too.

    >>> multiply([torch.full((1, 2), 2.0), torch.full((1, 2), 3.0)])
    tensor([[6., 6.]])
    """
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """`Average(**kwargs)(inputs)`: the mean of a list of tensors, symbolic ones too.

    >>> average([torch.full((1, 2), 2.0), torch.full((1, 2), 4.0)])
    tensor([[3., 3.]])
    """
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """`Maximum(**kwargs)(inputs)`: the larger elements of a list of tensors, symbolic ones too.

    >>> maximum([torch.full((1, 2), 2.0), torch.full((1, 2), 4.0)])
    tensor([[4., 4.]])
    """
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """`Minimum(**kwargs)(inputs)`: the smaller elements of a list of tensors, symbolic ones too.

    >>> minimum([torch.full((1, 2), 2.0), torch.full((1, 2), 4.0)])
    tensor([[2., 2.]])
    """
    return Minimum(**kwargs)(inputs)
