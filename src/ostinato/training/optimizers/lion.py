"""Lion."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.optimizers.base import Optimizer
from ostinato.training.optimizers.settings import Hyperparameter, Options, positive_share, share


@registry.builtin("optimizers", "lion")
class Lion(Optimizer):
    """Steps of one size, by the sign of the gradient and its running mean (Chen et al., 2023, arXiv:2302.06675).

    ::

        w' = w - lr sign(beta_1 m + (1 - beta_1) g)
        m' = beta_2 m + (1 - beta_2) g

    Args:
        learning_rate: lr: a number of at least 0, a `LearningRateSchedule`, or a callable without arguments.
        beta_1: share of the mean in the direction, in (0, 1]; with 0 it would be the sign of the gradient alone.
        beta_2: share of the mean that is kept, in [0, 1].
        name: of the optimizer.
        **options: of every optimizer, such as weight_decay, clipnorm, use_ema; see `Optimizer`.

    Raises:
        ValueError: for a number out of its range.
        TypeError: for an unknown argument.

    Source:
        Keras, `optimizers/lion.py`.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = ostinato.optimizers.Lion(0.1)
        >>> optimizer.build([weight])
        >>> weight.grad = torch.tensor([123.0, -0.5])
        >>> optimizer.step()
        >>> weight.data
        tensor([-0.1000,  0.1000])
    """

    beta_1 = Hyperparameter(positive_share, "Share of the mean in the direction.")
    beta_2 = Hyperparameter(share, "Share of the mean that is kept.")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        *,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(name, options, lr=learning_rate, beta_1=beta_1, beta_2=beta_2)

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """One step, as above."""
        beta_1, beta_2 = group["beta_1"], group["beta_2"]
        means = self.slots(parameters, "momentum")
        # Not lerp: where the two parts cancel, the sign hangs on how the sum is rounded, which must be as in Keras.
        directions = torch._foreach_mul(means, beta_1)
        torch._foreach_add_(directions, grads, alpha=1 - beta_1)
        torch._foreach_sign_(directions)
        torch._foreach_add_(parameters, directions, alpha=-float(group["lr"]))
        torch._foreach_mul_(means, beta_2)
        torch._foreach_add_(means, grads, alpha=1 - beta_2)
