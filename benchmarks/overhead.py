"""What our layers and `fit` cost around the engines and the optimizer."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

import ostinato
from benchmarks.peers.ours import guide_model
from benchmarks.tasks import Guide
from ostinato.core.graph import call_masked
from ostinato.engines import select
from ostinato.recurrence.base import Problem, Scanned
from ostinato.training import step as steps_of_fit


class Clock:
    """An engine that computes nothing and notes when it was asked."""

    name = "clock"
    differentiable = True
    runs_cudnn = False

    def __init__(self, units: int) -> None:
        zero = torch.zeros(1, units)
        self.answer = Scanned(None, zero, (zero, zero))
        self.asked = 0

    def refuses(self, spec: Any) -> list[str]:
        return []

    def forward(self, problem: Problem) -> tuple[Scanned, None]:
        self.asked = time.perf_counter_ns()
        return self.answer, None

    def backward(self, saved: Any, grads: Any) -> list[Any]:
        raise NotImplementedError


def of_call(calls: int) -> float:
    """Microseconds from `LSTM.__call__` to `engine.forward`, on a built layer in inference."""
    layer, x, clock = ostinato.layers.LSTM(Guide.units).eval(), torch.randn(1, 100, Guide.units), Clock(Guide.units)
    layer(x)
    engines, times = select.ENGINES, []
    select.ENGINES = (clock,)
    try:
        with torch.no_grad():
            for _ in range(calls):
                start = time.perf_counter_ns()
                layer(x)
                times.append(clock.asked - start)
    finally:
        select.ENGINES = engines
    return statistics.median(times) / 1e3


@contextlib.contextmanager
def timed_inside(model: Any) -> Iterator[list[float]]:
    """A list of one number: the seconds spent so far in forward, backward and optimizer."""
    inside = [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            inside[0] += time.perf_counter() - start
            return result

        return run

    originals = steps_of_fit.call_masked, torch.Tensor.backward, model.optimizer.step
    steps_of_fit.call_masked = timed(call_masked)
    torch.Tensor.backward = timed(originals[1])
    model.optimizer.step = timed(originals[2])
    try:
        yield inside
    finally:
        steps_of_fit.call_masked, torch.Tensor.backward, model.optimizer.step = originals


def of_step(steps: int) -> float:
    """Milliseconds of a step of `fit` of the guide's model that are not in forward, backward or optimizer."""
    model, (x, y) = guide_model(), Guide.data(steps)
    model.fit(x, y, batch_size=Guide.batch, verbose=0)
    with timed_inside(model) as inside:
        start = time.perf_counter()
        model.fit(x, y, batch_size=Guide.batch, verbose=0)
        whole = time.perf_counter() - start
    return 1e3 * (whole - inside[0]) / steps


def measure(threads: int, rounds: int, steps: int) -> dict[str, float]:
    """Medians: microseconds of a call, milliseconds of a step."""
    torch.set_num_threads(threads)
    return {
        "call": statistics.median(of_call(10 * steps) for _ in range(rounds)),
        "step": statistics.median(of_step(steps) for _ in range(rounds)),
    }
