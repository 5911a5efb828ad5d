"""Learning curves and predicted images in one picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ostinato.files.atomic import atomic_writer


def draw_run(
    path: str | os.PathLike[str],
    history: Mapping[str, Sequence[float]],
    images: np.ndarray,
    labels: Sequence[int],
    predictions: Sequence[int],
) -> None:
    """Write a PNG: loss and accuracy by epoch, training beside validation, and images under what was predicted.

    history: as in `History.history`, with "loss" and "accuracy" and their `val_` counterparts. images: `(n, height,
    width)`; labels, predictions: n each. A wrong prediction is red and says what was right.
    Raises ModuleNotFoundError, naming the extra to install, without matplotlib.
    """
    figure_class = _figure_class()
    figure = figure_class(figsize=(10, 6.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[3, 2])
    axes = top.subplots(1, 2)
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        for key, label, style in ((name, "training", "-"), (f"val_{name}", "test", "--")):
            if key in history:
                axis.plot(range(1, len(history[key]) + 1), history[key], style, label=label)
        axis.set(xlabel="epoch", title=name)
        axis.grid(alpha=0.3)
        axis.legend()
    shown = bottom.subplots(1, len(images), squeeze=False)[0]
    bottom.suptitle("what the model reads")
    for axis, image, digit, read in zip(shown, images, labels, predictions, strict=True):
        title, color = (str(read), "black") if digit == read else (f"{read} (is {digit})", "tab:red")
        axis.imshow(image, cmap="gray_r")
        axis.set_title(title, color=color)
        axis.set_axis_off()
    with atomic_writer(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _figure_class() -> Any:
    """Matplotlib's Figure, without pyplot: no window, no global state."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (the optional dependency of this room)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib, which is not installed; install it with: pip install 'ostinato[plots]'"
        ) from error
    return Figure
