"""Learning curves: what `fit` recorded, by epoch."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ostinato.plots.canvas import require_matplotlib, save, wrapped

PER_ROW = 3
"""Axes in a row, at most."""

WIDTH, HEIGHT = 4.4, 3.3
"""Inches of one axis, with its title and labels."""

History = Mapping[str, Sequence[float]]


def plot_history(
    history: History, path: str | os.PathLike[str] | None = None, epochs: Mapping[str, Sequence[int]] | None = None
) -> Any:
    """Draw learning curves: an axis for each metric, training beside validation, and one for the learning rate.

    history: name to one number per epoch, as in `History.history`; the curve of `val_x` stands beside that of `x`.
    `learning_rate` has a logarithmic axis. path: of a PNG to write; None writes none. epochs: the epochs, from 1, at
    which the numbers of a name were measured; where it does not say, all of them, and a shorter curve's at intervals.

    Returns the matplotlib Figure. Raises ValueError if nothing was recorded, and ModuleNotFoundError, naming the extra
    to install, without matplotlib.

    >>> figure = plot_history({"loss": [0.9, 0.5], "val_loss": [0.8, 0.6], "learning_rate": [0.01, 0.001]})
    >>> [(axis.get_title(), len(axis.lines), axis.get_yscale()) for axis in figure.axes]
    [('loss', 2, 'linear'), ('learning_rate', 1, 'log')]
    """
    matplotlib = require_matplotlib()
    names = metric_names(history)
    if not names:
        raise ValueError("plot_history: no epoch was recorded; call fit(...) with epochs of 1 or more first.")
    columns = 2 if len(names) == 4 else min(len(names), PER_ROW)  # no row for a single one
    rows = math.ceil(len(names) / columns)
    figure = matplotlib.figure.Figure(figsize=(max(WIDTH * columns, 5.0), HEIGHT * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        draw_curves(axis, history, name, "validation", epochs or {})
    for axis in axes[len(names) :]:
        axis.remove()
    if path is not None:
        save(figure, path, dpi=110)
    return figure


def metric_names(history: History) -> list[str]:
    """What is to be drawn, an axis each: the loss first, the learning rate last, without the `val_` counterparts.

    >>> metric_names({"accuracy": [1.0], "loss": [0.1], "val_loss": [0.2], "val_only": [3.0], "empty": []})
    ['loss', 'accuracy', 'only']
    """
    recorded = [name for name, values in history.items() if len(values)]
    names = dict.fromkeys(name.removeprefix("val_") for name in recorded)
    return sorted(names, key=lambda name: (name != "loss", name == "learning_rate"))


def draw_curves(
    axis: Any, history: History, name: str, validation: str, epochs: Mapping[str, Sequence[int]] = MappingProxyType({})
) -> None:
    """One quantity by epoch on a matplotlib axis, as far as it was recorded.

    validation: what the data of the `val_` curve is called. epochs: as in `plot_history`.
    """
    known = {
        key: epochs.get(key) or measured_epochs(history, len(values)) for key, values in history.items() if len(values)
    }
    for key, label, style in ((name, "training", "-"), (f"val_{name}", validation, "--")):
        if key in known:
            values = history[key]
            size = 3.0 if len(values) <= 60 else 1.5  # a curve, not a row of beads; a lone point is still seen
            axis.plot(known[key], values, style, marker="o", markersize=size, label=label)
    axis.set_title(wrapped(name, 40), parse_math=False)
    axis.set_xlabel("epoch")
    every = [epoch for each in known.values() for epoch in each] or [1]
    axis.set_xlim(min(every) - 0.5, max(every) + 0.5)
    axis.xaxis.set_major_locator(require_matplotlib().ticker.MaxNLocator(integer=True, min_n_ticks=1))
    axis.grid(alpha=0.3)
    if name == "learning_rate":
        if all(value > 0 for line in axis.lines for value in line.get_ydata()):
            axis.set_yscale("log")
    elif axis.lines:
        axis.legend()


def measured_epochs(history: History, count: int) -> list[int]:
    """At which epochs, from 1, something was measured that is recorded `count` times: at intervals.

    >>> measured_epochs({"loss": [0.9, 0.8, 0.7, 0.6]}, 4), measured_epochs({"loss": [0.9, 0.8, 0.7, 0.6]}, 2)
    ([1, 2, 3, 4], [2, 4])
    """
    interval = max(len(values) for values in history.values()) // count
    return [interval * (number + 1) for number in range(count)]
