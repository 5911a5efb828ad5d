"""The reference engine: the loop itself, on any device, dtype and cell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.engines.spec import Spec
from ostinato.recurrence.base import Problem, Scanned
from ostinato.recurrence.scan import scan


class ReferenceEngine:
    """Runs `scan`; takes everything, and is what every other engine must agree with."""

    name = "reference"
    differentiable = True
    runs_cudnn = False

    def refuses(self, spec: Spec) -> list[str]:
        return []

    def forward(self, problem: Problem) -> tuple[Scanned, Problem]:
        return scan(problem), problem

    def backward(self, saved: Problem, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        return differentiate(saved, grads, create_graph=False)


def differentiate(problem: Problem, grads: Sequence[Tensor | None], create_graph: bool) -> list[Tensor | None]:
    """Gradients of the reference loop: for `leaves(problem)`, from those of its `results`.

    create_graph: over the problem's own tensors, so that the gradients can be differentiated in turn.
    """
    tensors = leaves(problem)
    if create_graph:
        # Through views, for one tensor may stand in two places, or be computed from another one: a gradient is wanted
        # for each place by itself.
        with torch.enable_grad():
            tensors = [None if x is None else x.view_as(x) for x in tensors]
    else:
        tensors = [None if x is None else x.detach().requires_grad_(x.is_floating_point()) for x in tensors]
    with torch.enable_grad():
        outputs = results(scan(with_leaves(problem, tensors)))
    pairs = [(y, g) for y, g in zip(outputs, grads, strict=True) if g is not None and y.requires_grad]
    wanted = [x for x in tensors if x is not None and x.requires_grad]
    if not pairs or not wanted:
        return [None] * len(tensors)
    found = torch.autograd.grad(
        [y for y, _ in pairs], wanted, [g for _, g in pairs], create_graph=create_graph, allow_unused=True
    )
    rest = iter(found)
    return [next(rest) if x is not None and x.requires_grad else None for x in tensors]


REFERENCE = ReferenceEngine()
