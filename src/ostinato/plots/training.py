"""Learning curves and predicted images in one picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ostinato.plots.canvas import require_matplotlib, save
from ostinato.plots.history import draw_curves

WIDTH, CURVES, ROW, HEADING = 10.0, 3.7, 1.2, 0.4
"""Inches: of the picture, of the curves' height, of a row of images with their titles, of the line above the images."""

PER_ROW = 12
"""Images in a row, at most."""


def draw_run(
    path: str | os.PathLike[str],
    history: Mapping[str, Sequence[float]],
    images: np.ndarray,
    labels: Sequence[int],
    predictions: Sequence[int],
) -> None:
    """Write a PNG: loss and accuracy by epoch, training beside validation, and images under what was predicted.

    history: as in `History.history`, with "loss" and "accuracy" and their `val_` counterparts. images: `(n, height,
    width)`; labels, predictions: n each. A wrong prediction is red and says what was right. The file is written whole
    or not at all. Raises ModuleNotFoundError, naming the extra to install, without matplotlib.
    """
    save(run_figure(history, images, labels, predictions), path, dpi=110)


def run_figure(
    history: Mapping[str, Sequence[float]], images: np.ndarray, labels: Sequence[int], predictions: Sequence[int]
) -> Any:
    """The matplotlib figure that `draw_run` writes; arguments and errors as there."""
    matplotlib = require_matplotlib()
    rows = -(-len(images) // PER_ROW)
    strip = HEADING + ROW * rows if rows else 0.0
    figure = matplotlib.figure.Figure(figsize=(WIDTH, CURVES + strip), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    top, bottom = figure.subfigures(2, 1, height_ratios=[CURVES, strip]) if rows else (figure, None)
    for axis, name in zip(top.subplots(1, 2), ("loss", "accuracy"), strict=True):
        draw_curves(axis, history, name, "test")
    if bottom is not None:
        _draw_images(bottom, images, labels, predictions, rows)
    return figure


def _draw_images(figure: Any, images: np.ndarray, labels: Sequence[int], predictions: Sequence[int], rows: int) -> None:
    """The images in rows, each under its prediction."""
    figure.suptitle("what the model reads")
    axes = figure.subplots(rows, min(len(images), PER_ROW), squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for (image, digit, read), axis in zip(zip(images, labels, predictions, strict=True), axes, strict=False):
        title, color = (str(read), "black") if digit == read else (f"{read} (is {digit})", "tab:red")
        axis.imshow(image, cmap="gray_r")
        axis.set_title(title, color=color)
