"""A call of anything in torch, with or without gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.tasks import Task


def call_of(
    task: Task, run: Callable[[Tensor], Tensor], weights: Sequence[Tensor], x: Tensor, grad: Tensor
) -> Callable[[], Any]:
    """Forward in inference, or forward and the gradients of the weights and the inputs."""
    if not task.training:

        def forward() -> Tensor:
            with torch.no_grad():
                return run(x)

        return forward
    x.requires_grad_()
    return lambda: torch.autograd.grad(run(x), [*weights, x], grad)
