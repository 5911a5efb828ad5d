"""What becomes of gradients before an optimizer uses them: unscaled, averaged over several steps, clipped."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

if TYPE_CHECKING:
    from ostinato.training.optimizers.base import Optimizer

_GATHERED = "gradient_accumulator"  # Keras's name


class Batch(NamedTuple):
    """The parameters of a group that have gradients, and these."""

    group: dict[str, Any]
    parameters: list[Tensor]
    grads: list[Tensor]


def collect(group: dict[str, Any], who: str) -> Batch:
    """The parameters of a group that have a gradient. Raises ValueError for a sparse one; who: for its message."""
    parameters, grads, dense = [], [], torch.strided
    for each in group["params"]:
        grad = each.grad
        if grad is None:
            continue
        if grad.layout is not dense:
            raise ValueError(
                f"{who}: the gradient of the parameter of shape {tuple(each.shape)} is {grad.layout}. It takes dense "
                f"ones; torch.optim.SparseAdam takes sparse ones."
            )
        parameters.append(each)
        grads.append(grad)
    return Batch(group, parameters, grads)


def prepare(optimizer: Optimizer, batches: list[Batch]) -> bool:
    """Treat all gradients as the optimizer's options ask, in Keras's order; `batch.grads` are replaced.

    Returns whether they are to be used now; if not, they were only gathered.
    """
    parameters = [each for batch in batches for each in batch.parameters]
    grads = [each for batch in batches for each in batch.grads]
    if grads and optimizer.loss_scale_factor is not None:
        grads = list(torch._foreach_div(grads, float(optimizer.loss_scale_factor)))
    steps = optimizer.gradient_accumulation_steps
    if steps:
        gathered = optimizer.slots(parameters, _GATHERED)
        if grads:
            torch._foreach_add_(gathered, grads)
        if optimizer.first_group["accumulated"] + 1 < steps:
            for batch in batches:
                batch.group["accumulated"] += 1
            return False
        if grads:
            torch._foreach_div_(gathered, steps)
        grads = gathered
    rest = iter(clip(optimizer, grads) if grads else grads)
    for batch in batches:
        batch.grads[:] = islice(rest, len(batch.parameters))
    return True


def start_again(optimizer: Optimizer) -> None:
    """Gathered gradients were used: gather anew, those of parameters that were not in the last step too."""
    gathered = [kept[_GATHERED] for kept in optimizer.state.values() if _GATHERED in kept]
    if gathered:
        torch._foreach_zero_(gathered)
    for group in optimizer.param_groups:
        group["accumulated"] = 0


def clip(optimizer: Optimizer, grads: list[Tensor]) -> list[Tensor]:
    """The gradients within the one limit that the optimizer sets; as they are, if it sets none."""
    if optimizer.clipnorm:
        return clip_each_norm(grads, float(optimizer.clipnorm))
    if optimizer.global_clipnorm:
        return clip_total_norm(grads, float(optimizer.global_clipnorm))
    if optimizer.clipvalue:
        return clip_values(grads, float(optimizer.clipvalue))
    return grads


def clip_values(grads: list[Tensor], limit: float) -> list[Tensor]:
    """Each value brought into [-limit, limit]; NaN stays.

    >>> clip_values([torch.tensor([-3.0, 0.5])], 1.0)
    [tensor([-1.0000,  0.5000])]
    """
    clipped = list(torch._foreach_clamp_min(grads, -limit))
    torch._foreach_clamp_max_(clipped, limit)
    return clipped


def clip_each_norm(grads: list[Tensor], limit: float) -> list[Tensor]:
    """Each gradient times min(1, limit / its own Euclidean norm).

    >>> clip_each_norm([torch.tensor([3.0, 4.0]), torch.tensor([0.5])], 1.0)
    [tensor([0.6000, 0.8000]), tensor([0.5000])]
    """
    factors = list(torch._foreach_norm(grads))
    torch._foreach_clamp_min_(factors, limit)
    torch._foreach_reciprocal_(factors)
    torch._foreach_mul_(factors, limit)
    return list(torch._foreach_mul(grads, factors))


def clip_total_norm(grads: list[Tensor], limit: float) -> list[Tensor]:
    """All gradients times min(1, limit / the Euclidean norm of them all); all NaN if that is not finite, as in Keras.

    >>> clip_total_norm([torch.tensor([3.0]), torch.tensor([4.0])], 1.0)
    [tensor([0.6000]), tensor([0.8000])]
    """
    norm = get_total_norm(grads)
    factor = limit / norm.clamp(min=limit) + (norm - norm)
    if len({(each.device, each.dtype) for each in grads}) == 1:
        return list(torch._foreach_mul(grads, factor))
    return [each * factor.to(each) for each in grads]
