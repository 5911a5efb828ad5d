"""What a layer asks of its input, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostinato.core.shapes import Shape
from ostinato.recurrence.nests import flatten, is_nested


class InputSpec:
    """Rank and sizes that an input must have.

    shape: the whole shape, None where any size will do; ndim: the rank; min_ndim, max_ndim: its bounds; axes: size by
    axis. `layout` names the axes for messages: "(batch, time, features)".

    >>> InputSpec(ndim=3, axes={-1: 8}).problem((32, 10, 7))
    'expected (any, any, 8), got (32, 10, 7)'
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Shape | None = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: Mapping[int, int | None] | None = None,
        layout: str = "",
    ) -> None:
        self.dtype, self.shape, self.layout = dtype, shape, layout
        self.ndim = len(shape) if shape is not None else ndim
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        sizes = dict(enumerate(shape)) if shape is not None else dict(axes or {})
        self.axes = {int(axis): size for axis, size in sizes.items() if size is not None}

    def fits(self, shape: Any) -> bool:
        """Whether a shape has the rank and sizes asked for; None in it fits anything."""
        rank = len(shape)
        if self.ndim is not None and rank != self.ndim:
            return False
        if (self.min_ndim is not None and rank < self.min_ndim) or (self.max_ndim is not None and rank > self.max_ndim):
            return False
        for axis, size in self.axes.items():
            if not -rank <= axis < rank or (shape[axis] is not None and shape[axis] != size):
                return False
        return True

    def problem(self, shape: Any) -> str | None:
        """What is wrong with a shape, in words; None if nothing is."""
        return None if self.fits(shape) else f"expected {self}, got {tuple(shape)}"

    def __str__(self) -> str:
        if self.ndim is None:
            bounds = [f"at least {self.min_ndim} dimensions"] * (self.min_ndim is not None)
            bounds += [f"at most {self.max_ndim} dimensions"] * (self.max_ndim is not None)
            bounds += [f"size {size} along axis {axis}" for axis, size in self.axes.items()]
            return ", ".join(bounds) or "any shape"
        names = self.layout.strip("()").split(", ") if self.layout else ["any"] * self.ndim
        for axis, size in self.axes.items():
            names[axis] = str(size)
        return f"({', '.join(names)})"


def check(spec: Any, inputs: Any, who: str) -> None:
    """Raise ValueError unless each tensor of `inputs` fits its spec."""
    specs = flatten(spec)
    leaves = flatten(inputs) if is_nested(inputs) else [inputs]
    if len(specs) != len(leaves):
        raise ValueError(f"{who}: expected {len(specs)} input tensor(s), got {len(leaves)}.")
    check_tensors(leaves, who)
    for each, leaf in zip(specs, leaves, strict=True):
        problem = each.problem(leaf.shape)
        if problem:
            raise ValueError(f"{who}: input is incompatible with the layer: {problem}.")


def check_tensors(leaves: list[Any], who: str) -> None:
    """Raise ValueError for an input that is no tensor at all, such as None."""
    for leaf in leaves:
        if not hasattr(leaf, "shape"):
            raise ValueError(f"{who}: expected a tensor or an array, got {leaf!r}.")
