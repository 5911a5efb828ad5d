"""`plot_model`: a model as a picture of boxes and arrows."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

from ostinato.core.registry import nearest
from ostinato.plots.boxes import PADDING, Box, Shown, Text
from ostinato.plots.canvas import require_matplotlib, save
from ostinato.plots.graph import DIRECTIONS, Arrow, Draughtsman, Drawing, Frame, is_model
from ostinato.plots.layered import Point

MARGIN = 0.2
"""Inches around the drawing."""

MOST_PIXELS = 65_000
"""Of a picture's side: what image viewers still take."""


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] | None = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: float = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> Any:
    """Draw a model: a box for each layer, torch module and torch function, an arrow for what each is called on.

    A layer that is called several times has one box with several arrows. Of a subclassed model, whose code says what
    calls what, the layers are listed in a frame. Needs neither pydot nor Graphviz, which Keras asks for.

    model: a `Model` or a `Sequential` that is built. to_file: of the picture, its format by the ending: .png (also
    without an ending), .pdf, .svg; None writes no file. show_shapes, show_dtype: of what goes in and comes out, None
    for the unknown. show_layer_names: beside the classes. rankdir: "TB" from top to bottom, "LR" from left to right,
    or "BT", "RL". expand_nested: models in the model in full, in frames. dpi: pixels per inch.
    show_layer_activations: of layers that have one. show_trainable: whether weights are trained, and how many there
    are.

    Returns the matplotlib Figure. Raises ValueError for a model that is not built, an unknown rankdir or file format,
    and a picture that would be too large; TypeError for what is no model; ModuleNotFoundError, naming the extra to
    install, without matplotlib. Source: keras/src/utils/model_visualization.py.

    >>> import ostinato
    >>> x = ostinato.Input((None, 8), name="words")
    >>> model = ostinato.Model(x, ostinato.layers.Dense(2)(ostinato.layers.LSTM(4)(x)))
    >>> figure = plot_model(model, to_file=None, show_shapes=True)
    >>> [text.get_text() for text in figure.axes[0].texts][:3]
    ['InputLayer', 'output: (None, None, 8)', 'LSTM']
    """
    matplotlib = require_matplotlib()
    _check(model, rankdir)
    kind = _format_of(to_file)
    shown = Shown(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    drawing = Draughtsman(matplotlib, shown, DIRECTIONS[rankdir], expand_nested).draw(model)
    figure = _figure(matplotlib, drawing)
    if to_file is not None:
        longest = max(figure.get_size_inches()) * dpi
        if kind == "png" and longest > MOST_PIXELS:
            most = int(dpi * MOST_PIXELS / longest)
            raise ValueError(
                f"plot_model: the picture would be {longest:,.0f} pixels long; pass dpi={most} or less, or a to_file "
                f"that ends in .pdf or .svg."
            )
        save(figure, to_file, dpi, kind)
    return figure


def _check(model: Any, rankdir: str) -> None:
    if not is_model(model):
        raise TypeError(f"plot_model: expected a Model or a Sequential, got {type(model).__name__}.")
    if not model.built:
        raise ValueError(f"plot_model: {model.described} is not built: call it on data, or build(input_shape), first.")
    if rankdir not in DIRECTIONS:
        known = ", ".join(map(repr, DIRECTIONS))
        raise ValueError(f"plot_model: rankdir must be one of {known}, got {rankdir!r}.")


def _format_of(to_file: str | os.PathLike[str] | None) -> str:
    ending = "" if to_file is None else os.path.splitext(os.fspath(to_file))[1]
    kind = ending[1:].lower() or "png"
    known = ("png", "pdf", "svg", "jpg", "jpeg", "webp", "eps", "ps", "tif", "tiff")
    if kind not in known:
        raise ValueError(
            f"plot_model: no picture can be written as {ending!r}.{nearest(kind, known)} Use .png or .svg."
        )
    return kind


def _figure(matplotlib: Any, drawing: Drawing) -> Any:
    """The drawing on a figure of its size; a unit of its axis is an inch."""
    width, height = (side + 2 * MARGIN for side in drawing.size)
    figure = matplotlib.figure.Figure(figsize=(width, height))
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axis.set_axis_off()
    axis.set(xlim=(-MARGIN, width - MARGIN), ylim=(height - MARGIN, -MARGIN))
    for frame in drawing.frames:
        _draw_frame(matplotlib, axis, frame)
    for arrow in drawing.arrows:
        _draw_arrow(matplotlib, axis, arrow)
    for box, corner in drawing.boxes:
        _draw_box(matplotlib, axis, box, corner)
    return figure


def _draw_frame(matplotlib: Any, axis: Any, frame: Frame) -> None:
    style = {"facecolor": "#f6f8fa", "edgecolor": "#8c959f", "linewidth": 1.0, "linestyle": (0, (5, 3))}
    patch = matplotlib.patches.FancyBboxPatch(frame.corner, *frame.size, **_rounded(0.06), **style)
    axis.add_patch(patch)
    x, y = frame.corner
    for text in frame.label:
        y = _write(axis, text, x + 0.1, y + 0.08, "left") - 0.08


def _draw_arrow(matplotlib: Any, axis: Any, arrow: Arrow) -> None:
    patch = matplotlib.patches.FancyArrowPatch(
        path=_path(matplotlib, arrow.points, arrow.across),
        arrowstyle="-|>" if arrow.head else "-",
        mutation_scale=11,
        shrinkA=0,
        shrinkB=0,
        color="#57606a",
        linewidth=1.2,
        capstyle="butt",
        joinstyle="round",
    )
    patch.set_snap(False)  # or straight lines would stand a pixel beside the bent ones that they go on from
    patch.set_gid(f"{arrow.source}->{arrow.target}")
    axis.add_patch(patch)


def _path(matplotlib: Any, points: list[Point], across: bool) -> Any:
    """Straight and bent in turn; a bend leaves and arrives in the direction of the straight parts."""
    path = matplotlib.path.Path
    vertices, codes = [points[0]], [path.MOVETO]
    for number, (a, b) in enumerate(pairwise(points)):
        if number % 2 == 0:
            vertices.append(b)
            codes.append(path.LINETO)
        elif a != b:
            x, y = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
            vertices += [(x, a[1]), (x, b[1]), b] if across else [(a[0], y), (b[0], y), b]
            codes += [path.CURVE4] * 3
    return path(vertices, codes)


def _draw_box(matplotlib: Any, axis: Any, box: Box, corner: Point) -> None:
    (x, y), (width, height) = corner, box.size
    style = {"facecolor": "white", "edgecolor": box.color, "linewidth": 1.2}
    outline = matplotlib.patches.FancyBboxPatch(corner, width, height, **_rounded(0.05), **style)
    outline.set_gid(box.name)
    axis.add_patch(outline)
    header = matplotlib.patches.Rectangle(corner, width, box.header_height, facecolor=box.color, edgecolor="none")
    axis.add_patch(header)
    header.set_clip_path(outline)
    _write(axis, box.header, x + width / 2, y + 0.8 * PADDING, "center")
    y += box.header_height + 0.5 * PADDING
    for text in box.body:
        y = _write(axis, text, x + 1.2 * PADDING, y + 0.3 * PADDING, "left") + 0.3 * PADDING


def _rounded(radius: float) -> dict[str, Any]:
    return {"boxstyle": f"round,pad=0,rounding_size={radius}"}


def _write(axis: Any, text: Text, x: float, y: float, align: str) -> float:
    """Write lines below y; returns where the next may begin."""
    lines = text.text.count("\n") + 1
    height = lines * text.points * 1.25 / 72
    axis.text(
        x,
        y + height / 2,
        text.text,
        fontsize=text.points,
        fontweight="bold" if text.bold else "normal",
        color=text.color,
        ha=align,
        va="center",
        linespacing=1.05,
        parse_math=False,
    )
    return y + height
