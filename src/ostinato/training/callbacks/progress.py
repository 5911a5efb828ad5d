"""How a pass over the data shows itself: not at all, a bar, or a line."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Logs = dict[str, float]
_NARROWEST, _WIDEST = 8, 30  # a bar, in characters


class Silent:
    """Shows nothing."""

    def begin(self, title: str, steps: int | None) -> None:
        """A pass over the data begins; steps: how many, None if nobody knows."""

    def step(self, logs: Callable[[], Logs]) -> None:
        """A step is done; `logs()` gives the numbers so far, at the price of waiting for them."""

    def end(self, logs: Logs) -> None:
        """The pass is over."""

    def close(self) -> None:
        """Leave the screen as it is, whatever happened."""


class Bar(Silent):
    """A bar with the numbers so far, redrawn at most ten times a second; a count where the end is not known."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live: Live | None = None
        self.title, self.done, self.numbers = "", 0, ""
        self.steps: int | None = 0
        self.start = self.next = 0.0

    def begin(self, title: str, steps: int | None) -> None:
        self.title, self.steps, self.done, self.numbers, self.start = title, steps, 0, "", time.monotonic()
        self.live = Live(get_renderable=self._drawn, console=self.console, auto_refresh=False)
        self.live.start()

    def step(self, logs: Callable[[], Logs]) -> None:
        assert self.live is not None
        self.done += 1
        now = time.monotonic()
        if now >= self.next:
            self.next = now + 0.1
            self.numbers = numbers(logs())
            self.live.refresh()

    def end(self, logs: Logs) -> None:
        self.numbers = numbers(logs)
        self.close()

    def close(self) -> None:
        if self.live is not None:
            live, self.live = self.live, None
            live.stop()
            if not self.console.is_interactive and not self.console.is_jupyter:
                self.console.print()  # a file got the bar just now, without the end of its line

    def _drawn(self) -> RenderableType:
        """The bar, and the numbers behind it, or below it if the line is too short for both."""
        head = f"{self.title} {self.done} steps" if self.steps is None else f"{self.title} {self.done}/{self.steps}"
        elapsed = str(datetime.timedelta(seconds=int(time.monotonic() - self.start)))
        room = self.console.width - len(head) - len(elapsed) - len(self.numbers) - 3
        behind = room >= (_NARROWEST if self.steps is not None else 0)
        parts: list[RenderableType] = [Text(head)]
        if self.steps is not None:
            width = min(room, _WIDEST) if behind else _WIDEST
            parts.append(ProgressBar(total=self.steps, completed=self.done, width=width))
        line = Table.grid(padding=(0, 1))
        line.add_row(*parts, elapsed, *([self.numbers] if behind else []))
        return line if behind else Group(line, Text(f"  {self.numbers}"))


class Lines(Silent):
    """A line at the end of each pass."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.title, self.done, self.start = "", 0, 0.0

    def begin(self, title: str, steps: int | None) -> None:
        self.title, self.done, self.start = title, 0, time.monotonic()

    def step(self, logs: Callable[[], Logs]) -> None:
        self.done += 1

    def end(self, logs: Logs) -> None:
        seconds = time.monotonic() - self.start
        parts = [self.title, f"{self.done} steps", f"{seconds:.1f} s", *([numbers(logs)] if logs else [])]
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


def _number(value: Any) -> str:
    """A number in few characters; what is none (the F1 of each class, say) as it shows itself."""
    if not isinstance(value, (int, float)):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4e}"
