"""Nadam."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.optimizers import moments
from ostinato.training.optimizers.base import Optimizer
from ostinato.training.optimizers.settings import Hyperparameter, Options, amount, proper_share


@registry.builtin("optimizers", "nadam")
class Nadam(Optimizer):
    """`Adam` that looks ahead, as Nesterov's momentum does (Dozat, 2016).

    ::

        b(t) = beta_1 (1 - 0.96**t / 2);  p(t) = b(1) b(2) ... b(t)
        m'   = m + (1 - beta_1) (g - m)
        v'   = v + (1 - beta_2) (g**2 - v)
        n    = b(t + 1) m' / (1 - p(t + 1)) + (1 - b(t)) g / (1 - p(t))
        w'   = w - lr n / (sqrt(v' / (1 - beta_2**t)) + epsilon)

    with t the number of the step, from 1.

    Args:
        learning_rate: lr: a number of at least 0, a `LearningRateSchedule`, or a callable without arguments.
        beta_1, beta_2: shares of the means that are kept, in [0, 1).
        epsilon: at least 0.
        name: of the optimizer.
        **options: of every optimizer, such as weight_decay, clipnorm, use_ema; see `Optimizer`.

    Raises:
        ValueError: for a number out of its range.
        TypeError: for an unknown argument.

    Source:
        Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop; Keras, `optimizers/nadam.py`.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = ostinato.optimizers.Nadam(0.1)
        >>> optimizer.build([weight])
        >>> weight.grad = torch.tensor([123.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([-0.1063])
    """

    counters: ClassVar[dict[str, Any]] = {**Optimizer.counters, "u_product": 1.0}  # p(t), by Keras's name
    beta_1 = Hyperparameter(proper_share, "Share of the mean of gradients that is kept.")
    beta_2 = Hyperparameter(proper_share, "Share of the mean of squares that is kept.")
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
        beta_1, beta_2, t = group["beta_1"], group["beta_2"], group["iterations"]
        now, ahead = (beta_1 * (1 - 0.5 * 0.96**step) for step in (t, t + 1))
        group["u_product"] *= now
        product = group["u_product"]
        means, squares = self.slots(parameters, "momentum"), self.slots(parameters, "velocity")
        moments.follow(means, grads, beta_1)
        moments.follow_squares(squares, grads, beta_2)
        changes = torch._foreach_mul(means, ahead / (1 - product * ahead))
        torch._foreach_add_(changes, grads, alpha=(1 - now) / (1 - product))
        divisors = torch._foreach_div(squares, 1 - beta_2**t)
        torch._foreach_sqrt_(divisors)
        torch._foreach_add_(divisors, group["epsilon"])
        torch._foreach_addcdiv_(parameters, changes, divisors, value=-float(group["lr"]))
