"""What stands in the box of a layer, and how large the box is."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, NamedTuple

from ostinato.core.diagram import Row, input_shape, is_unbuilt, name_of, output_dtype, output_shape
from ostinato.core.layer import Layer
from ostinato.core.symbolic import Operation
from ostinato.core.tracking import Weights
from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.input import InputLayer
from ostinato.layers.rnn import RNN
from ostinato.plots.canvas import wrapped

HEADER, BODY = 11.0, 9.5
"""Points: size of the letters."""

PADDING = 0.09
"""Inches between text and the edge of its box."""

LONGEST = 44
"""Characters in a line, at most."""

INK, GREEN, RED = "#24292f", "#1a7f37", "#b42318"


_HARD = "\N{NO-BREAK SPACE}"


class Text(NamedTuple):
    """Lines of text and how they are written."""

    text: str
    points: float
    color: str = INK
    bold: bool = False


@dataclasses.dataclass(frozen=True)
class Shown:
    """What is said of each layer, by `plot_model`'s arguments."""

    shapes: bool = False
    dtype: bool = False
    names: bool = False
    activations: bool = False
    trainable: bool = False


class Box(NamedTuple):
    """A header in colour and what stands below it; sizes in inches."""

    name: str
    header: Text
    body: list[Text]
    color: str
    header_height: float
    size: tuple[float, float]


def box_of(matplotlib: Any, row: Row, shown: Shown) -> Box:
    """The box of a row of a model."""
    module = row.module
    header = Text(wrapped(title(module, shown.names), LONGEST), HEADER, "white", bold=True)
    body = [Text(wrapped(text, LONGEST).replace(_HARD, " "), BODY, color) for text, color in _said(row, shown)]
    sizes = [measured(matplotlib, each) for each in (header, *body)]
    width = max(w for w, _ in sizes) + 2.4 * PADDING
    top = sizes[0][1] + 1.6 * PADDING
    below = sum(h + 0.6 * PADDING for _, h in sizes[1:]) + PADDING if body else 0.0
    return Box(name_of(module), header, body, _color(module), top, (max(width, 0.9), top + below))


def title(module: Any, names: bool) -> str:
    """The class, behind the name if asked for; of a torch function its name.

    >>> import torch
    >>> title(torch.nn.Linear(2, 2), names=True), title(torch.nn.Linear(2, 2), names=False)
    ('linear (Linear)', 'Linear')
    """
    if isinstance(module, Operation):
        return f"torch.{module.name}"
    kind = type(module).__name__
    return f"{name_of(module)} ({kind})" if names else kind


def measured(matplotlib: Any, text: Text) -> tuple[float, float]:
    """Width and height of text, in inches."""
    weight = "bold" if text.bold else "normal"
    font = matplotlib.font_manager.FontProperties(size=text.points, weight=weight)
    lines = text.text.split("\n")
    widths = [matplotlib.textpath.text_to_path.get_text_width_height_descent(x, font, False)[0] for x in lines]
    return max(widths) / 72, len(lines) * text.points * 1.25 / 72


def _said(row: Row, shown: Shown) -> list[tuple[str, str]]:
    """The lines below the header, each with its colour."""
    module, lines = row.module, []
    activation = getattr(module, "activation", None)
    if shown.activations and activation is not None:
        name = getattr(activation, "__name__", None) or getattr(activation, "name", None) or type(activation).__name__
        lines.append((f"activation: {name}", INK))
    if shown.shapes and not isinstance(module, InputLayer):
        lines.append((_unbroken(f"input: {input_shape(row)}"), INK))
    if shown.shapes:
        lines.append((_unbroken(f"output: {output_shape(row)}"), INK))
    if shown.dtype:
        lines.append((f"dtype: {output_dtype(row)}", INK))
    if shown.trainable:
        lines.extend(_weights(module))
    return lines


def _unbroken(shapes: str) -> str:
    """Shapes with spaces at which no line is broken, but for those between two shapes."""
    return re.sub(r"(?<!\),) ", _HARD, shapes)


def _weights(module: Any) -> list[tuple[str, str]]:
    if is_unbuilt(module):
        return [("unbuilt: no weights yet", INK)]
    weights = Weights(module)
    total, free = (sum(w.numel() for w in each) for each in (weights.all, weights.trainable))
    if not weights.all:
        return []
    if not (module.trainable if isinstance(module, Layer) else free):
        return [(f"Non-trainable: {total:,} parameters", RED)]
    return [
        (f"Trainable: {free:,} of {total:,} parameters" if free < total else f"Trainable: {total:,} parameters", GREEN)
    ]


def _color(module: Any) -> str:
    """Of the header: inputs, recurrent layers, other layers, models, torch's modules and its functions differ."""
    if isinstance(module, InputLayer):
        return "#57606a"
    if isinstance(module, (RNN, Bidirectional)):
        return "#1f5fa8"
    if isinstance(module, Operation):
        return "#8a6116"
    if not isinstance(module, Layer):
        return "#a04a1f"
    return "#6a4a9c" if hasattr(module, "layers") else "#20705c"
