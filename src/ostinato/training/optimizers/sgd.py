"""Gradient descent."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.optimizers.base import Optimizer
from ostinato.training.optimizers.settings import Hyperparameter, Options, flag, share


@registry.builtin("optimizers", "sgd")
class SGD(Optimizer):
    """Gradient descent, with momentum if asked for.

    ::

        w' = w - lr g                                momentum = 0
        m' = momentum m - lr g;  w' = w + m'         momentum > 0
                                 w' = w + momentum m' - lr g      nesterov

    The learning rate is inside the momentum, unlike in torch.optim.SGD: a change of it reaches new gradients only.

    Args:
        learning_rate: lr: a number of at least 0, a `LearningRateSchedule`, or a callable without arguments.
        momentum: in [0, 1].
        nesterov: whether to look ahead (Sutskever et al., 2013).
        name: of the optimizer.
        **options: of every optimizer, such as weight_decay, clipnorm, use_ema; see `Optimizer`.

    Raises:
        ValueError: for a number out of its range.
        TypeError: for an unknown argument.

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

    momentum = Hyperparameter(share, "Share of the last change that is kept.")
    nesterov = Hyperparameter(flag, "Whether to look ahead.")

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(name, options, lr=learning_rate, momentum=momentum, nesterov=nesterov)

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
