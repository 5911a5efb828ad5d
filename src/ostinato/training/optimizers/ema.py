"""The exponential moving average of weights (Polyak & Juditsky, 1992), as Keras keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ostinato.training.optimizers.base import Optimizer

_AVERAGE = "average"  # Keras's name


def follow(optimizer: Optimizer, iterations: int) -> None:
    """After a step: `a' = momentum a + (1 - momentum) w` for all parameters, and `w' = a'` when that is due.

    iterations: updates before this step; in the first, `a' = w`. Where gradients are accumulated, every step moves the
    average, as in Keras, also one that changed no weight.
    """
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    averages = optimizer.slots(parameters, _AVERAGE, torch.clone)
    if iterations == 0:
        torch._foreach_copy_(averages, parameters)
    else:
        torch._foreach_lerp_(averages, parameters, 1 - optimizer.ema_momentum)
    frequency = optimizer.ema_overwrite_frequency
    if frequency and (iterations + 1) % frequency == 0:
        torch._foreach_copy_(parameters, averages)


def overwrite(optimizer: Optimizer, parameters: list[Tensor]) -> None:
    """Put the average of each of these parameters in its place; one that has none yet is left as it is.

    Raises ValueError for parameters that the optimizer was not built for.
    """
    known = {each for group in optimizer.param_groups for each in group["params"]} if optimizer.built else set()
    unknown = sum(each not in known for each in parameters)
    if unknown:
        raise ValueError(
            f"{optimizer.described}: it keeps averages of the {len(known)} parameters it was built for; {unknown} of "
            f"these {len(parameters)} are others."
        )
    kept = [each for each in parameters if _AVERAGE in optimizer.state.get(each, ())]
    if kept:
        with torch.no_grad():
            torch._foreach_copy_(kept, [optimizer.state[each][_AVERAGE] for each in kept])
