"""The learning rate of an optimizer, ours or torch's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def learning_rate(optimizer: Any, who: str) -> float:
    """The learning rate; of the first parameter group, if there are several.

    who: the callback, for the message. Raises ValueError if there is no optimizer yet, or it has no learning rate.

    >>> import ostinato, torch
    >>> learning_rate(ostinato.optimizers.SGD(0.5), "docs")
    0.5
    >>> learning_rate(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.25), "docs")
    0.25
    """
    if hasattr(type(optimizer), "learning_rate"):
        return float(optimizer.learning_rate)
    return float(_groups(optimizer, who)[0]["lr"])


def set_learning_rate(optimizer: Any, value: float, who: str) -> None:
    """Set the learning rate; parameter groups of a torch optimizer that have others keep their ratio to the first's.

    who: the callback, for the message. Raises ValueError as `learning_rate` does, and where there is no ratio since the
    first is 0.

    >>> import torch
    >>> a, b = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b], "lr": 0.25}])
    >>> set_learning_rate(optimizer, 1.0, "docs")
    >>> [group["lr"] for group in optimizer.param_groups]
    [1.0, 0.5]
    """
    if hasattr(type(optimizer), "learning_rate"):
        optimizer.learning_rate = value
        return
    groups = _groups(optimizer, who)
    before = [float(group["lr"]) for group in groups]
    if before[0] == 0 and any(before):
        raise ValueError(
            f"{who}: the optimizer has parameter groups with learning rates {before}; the others cannot follow the "
            f"first from 0. Set them by a scheduler of torch.optim.lr_scheduler, in a TorchScheduler."
        )
    for group, old in zip(groups, before, strict=True):
        new = value if old == before[0] else value * (old / before[0])
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(new)  # in place, as torch's schedulers do: a captured graph holds on to it
        else:
            group["lr"] = new


def _groups(optimizer: Any, who: str) -> list[dict[str, Any]]:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(
            f"{who}: there is no optimizer yet, only {optimizer!r}, which makes one of the weights once there are any. "
            f"Build the model before fit (begin it with an Input, or call it on a batch)."
        )
    return optimizer.param_groups
