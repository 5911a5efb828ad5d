"""Adagrad."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.optimizers.base import Optimizer
from ostinato.training.optimizers.settings import Hyperparameter, Options, amount


@registry.builtin("optimizers", "adagrad")
class Adagrad(Optimizer):
    """Steps by the gradient over the root of the sum of all its squares (Duchi, Hazan & Singer, 2011).

    ::

        s' = s + g**2                                s is initial_accumulator_value at first
        w' = w - lr g / sqrt(s' + epsilon)

    Args:
        learning_rate: lr: a number of at least 0, a `LearningRateSchedule`, or a callable without arguments.
        initial_accumulator_value: at least 0.
        epsilon: at least 0; under the root, unlike in torch.optim.Adagrad.
        name: of the optimizer.
        **options: of every optimizer, such as weight_decay, clipnorm, use_ema; see `Optimizer`.

    Raises:
        ValueError: for a number out of its range.
        TypeError: for an unknown argument.

    Source:
        Journal of Machine Learning Research 12, 2121-2159; Keras, `optimizers/adagrad.py`.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = ostinato.optimizers.Adagrad(0.5, initial_accumulator_value=0.0)
        >>> optimizer.build([weight])
        >>> weight.grad = torch.tensor([3.0])
        >>> optimizer.step()
        >>> weight.grad = torch.tensor([4.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([-0.9000])
    """

    initial_accumulator_value = Hyperparameter(amount, "What the sum of squares begins with.")
    epsilon = Hyperparameter(amount, "What keeps the divisor from 0.")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        *,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            name, options, lr=learning_rate, initial_accumulator_value=initial_accumulator_value, epsilon=epsilon
        )

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """One step, as above."""
        first = float(group["initial_accumulator_value"])
        sums = self.slots(parameters, "accumulator", lambda parameter: torch.full_like(parameter, first))
        torch._foreach_addcmul_(sums, grads, grads)
        divisors = torch._foreach_add(sums, group["epsilon"])
        torch._foreach_sqrt_(divisors)
        torch._foreach_addcdiv_(parameters, grads, divisors, value=-float(group["lr"]))
