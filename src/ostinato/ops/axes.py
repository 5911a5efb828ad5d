"""Axes as Keras names them: one, several, all (None), counted from the end where negative."""

from __future__ import annotations

from collections.abc import Sequence

Axis = int | Sequence[int] | None


def axis_within(axis: int, ndim: int, who: str) -> int:
    """An axis counted from the front. Raises ValueError if there is none such.

    >>> axis_within(-1, 3, "sum")
    2
    """
    if not -ndim <= axis < ndim:
        raise ValueError(f"{who}: axis {axis} is out of range for a tensor of {ndim} dimensions.")
    return axis % ndim


def axes_within(axis: Axis, ndim: int, who: str) -> tuple[int, ...]:
    """Axes counted from the front, all of them for None. Raises ValueError if one is not there, or there twice.

    >>> axes_within((-1, 0), 3, "sum"), axes_within(None, 2, "sum")
    ((2, 0), (0, 1))
    """
    if axis is None:
        return tuple(range(ndim))
    given = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    axes = tuple(axis_within(each, ndim, who) for each in given)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{who}: axis {given} names one axis twice.")
    return axes
