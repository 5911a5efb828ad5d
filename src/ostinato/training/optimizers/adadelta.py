"""Adadelta."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.optimizers import moments
from ostinato.training.optimizers.base import Optimizer
from ostinato.training.optimizers.settings import Hyperparameter, Options, amount, share


@registry.builtin("optimizers", "adadelta")
class Adadelta(Optimizer):
    """Steps as large as the last ones were, in the units of the weights (Zeiler, 2012, arXiv:1212.5701).

    ::

        v' = rho v + (1 - rho) g**2
        d  = sqrt(u + epsilon) / sqrt(v' + epsilon) g
        u' = rho u + (1 - rho) d**2
        w' = w - lr d

    Args:
        learning_rate: lr: a number of at least 0, a `LearningRateSchedule`, or a callable without arguments.
            The paper has none, which is 1.
        rho: share of the means that is kept, in [0, 1].
        epsilon: at least 0.
        name: of the optimizer.
        **options: of every optimizer, such as weight_decay, clipnorm, use_ema; see `Optimizer`.

    Raises:
        ValueError: for a number out of its range.
        TypeError: for an unknown argument.

    Source:
        Keras, `optimizers/adadelta.py`.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = ostinato.optimizers.Adadelta(1.0, epsilon=0.01)
        >>> optimizer.build([weight])
        >>> weight.grad = torch.tensor([2.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([-0.4364])
    """

    rho = Hyperparameter(share, "Share of the means that is kept.")
    epsilon = Hyperparameter(amount, "What keeps the divisor from 0, and the first steps from being none.")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        *,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(name, options, lr=learning_rate, rho=rho, epsilon=epsilon)

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """One step, as above."""
        rho, epsilon = group["rho"], group["epsilon"]
        squares = self.slots(parameters, "accumulated_grad")
        changes = self.slots(parameters, "accumulated_delta_var")
        moments.follow_squares(squares, grads, rho)
        divisors = torch._foreach_add(squares, epsilon)
        torch._foreach_sqrt_(divisors)
        deltas = list(torch._foreach_add(changes, epsilon))
        torch._foreach_sqrt_(deltas)
        torch._foreach_mul_(deltas, grads)
        torch._foreach_div_(deltas, divisors)
        moments.follow_squares(changes, deltas, rho)
        torch._foreach_add_(parameters, deltas, alpha=-float(group["lr"]))
