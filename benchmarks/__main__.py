"""Times, side by side in one run: `python -m benchmarks` (or `make bench`).

Medians over interleaved rounds. Ratios mean more than milliseconds: the machine is named in the output.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import ostinato
from benchmarks.plain import FusedLSTM, LoopLSTM, PlainModel, plain_step
from ostinato.core.graph import call_masked
from ostinato.engines import select
from ostinato.recurrence.base import Problem, Scanned
from ostinato.training import step as steps_of_fit

BATCH, TIME, FEATURES, UNITS, CLASSES = 64, 28, 28, 64, 10
ROUNDS = 5


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


def call_overhead(calls: int = 5000) -> float:
    """Microseconds from `LSTM.__call__` to `engine.forward`, on a built layer in inference."""
    layer, x, clock = ostinato.layers.LSTM(UNITS).eval(), torch.randn(1, 100, UNITS), Clock(UNITS)
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


def guide_model() -> Any:
    """The guide's model, compiled and built."""
    model = ostinato.Sequential(
        [
            ostinato.layers.LSTM(UNITS, input_shape=(None, FEATURES)),
            ostinato.layers.BatchNormalization(),
            ostinato.layers.Dense(CLASSES),
        ]
    )
    loss = ostinato.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="sgd", loss=loss, metrics=["accuracy"])
    return model


def data(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels for a number of steps."""
    generator = np.random.default_rng(0)
    x = generator.random((BATCH * steps, TIME, FEATURES), dtype=np.float32)
    return x, generator.integers(0, CLASSES, BATCH * steps)


def trainer_overhead(steps: int = 200) -> tuple[float, float]:
    """(milliseconds per step of fit, of those not in forward, backward or optimizer) for the guide's model."""
    model, (x, y) = guide_model(), data(steps)
    model.fit(x, y, batch_size=BATCH, verbose=0)
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
        start = time.perf_counter()
        model.fit(x, y, batch_size=BATCH, verbose=0)
        whole = time.perf_counter() - start
    finally:
        steps_of_fit.call_masked, torch.Tensor.backward, model.optimizer.step = originals
    return 1e3 * whole / steps, 1e3 * (whole - inside[0]) / steps


def fit_against_plain(recurrent: torch.nn.Module, steps: int = 60) -> tuple[float, float]:
    """Milliseconds per step: fit of the guide's model, and a plain PyTorch loop around the same with `recurrent`."""
    model, (x, y) = guide_model(), data(steps)
    plain = PlainModel(recurrent, UNITS, CLASSES)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.01)
    xs, ys = torch.from_numpy(x), torch.from_numpy(y)

    def run_plain() -> None:
        order = torch.randperm(len(xs))
        for start in range(0, len(xs), BATCH):
            index = order[start : start + BATCH]
            plain_step(plain, optimizer, xs[index], ys[index])

    def run_fit() -> None:
        model.fit(x, y, batch_size=BATCH, verbose=0)

    return interleaved(run_fit, run_plain, steps)


def interleaved(first: Callable[[], None], second: Callable[[], None], steps: int) -> tuple[float, float]:
    """Medians of both in milliseconds per step, taken in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for function in (first, second):
        function()
    for _ in range(ROUNDS):
        for function, mine in zip((first, second), times, strict=True):
            start = time.perf_counter()
            function()
            mine.append(1e3 * (time.perf_counter() - start) / steps)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    """Measure and print."""
    console = Console()
    processor = platform.processor() or platform.machine()
    console.print(f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}", highlight=False)
    table = Table("what", "measured", "at most")
    table.add_row("LSTM.__call__ to engine.forward", f"{call_overhead():.1f} µs", "15 µs")
    rounds = sorted(trainer_overhead() for _ in range(ROUNDS))
    step, outside = statistics.median(r[0] for r in rounds), statistics.median(r[1] for r in rounds)
    table.add_row("fit, a step of the guide's model", f"{step:.2f} ms", "")
    table.add_row("  of it outside forward, backward, optimizer", f"{outside:.3f} ms", "0.3 ms")
    fit, fused = fit_against_plain(FusedLSTM(FEATURES, UNITS))
    table.add_row("fit", f"{fit:.2f} ms a step", "")
    table.add_row("plain PyTorch loop with torch.nn.LSTM", f"{fused:.2f} ms a step", "")
    table.add_row("  ratio", f"{fit / fused:.2f}", "1.1")
    with ostinato.use_engine("reference"):
        fit, loop = fit_against_plain(LoopLSTM(FEATURES, UNITS))
    table.add_row("fit, reference engine", f"{fit:.2f} ms a step", "")
    table.add_row("plain PyTorch loop, hand-written LSTM loop", f"{loop:.2f} ms a step", "")
    table.add_row("  ratio", f"{fit / loop:.2f}", "2")
    console.print(table)


if __name__ == "__main__":
    main()
