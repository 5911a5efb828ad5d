"""Tensors in other shapes and orders, joined, parted, repeated and padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.ops.axes import Axis, axes_within, axis_within
from ostinato.ops.dtypes import promoted
from ostinato.ops.overrides import operation
from ostinato.ops.tensors import tensor


@operation
def reshape(x: Any, newshape: Any) -> Tensor:
    """`x` in another shape; one size may be -1 for what is left.

    None, which stands for an unknown size in the shape of a symbolic tensor, is what is left if it is alone, and beside
    a -1 the size of the same axis of `x`. Raises ValueError where more than one size is left open.

    >>> reshape([[1.0, 2.0], [3.0, 4.0]], (-1,))
    tensor([1., 2., 3., 4.])
    """
    sizes = (newshape,) if hasattr(newshape, "__index__") else tuple(newshape)
    x = tensor(x)
    if -1 not in sizes and sizes.count(None) == 1:
        sizes = tuple(-1 if size is None else size for size in sizes)
    else:
        sizes = tuple(x.shape[axis] if size is None and axis < x.ndim else size for axis, size in enumerate(sizes))
    if sizes.count(-1) > 1 or None in sizes:
        raise ValueError(f"reshape: newshape {newshape} leaves more than one size open for shape {tuple(x.shape)}.")
    return torch.reshape(x, sizes)


@operation
def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """`x` with its axes in the order `axes`; reversed if none is given.

    >>> transpose([[1.0, 2.0]])
    tensor([[1.], [2.]])
    """
    x = tensor(x)
    order = tuple(reversed(range(x.ndim))) if axes is None else axes_within(tuple(axes), x.ndim, "transpose")
    if len(order) != x.ndim:
        raise ValueError(f"transpose: axes {axes} must name all {x.ndim} axes of shape {tuple(x.shape)}.")
    return torch.permute(x, order)


@operation
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """`x` with two axes swapped.

    >>> swapaxes([[1.0, 2.0]], 0, 1)
    tensor([[1.], [2.]])
    """
    x = tensor(x)
    return torch.swapaxes(x, axis_within(axis1, x.ndim, "swapaxes"), axis_within(axis2, x.ndim, "swapaxes"))


@operation
def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """`x` with the axes `source` at the places `destination`, the others in their order.

    >>> moveaxis(torch.zeros(2, 3, 4), 0, -1).shape
    torch.Size([3, 4, 2])
    """
    x = tensor(x)
    wanted = axes_within(source, x.ndim, "moveaxis"), axes_within(destination, x.ndim, "moveaxis")
    if len(wanted[0]) != len(wanted[1]):
        raise ValueError(f"moveaxis: source {source} and destination {destination} must be as many.")
    return torch.movedim(x, *wanted)


@operation
def expand_dims(x: Any, axis: int | Sequence[int]) -> Tensor:
    """`x` with axes of size 1 that have the places `axis` in the result.

    >>> expand_dims([1.0, 2.0], -1).shape
    torch.Size([2, 1])
    """
    x = tensor(x)
    ndim = x.ndim + (len(axis) if isinstance(axis, Sequence) else 1)
    for each in sorted(axes_within(axis, ndim, "expand_dims")):
        x = torch.unsqueeze(x, each)
    return x


@operation
def squeeze(x: Any, axis: Axis = None) -> Tensor:
    """`x` without the axes `axis`, which must be of size 1; without all such axes if none is given.

    >>> squeeze([[1.0, 2.0]], axis=0)
    tensor([1., 2.])
    """
    x = tensor(x)
    if axis is None:
        return torch.squeeze(x)
    axes = axes_within(axis, x.ndim, "squeeze")
    if any(x.shape[each] != 1 for each in axes):
        raise ValueError(f"squeeze: axis {axis} of shape {tuple(x.shape)} is not of size 1.")
    return torch.squeeze(x, axes)


@operation
def broadcast_to(x: Any, shape: Any) -> Tensor:
    """`x` repeated without a copy to a shape that its own broadcasts to.

    >>> broadcast_to([1.0, 2.0], (2, 2))
    tensor([[1., 2.], [1., 2.]])
    """
    return torch.broadcast_to(tensor(x), (shape,) if hasattr(shape, "__index__") else tuple(shape))


@operation
def concatenate(xs: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors joined along an axis that they have, in one dtype.

    >>> concatenate([[1.0], [2.0, 3.0]])
    tensor([1., 2., 3.])
    """
    return torch.cat(promoted(*_together(xs, "concatenate")), axis)


@operation
def stack(x: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis, in one dtype.

    >>> stack([[1.0, 2.0], [3.0, 4.0]], axis=1)
    tensor([[1., 3.], [2., 4.]])
    """
    return torch.stack(promoted(*_together(x, "stack")), axis)


def _together(xs: Sequence[Any], who: str) -> list[Tensor]:
    if len(xs) == 0:
        raise ValueError(f"{who}: expected one tensor or more, got none.")
    held = next((each for each in xs if isinstance(each, Tensor)), None)
    return [tensor(each, held) for each in xs]


@operation
def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """The parts of `x` along an axis, as a list, without that axis.

    num: their number. Raises ValueError if they are not so many.

    >>> unstack([[1.0, 2.0], [3.0, 4.0]])
    [tensor([1., 2.]), tensor([3., 4.])]
    """
    x = tensor(x)
    axis = axis_within(axis, x.ndim, "unstack")
    if num is not None and num != x.shape[axis]:
        raise ValueError(f"unstack: num is {num}, but axis {axis} of shape {tuple(x.shape)} is not.")
    return list(torch.unbind(x, axis))


@operation
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """`x` parted along an axis: into so many equal parts, or before each of the indices.

    Raises ValueError where the parts would not be equal.

    >>> split([1.0, 2.0, 3.0, 4.0], 2), split([1.0, 2.0, 3.0], [1])
    ([tensor([1., 2.]), tensor([3., 4.])], [tensor([1.]), tensor([2., 3.])])
    """
    x = tensor(x)
    axis = axis_within(axis, x.ndim, "split")
    if not hasattr(indices_or_sections, "__len__"):
        sections = int(indices_or_sections)
        if sections < 1 or x.shape[axis] % sections:
            raise ValueError(f"split: axis {axis} of shape {tuple(x.shape)} has no {sections} equal parts.")
        return list(torch.tensor_split(x, sections, axis))
    return list(torch.tensor_split(x, [int(each) for each in indices_or_sections], axis))


@operation
def flip(x: Any, axis: Axis = None) -> Tensor:
    """`x` in reverse along `axis`; along all if none is given.

    >>> flip([[1.0, 2.0]], axis=1)
    tensor([[2., 1.]])
    """
    x = tensor(x)
    return torch.flip(x, axes_within(axis, x.ndim, "flip"))


@operation
def roll(x: Any, shift: int | Sequence[int], axis: Axis = None) -> Tensor:
    """`x` moved on by `shift` places along `axis`, the last ones to the front; flattened meanwhile if none is given.

    >>> roll([1.0, 2.0, 3.0], 1)
    tensor([3., 1., 2.])
    """
    x = tensor(x)
    if axis is None:
        return torch.roll(x, shift)
    axes = axes_within(axis, x.ndim, "roll")
    shifts = tuple(shift) if isinstance(shift, Sequence) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise ValueError(f"roll: shift {shift} and axis {axis} must be as many.")
    return torch.roll(x, shifts, axes)


@operation
def tile(x: Any, repeats: Any) -> Tensor:
    """`x` laid side by side, so often along each axis; fewer repeats count from the last axis.

    >>> tile([1.0, 2.0], 2), tile([[1.0], [2.0]], (1, 2))
    (tensor([1., 2., 1., 2.]), tensor([[1., 1.], [2., 2.]]))
    """
    often = (repeats,) if hasattr(repeats, "__index__") else repeats
    return torch.tile(tensor(x), tuple(int(each) for each in often))


@operation
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each part of `x` along `axis` repeated, all alike or so often each; with None, each value of the flattened `x`.

    >>> repeat([1.0, 2.0], 2), repeat([[1.0], [2.0]], [1, 2], axis=0)
    (tensor([1., 1., 2., 2.]), tensor([[1.], [2.], [2.]]))
    """
    x = tensor(x)
    if axis is None:
        x, axis = x.reshape(-1), 0
    axis = axis_within(axis, x.ndim, "repeat")
    if isinstance(repeats, int):
        return torch.repeat_interleave(x, repeats, axis)
    if isinstance(repeats, Tensor):
        return torch.repeat_interleave(x, repeats.to(x.device), axis)
    counts = np.broadcast_to(repeats, x.shape[axis])
    return torch.index_select(x, axis, tensor(np.repeat(np.arange(x.shape[axis]), counts), x))


@operation
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Tensor:
    """`x` with more values before and after it along each axis.

    pad_width: `(before, after)` for each axis, one such pair for all, or one number.
    mode: "constant" (`constant_values`, or 0), "reflect" (mirrored without the edge), "symmetric" (mirrored with it) or
    "circular" (the other end). Raises ValueError for another mode, or a width that the values do not fill.

    >>> pad([1.0, 2.0, 3.0], (1, 2)), pad([1.0, 2.0, 3.0], 2, mode="reflect")
    (tensor([0., 1., 2., 3., 0., 0.]), tensor([3., 2., 1., 2., 3., 2., 1.]))
    """
    x = tensor(x)
    widths = _widths(pad_width, x.ndim)
    if any(each < 0 for pair in widths for each in pair):
        raise ValueError(f"pad: pad_width must not be negative, got {pad_width}.")
    if mode == "constant":
        flat = [each for pair in reversed(widths) for each in pair]  # torch begins with the last axis
        return torch.nn.functional.pad(x, flat, value=0 if constant_values is None else constant_values)
    if mode not in _BORDERS:
        raise ValueError(f"pad: mode {mode!r} is not one of {('constant', *_BORDERS)}.")
    if constant_values is not None:
        raise ValueError(f"pad: constant_values go with mode='constant', not with {mode!r}.")
    for axis, (before, after) in enumerate(widths):
        x = _bordered(x, axis, before, after, mode)
    return x


def _widths(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    """`(before, after)` for each axis."""
    given = pad_width.tolist() if hasattr(pad_width, "tolist") else pad_width
    if isinstance(given, int):
        return [(given, given)] * ndim
    if all(isinstance(each, int) for each in given):
        given = [given]
    pairs = [(int(each[0]), int(each[-1])) for each in given if len(each) in (1, 2)]
    if len(pairs) != len(given) or len(pairs) not in (1, ndim):
        raise ValueError(f"pad: pad_width must be (before, after) for each of {ndim} axes, got {pad_width!r}.")
    return pairs * (ndim // len(pairs)) if pairs else []


_BORDERS = ("reflect", "symmetric", "circular")


def _bordered(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    length = x.shape[axis]
    edge = 1 if mode == "reflect" else 0  # how much of the edge is left out of the picture in the mirror
    if max(before, after) > length - edge:
        raise ValueError(
            f"pad: axis {axis} of shape {tuple(x.shape)} has too few values to be padded by {(before, after)} with "
            f"mode {mode!r}."
        )
    if mode == "circular":
        return torch.cat([x.narrow(axis, length - before, before), x, x.narrow(axis, 0, after)], axis)
    left = x.narrow(axis, edge if before else 0, before).flip(axis)
    right = x.narrow(axis, length - after - (edge if after else 0), after).flip(axis)
    return torch.cat([left, x, right], axis)
