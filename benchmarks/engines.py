"""Engines side by side, and torch's own layers beside them: `python -m benchmarks.engines`.

Processor time of one thread, so that other programs hardly show; the best of interleaved rounds. Read the ratios.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import ostinato
from benchmarks.machine import native, processor
from ostinato.engines.select import ENGINES

LAYERS: dict[str, tuple[Any, Any]] = {
    "LSTM": (ostinato.layers.LSTM, torch.nn.LSTM),
    "GRU": (ostinato.layers.GRU, torch.nn.GRU),
    "SimpleRNN": (ostinato.layers.SimpleRNN, torch.nn.RNN),
}
SIZES = [(1, 10, 16, 16), (1, 100, 64, 64), (8, 50, 32, 64), (64, 28, 28, 64), (32, 50, 128, 256)]
"""(batch, time, features, units)."""
ROUNDS = 7
OTHERS = ("aten", "reference", "torch")
"""As many times as long they take; torch's layer knows no mask and runs all steps."""


def best(ways: dict[str, Callable[[], Any]], calls: int = 3, rounds: int = ROUNDS) -> dict[str, float]:
    """Milliseconds of processor time a call, of each way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            for _ in range(calls):
                way()
            times[name].append(1e3 * (time.process_time() - start) / calls)
    return {name: min(mine) for name, mine in times.items()}


def masks_of(batch: int, steps: int) -> dict[str, torch.Tensor | None]:
    """No mask; right padding, half of all steps used; and as many, anywhere."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, steps + 1, (batch, 1), generator=generator)
    lengths[0] = steps
    gaps = torch.rand(batch, steps, generator=generator) < 0.5
    return {"no mask": None, "right padding": torch.arange(steps) < lengths, "gaps": gaps}


def ways_of(kind: str, sizes: tuple[int, int, int, int], mask: Any, training: bool) -> dict[str, Callable[[], Any]]:
    """A call of each engine, and of torch's layer, which knows no mask; in training with all gradients of weights."""
    batch, steps, features, units = sizes
    ours, theirs = LAYERS[kind]
    layer, other = ours(units, return_sequences=True), theirs(features, units, batch_first=True)
    x, grad = torch.randn(batch, steps, features), torch.randn(batch, steps, units)
    layer.build(x.shape)

    def run(module: Any, call: Callable[[], Any]) -> None:
        if training:
            torch.autograd.grad(call(), list(module.parameters()), grad)
        else:
            with torch.no_grad():
                call()

    def on(engine: str) -> None:
        with ostinato.use_engine(engine):
            run(layer, lambda: layer(x, mask=mask))

    ways = {engine.name: functools.partial(on, engine.name) for engine in ENGINES}
    return {**ways, "torch": lambda: run(other, lambda: other(x)[0])}


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    console = Console()
    console.print(f"{processor()}, one thread, torch {torch.__version__}, {native()}", highlight=False)
    table = Table(
        "layer", "batch, time, features, units", "mask", "", "native ms", *("times " + name for name in OTHERS)
    )
    for kind, sizes in itertools.product(LAYERS, SIZES):
        for (masked, mask), training in itertools.product(masks_of(*sizes[:2]).items(), (False, True)):
            ms = best(ways_of(kind, sizes, mask, training))
            what = "training" if training else "inference"
            ratios = [f"{ms[other] / ms['native']:.2f}" for other in OTHERS]
            table.add_row(kind, str(sizes), masked, what, f"{ms['native']:.2f}", *ratios)
    console.print(table)


if __name__ == "__main__":
    main()
