"""Engines that torch cannot look into: one of NumPy with backpropagation by hand, and the loop in disguise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.engines.reference import differentiate
from ostinato.engines.spec import Spec
from ostinato.recurrence import Problem, Scanned, scan
from problems import ask_oracle_for_gradients, expected


class OpaqueEngine:
    """Runs the three cells through the oracle, and notes every problem and every gradient that it was given."""

    name = "opaque"
    differentiable = False
    runs_cudnn = False

    def __init__(self, name: str = "opaque", takes: Sequence[str] = ("simple_rnn", "gru", "lstm")) -> None:
        self.name, self.takes = name, takes
        self.ran: list[Problem] = []
        self.specs: list[Spec] = []
        self.given: list[list[Tensor | None]] = []

    def refuses(self, spec: Spec) -> list[str]:
        self.specs.append(spec)
        reasons = []
        if spec.recurrence not in self.takes:
            reasons.append(f"takes {', '.join(self.takes)}")
        if "custom" in spec.facts.values():
            reasons.append("takes activations that it knows")
        return reasons

    def forward(self, problem: Problem) -> tuple[Scanned, Any]:
        self.ran.append(problem)
        found = [array.to(problem.inputs.dtype) for array in expected(problem)]
        outputs = found.pop(0) if problem.sequences else None
        return Scanned(outputs, found[0], tuple(found[1:])), problem

    def backward(self, saved: Any, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        self.given.append(list(grads))
        return ask_oracle_for_gradients(saved, grads)


class LoopEngine:
    """The loop, hidden from autograd: takes every recurrence there is."""

    name = "loop"
    differentiable = False
    runs_cudnn = False

    def refuses(self, spec: Spec) -> list[str]:
        return []

    def forward(self, problem: Problem) -> tuple[Scanned, Any]:
        with torch.no_grad():
            return scan(problem), problem

    def backward(self, saved: Any, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        return differentiate(saved, grads, create_graph=False)
