"""Cells as one writes them by hand in PyTorch, in a Python loop over time."""

from __future__ import annotations

import torch

from benchmarks.peers import Prepared, Unsupported
from benchmarks.peers.torch_calls import call_of
from benchmarks.plain import LOOPS, LastOfLoopLSTM, fit_plainly
from benchmarks.tasks import Task, arrays


def layer(task: Task) -> Prepared:
    if task.mask or task.recurrent_dropout:
        raise Unsupported("is as plain as can be: no masks, no dropout")
    given = arrays(task)
    module = LOOPS[task.cell](task.size.features, task.size.units)
    return Prepared(
        call_of(task, module, list(module.parameters()), torch.from_numpy(given.x), torch.from_numpy(given.grad))
    )


def fit(steps: int) -> Prepared:
    return fit_plainly(LastOfLoopLSTM, steps)
