"""Adam, and with decoupled weight decay."""

from __future__ import annotations

from math import sqrt
from typing import Any, Unpack

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.optimizers import moments
from ostinato.training.optimizers.base import Optimizer
from ostinato.training.optimizers.settings import Hyperparameter, Options, Treatment, amount, flag, proper_share


@registry.builtin("optimizers", "adam")
class Adam(Optimizer):
    """Steps by running means of the gradient and of its square (Kingma & Ba, 2015, arXiv:1412.6980).

    ::

        m' = m + (1 - beta_1) (g - m)
        v' = v + (1 - beta_2) (g**2 - v)
        w' = w - lr sqrt(1 - beta_2**t) / (1 - beta_1**t) m' / (sqrt(v') + epsilon)

    with t the number of the step, from 1. epsilon is the paper's "epsilon hat", unlike that of torch.optim.Adam.

    Args:
        learning_rate: lr: a number of at least 0, a `LearningRateSchedule`, or a callable without arguments.
        beta_1, beta_2: shares of the means that are kept, in [0, 1).
        epsilon: at least 0.
        amsgrad: whether to divide by the largest v so far (Reddi et al., 2018).
        name: of the optimizer.
        **options: of every optimizer, such as weight_decay, clipnorm, use_ema; see `Optimizer`.

    Raises:
        ValueError: for a number out of its range.
        TypeError: for an unknown argument.

    Source:
        Keras, `optimizers/adam.py`.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = ostinato.optimizers.Adam(0.1)
        >>> optimizer.build([weight])
        >>> weight.grad = torch.tensor([123.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([-0.1000])
    """

    beta_1 = Hyperparameter(proper_share, "Share of the mean of gradients that is kept.")
    beta_2 = Hyperparameter(proper_share, "Share of the mean of squares that is kept.")
    epsilon = Hyperparameter(amount, "What keeps the divisor from 0.")
    amsgrad = Hyperparameter(flag, "Whether to divide by the largest v so far.")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            name, options, lr=learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, amsgrad=amsgrad
        )

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """One step, as above."""
        beta_1, beta_2, t = group["beta_1"], group["beta_2"], group["iterations"]
        alpha = float(group["lr"]) * sqrt(1 - beta_2**t) / (1 - beta_1**t)
        means, squares = self.slots(parameters, "momentum"), self.slots(parameters, "velocity")
        moments.follow(means, grads, beta_1)
        moments.follow_squares(squares, grads, beta_2)
        if group["amsgrad"]:
            largest = self.slots(parameters, "velocity_hat")
            torch._foreach_maximum_(largest, squares)
            squares = largest
        divisors = torch._foreach_sqrt(squares)
        torch._foreach_add_(divisors, group["epsilon"])
        torch._foreach_addcdiv_(parameters, means, divisors, value=-alpha)


@registry.builtin("optimizers", "adamw")
class AdamW(Adam):
    """`Adam` with weight decay, apart from the gradient (Loshchilov & Hutter, 2019, arXiv:1711.05101).

    ::

        w' = (1 - lr weight_decay) w, and then Adam's step

    Args:
        learning_rate: lr: a number of at least 0, a `LearningRateSchedule`, or a callable without arguments.
        weight_decay: at least 0; 0 is off.
        beta_1, beta_2: shares of the means that are kept, in [0, 1).
        epsilon: at least 0.
        amsgrad: whether to divide by the largest v so far (Reddi et al., 2018).
        name: of the optimizer.
        **options: of every optimizer, such as clipnorm, use_ema; see `Optimizer`.

    Raises:
        ValueError: for a number out of its range.
        TypeError: for an unknown argument.

    Source:
        Keras, `optimizers/adamw.py`.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = ostinato.optimizers.AdamW(0.1, weight_decay=0.5)
        >>> optimizer.build([weight])
        >>> weight.grad = torch.tensor([123.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([0.8500])
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *,
        name: str | None = None,
        **options: Unpack[Treatment],
    ) -> None:
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, name=name, weight_decay=weight_decay, **options
        )

    def check(self, key: str, value: Any) -> None:
        """As in `Optimizer`; weight_decay must be a number."""
        if key == "weight_decay" and value is None:
            raise ValueError(f"{self.described}: weight_decay must be a number, got None. Adam does without one.")
        super().check(key, value)
