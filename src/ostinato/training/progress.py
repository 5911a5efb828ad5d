"""How training shows itself: not at all, a bar, or a line per epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Logs = dict[str, float]


class Silent:
    """Shows nothing."""

    def begin(self, title: str, steps: int) -> None:
        """A pass over the data begins."""

    def step(self, logs: Callable[[], Logs]) -> None:
        """A step is done; `logs()` gives the numbers so far, at the price of waiting for them."""

    def end(self, logs: Logs) -> None:
        """The pass is over."""

    def close(self) -> None:
        """Leave the screen as it is, whatever happened."""


class Bar(Silent):
    """A bar with the numbers so far, redrawn at most ten times a second."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress: Progress | None = None
        self.task: Any = None
        self.next = 0.0

    def begin(self, title: str, steps: int) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            MofNCompleteColumn(),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self.console,
            auto_refresh=False,
        )
        self.task = self.progress.add_task(title, total=steps, numbers="")
        self.progress.start()

    def step(self, logs: Callable[[], Logs]) -> None:
        assert self.progress is not None
        self.progress.advance(self.task)
        now = time.monotonic()
        if now >= self.next:
            self.next = now + 0.1
            self.progress.update(self.task, numbers=numbers(logs()))
            self.progress.refresh()

    def end(self, logs: Logs) -> None:
        assert self.progress is not None
        self.progress.update(self.task, numbers=numbers(logs))
        self.close()

    def close(self) -> None:
        if self.progress is not None:
            self.progress.refresh()
            self.progress.stop()
            self.progress = None


class Lines(Silent):
    """A line at the end of each pass."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.title, self.steps, self.start = "", 0, 0.0

    def begin(self, title: str, steps: int) -> None:
        self.title, self.steps, self.start = title, steps, time.monotonic()

    def end(self, logs: Logs) -> None:
        seconds = time.monotonic() - self.start
        parts = [self.title, f"{self.steps} steps", f"{seconds:.1f} s", *([numbers(logs)] if logs else [])]
        self.console.print("  ".join(parts), highlight=False, markup=False, soft_wrap=True)


def display(verbose: Any) -> Silent:
    """The display for Keras's `verbose`: 0, 1 (a bar), 2 (lines), or "auto" (a bar where there is a screen).

    Raises ValueError for anything else.
    """
    console = Console(file=sys.stdout)
    if verbose == "auto":
        verbose = 1 if console.is_terminal or console.is_jupyter else 2
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose must be 0, 1, 2 or 'auto', got {verbose!r}.")
    return Silent() if verbose == 0 else Bar(console) if verbose == 1 else Lines(console)


def numbers(logs: Logs) -> str:
    """`loss: 0.3210  accuracy: 0.9012`.

    >>> numbers({"loss": 0.321, "val_loss": 1e-7})
    'loss: 0.3210  val_loss: 1.0000e-07'
    """
    return "  ".join(f"{name}: {_number(value)}" for name, value in logs.items())


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4e}"
