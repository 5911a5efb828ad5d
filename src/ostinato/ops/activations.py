"""Activation functions; whole numbers count as floats.

Where a recurrence has an activation of its own, the function here is known to engines by the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.ops.axes import Axis, axes_within, axis_within
from ostinato.ops.dtypes import floating
from ostinato.ops.overrides import operation
from ostinato.ops.tensors import tensor
from ostinato.recurrence import activations as known


@known.also("relu")
@operation
def relu(x: Any) -> Tensor:
    """`max(x, 0)`.

    >>> relu([-1.0, 2.0])
    tensor([0., 2.])
    """
    return torch.relu(tensor(x))


@operation
def relu6(x: Any) -> Tensor:
    """`min(max(x, 0), 6)`.

    >>> relu6([-1.0, 2.0, 8.0])
    tensor([0., 2., 6.])
    """
    return functional.relu6(tensor(x))


@operation
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Tensor:
    """`x` above 0, `negative_slope x` below.

    >>> leaky_relu([-1.0, 2.0])
    tensor([-0.2000,  2.0000])
    """
    return functional.leaky_relu(floating(tensor(x)), negative_slope)


@operation
def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """`x` above 0, `alpha (exp(x) - 1)` below (Clevert et al., 2016).

    >>> elu([-1.0, 2.0])
    tensor([-0.6321,  2.0000])
    """
    return functional.elu(floating(tensor(x)), alpha)


@operation
def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """`x` above 0, `alpha (exp(x / alpha) - 1)` below (Barron, 2017).

    >>> celu([-1.0, 2.0], alpha=2.0)
    tensor([-0.7869,  2.0000])
    """
    return functional.celu(floating(tensor(x)), alpha)


@operation
def selu(x: Any) -> Tensor:
    """1.0507 times `x` above 0, times `1.6733 (exp(x) - 1)` below: the self-normalising elu (Klambauer et al., 2017).

    >>> selu([-1.0, 1.0])
    tensor([-1.1113,  1.0507])
    """
    return torch.selu(floating(tensor(x)))


@operation
def gelu(x: Any, approximate: bool = True) -> Tensor:
    """`x Phi(x)`, Phi the normal distribution function, or its approximation by tanh (Hendrycks & Gimpel, 2016).

    >>> gelu([1.0]), gelu([1.0], approximate=False)
    (tensor([0.8412]), tensor([0.8413]))
    """
    return functional.gelu(floating(tensor(x)), approximate="tanh" if approximate else "none")


@operation
def glu(x: Any, axis: int = -1) -> Tensor:
    """`a sigmoid(b)`, a and b the halves of x along `axis` (Dauphin et al., 2017).

    Raises ValueError where there are no halves.

    >>> glu([2.0, 0.0])
    tensor([1.])
    """
    x = floating(tensor(x))
    axis = axis_within(axis, x.ndim, "glu")
    if x.shape[axis] % 2:
        raise ValueError(f"glu: axis {axis} of shape {tuple(x.shape)} has no two halves.")
    return functional.glu(x, axis)


@known.also("sigmoid")
@operation
def sigmoid(x: Any) -> Tensor:
    """`1 / (1 + exp(-x))`.

    >>> sigmoid([0.0])
    tensor([0.5000])
    """
    return torch.sigmoid(tensor(x))


@operation
def log_sigmoid(x: Any) -> Tensor:
    """`log(sigmoid(x))`, exact where the sigmoid is next to 0.

    >>> log_sigmoid([-100.0])
    tensor([-100.])
    """
    return functional.logsigmoid(floating(tensor(x)))


@known.also("hard_sigmoid")
@operation
def hard_sigmoid(x: Any) -> Tensor:
    """`clip(x / 6 + 1/2, 0, 1)`, as in Keras 3 (Keras 2 had `0.2 x + 0.5`).

    >>> hard_sigmoid([-3.0, 0.0, 3.0])
    tensor([0.0000, 0.5000, 1.0000])
    """
    return known.hard_sigmoid(floating(tensor(x)))


@operation
def sparse_sigmoid(x: Any) -> Tensor:
    """`clip((x + 1) / 2, 0, 1)` (Blondel et al., 2019).

    >>> sparse_sigmoid([-1.0, 0.0, 1.0])
    tensor([0.0000, 0.5000, 1.0000])
    """
    x = floating(tensor(x))
    return torch.where(x <= -1, torch.zeros_like(x), torch.where(x >= 1, torch.ones_like(x), (x + 1) / 2))


@known.also("tanh")
@operation
def tanh(x: Any) -> Tensor:
    """`(exp(x) - exp(-x)) / (exp(x) + exp(-x))`.

    >>> tanh([0.0])
    tensor([0.])
    """
    return torch.tanh(tensor(x))


@operation
def hard_tanh(x: Any) -> Tensor:
    """`clip(x, -1, 1)`.

    >>> hard_tanh([-2.0, 0.5, 2.0])
    tensor([-1.0000,  0.5000,  1.0000])
    """
    return functional.hardtanh(floating(tensor(x)))


@operation
def tanh_shrink(x: Any) -> Tensor:
    """`x - tanh(x)`.

    >>> tanh_shrink([1.0])
    tensor([0.2384])
    """
    return functional.tanhshrink(floating(tensor(x)))


@operation
def hard_shrink(x: Any, threshold: float = 0.5) -> Tensor:
    """`x` where `|x| > threshold`, else 0.

    >>> hard_shrink([-1.0, 0.2, 1.0])
    tensor([-1.,  0.,  1.])
    """
    return functional.hardshrink(floating(tensor(x)), threshold)


@operation
def soft_shrink(x: Any, threshold: float = 0.5) -> Tensor:
    """`x` nearer to 0 by `threshold`, and 0 where it would pass it.

    >>> soft_shrink([-1.0, 0.2, 1.0])
    tensor([-0.5000,  0.0000,  0.5000])
    """
    return functional.softshrink(floating(tensor(x)), threshold)


@operation
def threshold(x: Any, threshold: float, default_value: float) -> Tensor:
    """`x` above `threshold`, else `default_value`.

    >>> threshold([0.5, 2.0], 1.0, -1.0)
    tensor([-1.,  2.])
    """
    return functional.threshold(tensor(x), threshold, default_value)


@operation
def silu(x: Any) -> Tensor:
    """`x sigmoid(x)`, also called swish (Ramachandran et al., 2017).

    >>> silu([1.0])
    tensor([0.7311])
    """
    return functional.silu(floating(tensor(x)))


swish = silu


@operation
def hard_silu(x: Any) -> Tensor:
    """`x clip(x / 6 + 1/2, 0, 1)`, also called hard swish (Howard et al., 2019).

    >>> hard_silu([-4.0, 1.0, 4.0])
    tensor([-0.0000, 0.6667, 4.0000])
    """
    return functional.hardswish(floating(tensor(x)))


hard_swish = hard_silu


@operation
def softplus(x: Any) -> Tensor:
    """`log(1 + exp(x))`.

    >>> softplus([0.0])
    tensor([0.6931])
    """
    return functional.softplus(floating(tensor(x)))


@operation
def softsign(x: Any) -> Tensor:
    """`x / (1 + |x|)`.

    >>> softsign([1.0])
    tensor([0.5000])
    """
    return functional.softsign(floating(tensor(x)))


@operation
def squareplus(x: Any, b: float = 4) -> Tensor:
    """`(x + sqrt(x^2 + b)) / 2`, a smooth relu (Barron, 2021).

    >>> squareplus([0.0])
    tensor([1.])
    """
    x = floating(tensor(x))
    return (x + torch.sqrt(x.square() + b)) / 2


@operation
def sparse_plus(x: Any) -> Tensor:
    """0 below -1, `x` above 1, `(x + 1)^2 / 4` between.

    >>> sparse_plus([-2.0, 0.0, 2.0])
    tensor([0.0000, 0.2500, 2.0000])
    """
    x = floating(tensor(x))
    return torch.where(x <= -1, torch.zeros_like(x), torch.where(x < 1, (x + 1).square() / 4, x))


@operation
def softmax(x: Any, axis: Axis = -1) -> Tensor:
    """`exp(x) / sum(exp(x))` along an axis, several, or all (None).

    >>> softmax([0.0, 0.0])
    tensor([0.5000, 0.5000])
    """
    return _along(torch.softmax, x, axis, "softmax")


@operation
def log_softmax(x: Any, axis: Axis = -1) -> Tensor:
    """`log(softmax(x))` along an axis, several, or all (None).

    >>> log_softmax([0.0, 0.0])
    tensor([-0.6931, -0.6931])
    """
    return _along(torch.log_softmax, x, axis, "log_softmax")


@operation
def sparsemax(x: Any, axis: int = -1) -> Tensor:
    """`max(x - tau, 0)`, with the tau by which the values along `axis` sum to 1 (Martins & Astudillo, 2016).

    It is the point of the probability simplex that is nearest to x.

    >>> sparsemax([1.0, 0.5, -1.0])
    tensor([0.7500, 0.2500, 0.0000])
    """
    x = floating(tensor(x))
    axis = axis_within(axis, x.ndim, "sparsemax")
    ranked = torch.sort(x, dim=axis, descending=True).values
    counts = torch.arange(1, x.shape[axis] + 1, dtype=x.dtype, device=x.device)
    counts = counts.reshape([-1 if each == axis else 1 for each in range(x.ndim)])
    excess = torch.cumsum(ranked, axis) - 1
    support = ranked * counts > excess  # the greatest so many values, which stay above 0
    size = torch.sum(support, axis, keepdim=True)
    tau = torch.sum(torch.where(support, ranked, torch.zeros_like(x)), axis, keepdim=True) - 1
    return torch.clamp(x - tau / size, min=0)


def _along(function: Callable[[Tensor, int], Tensor], x: Any, axis: Axis, who: str) -> Tensor:
    """A function along one axis, along several or all as if they were one."""
    x = floating(tensor(x))
    if isinstance(axis, int):
        return function(x, axis)
    axes = axes_within(axis, x.ndim, who)
    if not axes:
        return function(x.unsqueeze(-1), -1).squeeze(-1)
    last = tuple(range(-len(axes), 0))
    moved = torch.movedim(x, axes, last)
    return torch.movedim(function(moved.flatten(-len(axes)), -1).reshape(moved.shape), last, axes)
