"""Loops and branches over tensors, as plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ostinato.ops.overrides import is_other
from ostinato.ops.tensors import tensor
from ostinato.recurrence.nests import Nest, flatten, map_nest, pack_like


def scan(
    f: Callable[[Nest, Nest], tuple[Nest, Nest]],
    init: Nest,
    xs: Nest = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Nest, Nest]:
    """`carry, y = f(carry, x)` for each `x` along the first axis of `xs`: the last carry, and all `y` stacked.

    init: the first carry, a tensor or a nest of them. xs: a tensor or a nest, or None with a `length` (steps).
    length: use only so many steps. reverse: from the last step to the first; the `y` are stacked in the order of `xs`.
    unroll: for compilers of other backends; changes nothing here. Where every `y` is None, so is the second result.
    Raises TypeError if f is not callable, ValueError without xs and length, or for more steps than xs has.

    >>> scan(lambda total, x: (total + x, total * 10), torch.tensor(0.0), torch.tensor([1.0, 2.0, 3.0]))
    (tensor(6.), tensor([ 0., 10., 30.]))
    """
    if not callable(f):
        raise TypeError(f"scan: f must be callable, got {f!r}.")
    if not isinstance(unroll, bool) and (not isinstance(unroll, int) or unroll < 1):
        raise ValueError(f"scan: unroll must be a positive whole number or a bool, got {unroll!r}.")
    leaves = [] if xs is None else [_leaf(each) for each in flatten(xs)]
    steps = range(_steps(leaves, length))
    carry = map_nest(_leaf, init)
    ys: list[Nest] = []
    for step in reversed(steps) if reverse else steps:
        x = None if xs is None else pack_like(xs, [leaf[step] for leaf in leaves])
        carry, y = f(carry, x)
        ys.append(y)
    if all(y is None for y in ys):
        return carry, None
    ordered = ys[::-1] if reverse else ys
    return carry, pack_like(ordered[0], [torch.stack(each) for each in zip(*map(flatten, ordered), strict=True)])


def _steps(leaves: list[Any], length: int | None) -> int:
    if not leaves:
        if length is None:
            raise ValueError("scan: expected xs to scan over, or a length.")
        return int(length)
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    size = sizes.pop()
    if sizes or size is None:
        raise ValueError(f"scan: xs need one first axis, of known size, got shapes {[tuple(x.shape) for x in leaves]}.")
    if length is not None and not 0 <= length <= size:
        raise ValueError(f"scan: length is {length}, but xs have {size} steps.")
    return size if length is None else int(length)


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    maximum_iterations: int | None = None,
) -> Any:
    """`loop_vars = body(*loop_vars)` while `cond(*loop_vars)` holds, so many times at the most; the last `loop_vars`.

    loop_vars: a tensor or a nest of them. Where a condition has no value, on the meta device, the body is not run:
    the shapes of `loop_vars` do not change.

    >>> while_loop(lambda n: n < 10, lambda n: n * 2, torch.tensor(3))
    tensor(12)
    """
    single = not isinstance(loop_vars, (list, tuple))
    values = tuple(map_nest(_leaf, each) for each in ([loop_vars] if single else loop_vars))
    left = math.inf if maximum_iterations is None else maximum_iterations
    while left > 0 and _holds(cond(*values), unknown=False):
        new = body(*values)
        values = tuple(new) if isinstance(new, (list, tuple)) else (new,)
        left -= 1
    return values[0] if single else values


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[int, Nest], Nest], init_val: Nest) -> Nest:
    """`val = body_fun(i, val)` for each `i` from `lower` to below `upper`; the last `val`.

    >>> fori_loop(0, 3, lambda i, total: total + i, torch.tensor(0))
    tensor(3)
    """
    val = init_val
    for i in range(int(lower), int(upper)):
        val = body_fun(i, val)
    return val


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """What `true_fn()` gives if `pred`, a truth value or a scalar tensor, holds, else what `false_fn()` gives.

    Where `pred` has no value, on the meta device, it is taken to hold. Raises TypeError for a symbolic one: where the
    choice depends on the data, use `where`.

    >>> cond(torch.tensor(False), lambda: "yes", lambda: "no")
    'no'
    """
    return true_fn() if _holds(pred, unknown=True) else false_fn()


def _holds(pred: Any, unknown: bool) -> bool:
    return unknown if isinstance(pred, Tensor) and pred.is_meta else bool(pred)


def _leaf(x: Any) -> Any:
    return x if is_other(x) else tensor(x)
