"""Optimizers by Keras's names and with Keras's formulas, on torch's fused lists of operations."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.optimizers.base import Hyperparameter, Optimizer


@registry.builtin("optimizers", "sgd")
class SGD(Optimizer):
    """Gradient descent, with momentum if asked for.

    ::

        w' = w - lr g                                momentum = 0
        m' = momentum m - lr g;  w' = w + m'         momentum > 0
                                 w' = w + momentum m' - lr g      nesterov

    The learning rate is inside the momentum, unlike in torch.optim.SGD: a change of it reaches new gradients only.

    Args:
        learning_rate: lr, at least 0.
        momentum: in [0, 1].
        nesterov: whether to look ahead (Sutskever et al., 2013).
        name: of the optimizer.

    Raises:
        ValueError: for a number out of its range.

    Source:
        Keras, `optimizers/sgd.py`.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = ostinato.optimizers.SGD(0.1, momentum=0.9)
        >>> optimizer.build([weight])
        >>> for _ in range(2):
        ...     weight.grad = torch.ones(1)
        ...     optimizer.step()
        >>> weight.data
        tensor([-0.2900])
    """

    flags = ("nesterov",)
    momentum = Hyperparameter("momentum", "Share of the last change that is kept.")
    nesterov = Hyperparameter("nesterov", "Whether to look ahead.")

    def __init__(
        self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False, name: str | None = None
    ) -> None:
        super().__init__(name, lr=learning_rate, momentum=momentum, nesterov=nesterov)

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """One step, as above."""
        rate, momentum = float(group["lr"]), group["momentum"]
        if not momentum:
            torch._foreach_add_(parameters, grads, alpha=-rate)
            return
        velocities = self.slots(parameters, "momentum")
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, grads, alpha=-rate)
        if group["nesterov"]:
            torch._foreach_add_(parameters, grads, alpha=-rate)
            torch._foreach_add_(parameters, velocities, alpha=momentum)
        else:
            torch._foreach_add_(parameters, velocities)


@registry.builtin("optimizers", "adam")
class Adam(Optimizer):
    """Steps by running means of the gradient and of its square (Kingma & Ba, 2015, arXiv:1412.6980).

    ::

        m' = m + (1 - beta_1) (g - m)
        v' = v + (1 - beta_2) (g**2 - v)
        w' = w - lr sqrt(1 - beta_2**t) / (1 - beta_1**t) m' / (sqrt(v') + epsilon)

    with t the number of the step, from 1. epsilon is the paper's "epsilon hat", unlike that of torch.optim.Adam.

    Args:
        learning_rate: lr, at least 0.
        beta_1, beta_2: shares of the means that are kept, in [0, 1).
        epsilon: at least 0.
        amsgrad: whether to divide by the largest v so far (Reddi et al., 2018).
        name: of the optimizer.

    Raises:
        ValueError: for a number out of its range.

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

    flags = ("amsgrad",)
    beta_1 = Hyperparameter("beta_1", "Share of the mean of gradients that is kept.")
    beta_2 = Hyperparameter("beta_2", "Share of the mean of squares that is kept.")
    epsilon = Hyperparameter("epsilon", "What keeps the divisor from 0.")
    amsgrad = Hyperparameter("amsgrad", "Whether to divide by the largest v so far.")

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name, lr=learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, amsgrad=amsgrad)

    def check(self, key: str, value: Any) -> None:
        """As in `Optimizer`; the betas must be below 1."""
        super().check(key, value)
        if key.startswith("beta") and value >= 1:
            raise ValueError(f"{self.described}: {key} must be below 1, got {value!r}.")

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """One step, as above."""
        beta_1, beta_2, t = group["beta_1"], group["beta_2"], group["iterations"]
        alpha = float(group["lr"]) * sqrt(1 - beta_2**t) / (1 - beta_1**t)
        means, squares = self.slots(parameters, "momentum"), self.slots(parameters, "velocity")
        torch._foreach_lerp_(means, grads, 1 - beta_1)
        torch._foreach_mul_(squares, beta_2)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - beta_2)
        if group["amsgrad"]:
            largest = self.slots(parameters, "velocity_hat")
            torch._foreach_maximum_(largest, squares)
            squares = largest
        divisors = torch._foreach_sqrt(squares)
        torch._foreach_add_(divisors, group["epsilon"])
        torch._foreach_addcdiv_(parameters, means, divisors, value=-alpha)


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
        learning_rate: lr, at least 0.
        rho: share of the means that is kept, in [0, 1].
        momentum: in [0, 1].
        epsilon: at least 0; under the root, unlike in torch.optim.RMSprop.
        centered: whether to divide by the standard deviation of the gradient.
        name: of the optimizer.

    Raises:
        ValueError: for a number out of its range.

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

    flags = ("centered",)
    rho = Hyperparameter("rho", "Share of the means that is kept.")
    momentum = Hyperparameter("momentum", "Share of the last change that is kept.")
    epsilon = Hyperparameter("epsilon", "What keeps the divisor from 0.")
    centered = Hyperparameter("centered", "Whether to divide by the standard deviation of the gradient.")

    def __init__(
        self,
        learning_rate: float = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name, lr=learning_rate, rho=rho, momentum=momentum, epsilon=epsilon, centered=centered)

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """One step, as above."""
        rate, rho, epsilon = float(group["lr"]), group["rho"], group["epsilon"]
        squares = self.slots(parameters, "velocity")
        torch._foreach_mul_(squares, rho)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - rho)
        divisors = torch._foreach_add(squares, epsilon)
        if group["centered"]:
            means = self.slots(parameters, "average_gradient")
            torch._foreach_mul_(means, rho)
            torch._foreach_add_(means, grads, alpha=1 - rho)
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
