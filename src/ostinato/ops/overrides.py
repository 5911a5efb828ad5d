"""Operations that other kinds of tensors can take over, by torch's own protocol (`__torch_function__`).

A symbolic tensor of a functional model is of such a kind: an operation on it is one node of the graph, whatever torch
functions it is made of, and inside an operation there are real tensors only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from types import NoneType
from typing import Any, ParamSpec, TypeVar

import numpy as np
from torch import Tensor
from torch.overrides import handle_torch_function

_PLAIN = (Tensor, int, float, str, NoneType)  # nothing to look for in these
P = ParamSpec("P")
R = TypeVar("R")


def operation(function: Callable[P, R]) -> Callable[P, R]:
    """Let `function` be taken over by arguments, or things in lists among them, that have `__torch_function__`.

    >>> @operation
    ... def double(x):
    ...     return x + x
    >>> class Told:
    ...     @classmethod
    ...     def __torch_function__(cls, function, types, args=(), kwargs=None):
    ...         return function.__name__
    >>> double(Told()), double(3)
    ('double', 6)
    """

    @functools.wraps(function)
    def apply(*args: P.args, **kwargs: P.kwargs) -> R:
        for value in args:
            if not isinstance(value, _PLAIN):
                break
        else:
            if not kwargs:
                return function(*args, **kwargs)
        others = [*_others(args), *_others(kwargs.values())]
        if others:
            return handle_torch_function(apply, others, *args, **kwargs)
        return function(*args, **kwargs)

    return apply


def is_other(value: Any) -> bool:
    """Whether `value` is no torch tensor but takes torch functions over, as a symbolic tensor does.

    >>> is_other(3)
    False
    """
    return not isinstance(value, (*_PLAIN, np.ndarray, np.generic)) and hasattr(type(value), "__torch_function__")


def _others(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _others(value)
        elif is_other(value):
            yield value
