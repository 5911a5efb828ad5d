"""Adamax."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.optimizers import moments
from ostinato.training.optimizers.base import Optimizer
from ostinato.training.optimizers.settings import Hyperparameter, Options, amount, proper_share, share


@registry.builtin("optimizers", "adamax")
class Adamax(Optimizer):
    """`Adam` by the largest gradient instead of the mean of squares (Kingma & Ba, 2015, arXiv:1412.6980, section 7.1).

    ::

        m' = m + (1 - beta_1) (g - m)
        u' = max(beta_2 u, |g|)
        w' = w - lr / (1 - beta_1**t) m' / (u' + epsilon)

    with t the number of the step, from 1.

    Args:
        learning_rate: lr: a number of at least 0, a `LearningRateSchedule`, or a callable without arguments.
        beta_1: share of the mean that is kept, in [0, 1).
        beta_2: share of the largest gradient that is kept, in [0, 1].
        epsilon: at least 0.
        name: of the optimizer.
        **options: of every optimizer, such as weight_decay, clipnorm, use_ema; see `Optimizer`.

    Raises:
        ValueError: for a number out of its range.
        TypeError: for an unknown argument.

    Source:
        Keras, `optimizers/adamax.py`.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = ostinato.optimizers.Adamax(0.1)
        >>> optimizer.build([weight])
        >>> weight.grad = torch.tensor([123.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([-0.1000])
    """

    beta_1 = Hyperparameter(proper_share, "Share of the mean of gradients that is kept.")
    beta_2 = Hyperparameter(share, "Share of the largest gradient that is kept.")
    epsilon = Hyperparameter(amount, "What keeps the divisor from 0.")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(name, options, lr=learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """One step, as above."""
        beta_1 = group["beta_1"]
        means, largest = self.slots(parameters, "momentum"), self.slots(parameters, "norm")
        moments.follow(means, grads, beta_1)
        torch._foreach_mul_(largest, group["beta_2"])
        torch._foreach_maximum_(largest, torch._foreach_abs(grads))
        divisors = torch._foreach_add(largest, group["epsilon"])
        alpha = float(group["lr"]) / (1 - beta_1 ** group["iterations"])
        torch._foreach_addcdiv_(parameters, means, divisors, value=-alpha)
