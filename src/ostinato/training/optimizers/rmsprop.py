"""RMSprop."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.optimizers import moments
from ostinato.training.optimizers.base import Optimizer
from ostinato.training.optimizers.settings import Hyperparameter, Options, amount, flag, share


@registry.builtin("optimizers", "rmsprop")
class RMSprop(Optimizer):
    """Steps by the gradient over the root of the running mean of its square (Tieleman & Hinton, 2012).

    ::

        v' = rho v + (1 - rho) g**2
        a' = rho a + (1 - rho) g                     centered; else a' = 0
        d  = lr g / sqrt(v' - a'**2 + epsilon)
        w' = w - d                                   momentum = 0
        m' = momentum m + d;  w' = w - m'            momentum > 0

    Args:
        learning_rate: lr: a number of at least 0, a `LearningRateSchedule`, or a callable without arguments.
        rho: share of the means that is kept, in [0, 1].
        momentum: in [0, 1].
        epsilon: at least 0; under the root, unlike in torch.optim.RMSprop.
        centered: whether to divide by the standard deviation of the gradient.
        name: of the optimizer.
        **options: of every optimizer, such as weight_decay, clipnorm, use_ema; see `Optimizer`.

    Raises:
        ValueError: for a number out of its range.
        TypeError: for an unknown argument.

    Source:
        Keras, `optimizers/rmsprop.py`. There `v' - a'**2 + epsilon` may be rounded below 0, which gives NaN; here it is
        at least epsilon, as it is without rounding.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.tensor([10.0]))
        >>> optimizer = ostinato.optimizers.RMSprop(0.1)
        >>> optimizer.build([weight])
        >>> (weight**2 / 2).sum().backward()
        >>> optimizer.step()
        >>> weight.data
        tensor([9.6838])
    """

    rho = Hyperparameter(share, "Share of the means that is kept.")
    momentum = Hyperparameter(share, "Share of the last change that is kept.")
    epsilon = Hyperparameter(amount, "What keeps the divisor from 0.")
    centered = Hyperparameter(flag, "Whether to divide by the standard deviation of the gradient.")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        *,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            name, options, lr=learning_rate, rho=rho, momentum=momentum, epsilon=epsilon, centered=centered
        )

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """One step, as above."""
        rate, rho, epsilon = float(group["lr"]), group["rho"], group["epsilon"]
        squares = self.slots(parameters, "velocity")
        moments.follow_squares(squares, grads, rho)
        divisors = torch._foreach_add(squares, epsilon)
        if group["centered"]:
            means = self.slots(parameters, "average_gradient")
            moments.follow(means, grads, rho)
            torch._foreach_addcmul_(divisors, means, means, value=-1)
            torch._foreach_clamp_min_(divisors, epsilon)
        torch._foreach_sqrt_(divisors)
        if group["momentum"]:
            velocities = self.slots(parameters, "momentum")
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_addcdiv_(velocities, grads, divisors, value=rate)
            torch._foreach_sub_(parameters, velocities)
        else:
            torch._foreach_addcdiv_(parameters, grads, divisors, value=-rate)
