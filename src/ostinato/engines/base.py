"""What an engine is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from ostinato.engines.spec import Spec
from ostinato.recurrence.base import Problem, Scanned


class Engine(Protocol):
    """Runs problems; it agrees with the loop (`recurrence.scan`), and is pure.

    An engine sees problems with `lengths` or nothing: masks are compacted before it is asked; nor are there empty ones.
    Two directions over the same inputs (`recurrence.Directions`) are offered as one problem to those that do not refuse
    it, and else one by one. It records no autograd graph of its own: `execute` calls `forward` and `backward` from the
    one autograd.Function. The exception is an engine that is `differentiable`: made of torch operations only, so that
    torch differentiates it, any number of times and in every mode; for such a one `backward` is asked only by the
    operators.
    """

    name: str
    differentiable: bool
    runs_cudnn: bool  # on a GPU

    def refuses(self, spec: Spec) -> list[str]:
        """Why it won't run this: what it takes, one reason each. Empty = willing. Total; never raises.

        A function of the spec alone, for the answer is remembered. That `spec.transformed` rules out every engine that
        is not differentiable need not be said here.
        """
        ...

    def forward(self, problem: Problem) -> tuple[Scanned, Any]:
        """The result, and what `backward` needs (None if nothing wants gradients).

        What is kept may be the problem's tensors and the result's: one of them changed in place before `backward` is
        an error that autograd finds.
        """
        ...

    def backward(self, saved: Any, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Gradients for `leaves(problem)`, from those of `results(scanned)`, in their orders."""
        ...
