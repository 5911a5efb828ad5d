"""A model as a drawing: boxes, arrows and frames around models in it, each at its place."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from ostinato.core.diagram import Row, index_of, name_of, rows
from ostinato.plots.boxes import BODY, HEADER, INK, Box, Shown, Text, box_of, measured, title
from ostinato.plots.canvas import wrapped
from ostinato.plots.layered import Edge, Point, arrange
from ostinato.recurrence.nests import flatten

FRAME = 0.16
"""Inches between a frame and what is in it."""

LABEL = 30
"""Characters in a line of a frame's label, at most."""

LOOP = 0.32
"""Inches that an arrow from a box to itself needs at its side."""


@dataclasses.dataclass
class Arrow:
    """A line through points, straight and bent in turn, with a head if it ends at a box."""

    source: str
    target: str
    points: list[Point]
    across: bool = False
    head: bool = True


@dataclasses.dataclass
class Frame:
    """A frame with a label in its upper left corner."""

    label: list[Text]
    corner: Point
    size: Point


@dataclasses.dataclass
class Drawing:
    """What is to be drawn, y downwards, in inches; and where arrows enter and leave it, along its sides."""

    size: Point
    boxes: list[tuple[Box, Point]] = dataclasses.field(default_factory=list)  # with its upper left corner
    arrows: list[Arrow] = dataclasses.field(default_factory=list)
    frames: list[Frame] = dataclasses.field(default_factory=list)
    entries: list[float] = dataclasses.field(default_factory=list)
    exits: list[float] = dataclasses.field(default_factory=list)

    def add(self, other: Drawing, at: Point) -> None:
        """Put another drawing into this one, its upper left corner there."""
        self.boxes += [(box, _moved(corner, at)) for box, corner in other.boxes]
        self.arrows += [dataclasses.replace(a, points=[_moved(p, at) for p in a.points]) for a in other.arrows]
        self.frames += [dataclasses.replace(f, corner=_moved(f.corner, at)) for f in other.frames]


class Direction(NamedTuple):
    """Which way arrows lead: across the page rather than down, and against the reading direction."""

    across: bool
    against: bool

    def turn(self, point: Point, size: Point) -> Point:
        """A point of a drawing whose arrows lead down, of this size, in one whose arrows lead this way."""
        x, y = point[0], size[1] - point[1] if self.against else point[1]
        return (y, x) if self.across else (x, y)


DIRECTIONS = {
    "TB": Direction(False, False),
    "BT": Direction(False, True),
    "LR": Direction(True, False),
    "RL": Direction(True, True),
}


class Draughtsman:
    """Draws models with the same options."""

    def __init__(self, matplotlib: Any, shown: Shown, direction: Direction, expand: bool) -> None:
        self.matplotlib, self.shown, self.direction, self.expand = matplotlib, shown, direction, expand

    def draw(self, model: Any) -> Drawing:
        """A model and all that is in it."""
        found = rows(model)
        if any(row.calls for row in found):
            return self._drawn(model, found, ports=False)
        return self._framed(model, self._column(found or [Row(model, [])]))

    def _part(self, row: Row) -> Drawing:
        """A row: a box, or if it is a model that is to be shown in full, a frame."""
        inside = rows(row.module) if self.expand and is_model(row.module) else []
        if not inside:
            box = box_of(self.matplotlib, row, self.shown)
            return Drawing(box.size, boxes=[(box, (0.0, 0.0))])
        if any(each.calls for each in inside):
            return self._framed(row.module, self._drawn(row.module, inside, ports=True))
        return self._framed(row.module, self._column(inside))

    def _column(self, found: list[Row]) -> Drawing:
        """Parts of which is not known what calls what, one after the other."""
        parts = [self._part(row) for row in found]
        across = self.direction.across
        thick = max(part.size[1 if across else 0] for part in parts)
        at, drawing = 0.0, Drawing((0.0, 0.0))
        for part in parts:
            length, aside = part.size[0 if across else 1], (thick - part.size[1 if across else 0]) / 2
            drawing.add(part, (at, aside) if across else (aside, at))
            at += length + FRAME
        drawing.size = (at - FRAME, thick) if across else (thick, at - FRAME)
        return drawing

    # -- a model of which is known what calls what --------------------------------------------------------------------

    def _drawn(self, model: Any, found: list[Row], ports: bool) -> Drawing:
        """Parts and arrows; with ports, lines lead from one side to where inputs go, and from outputs to the other."""
        plan = _plan(model, found, [self._part(row) for row in found], ports)
        sizes = [self._turned(part.size) for part in plan.parts]
        rooms = [(w + 2 * LOOP if number in plan.loops else w, h) for number, (w, h) in enumerate(sizes)]
        edges = [
            Edge(
                line.tail,
                line.head,
                _port(plan.parts[line.tail].exits, line.output, sizes[line.tail]) or 0.0,
                _port(plan.parts[line.head].entries, line.input, sizes[line.head]),
            )
            for line in plan.lines
        ]
        placed = arrange(rooms, edges, plan.first, plan.last)
        routes = list(zip(((line.tail, line.head) for line in plan.lines), placed.routes, strict=True))
        for number in plan.loops:
            (x, y), (w, h) = placed.middles[number], sizes[number]
            routes.append(((number, number), _loop(x + w / 2, y, min(0.3 * h, 0.16))))
        drawing = Drawing(self._turned(placed.size))
        for part, middle in zip(plan.parts, placed.middles, strict=True):
            x, y = self.direction.turn(middle, placed.size)
            drawing.add(part, (x - part.size[0] / 2, y - part.size[1] / 2))
        for (tail, head), route in routes:
            points = [self.direction.turn(point, placed.size) for point in route]
            ends = tail >= head or not plan.parts[head].entries  # else it goes on inside
            drawing.arrows.append(Arrow(plan.names[tail], plan.names[head], points, self.direction.across, ends))
        drawing.entries = [placed.middles[number][0] for number in plan.first]
        drawing.exits = [placed.middles[number][0] for number in plan.last]
        return drawing

    def _turned(self, size: Point) -> Point:
        return (size[1], size[0]) if self.direction.across else size

    # -- frames -------------------------------------------------------------------------------------------------------

    def _framed(self, model: Any, inside: Drawing) -> Drawing:
        """A drawing in a frame with the model's name, arrows led on to the frame."""
        known = bool(inside.entries)
        label = [Text(wrapped(title(model, names=True), LABEL), HEADER, INK, bold=True)]
        if not known:
            label.append(Text("subclassed: its code says what calls what", BODY))
        sizes = [measured(self.matplotlib, each) for each in label]
        width, height = max(w for w, _ in sizes), sum(h for _, h in sizes)
        across, against = self.direction
        ends = [] if across else inside.exits if against else inside.entries
        left = max(FRAME, (width - inside.size[0]) / 2 + FRAME)
        if ends:  # the label stands beside the lines that pass it
            left = max(FRAME, width + 2 * FRAME - min(ends))
        top = height + 1.5 * FRAME
        total = (left + max(inside.size[0], width + FRAME - left) + FRAME, top + inside.size[1] + FRAME)
        framed = Drawing(total, frames=[Frame(label, (0.0, 0.0), total)])
        framed.add(inside, (left, top))
        if not known:
            return framed
        moved = top if across else left
        framed.entries, framed.exits = (
            [each + moved for each in inside.entries],
            [each + moved for each in inside.exits],
        )
        near, far = (left, left + inside.size[0]) if across else (top, top + inside.size[1])
        length = total[0] if across else total[1]
        if against:
            near, far, begin, end = far, near, length, 0.0
        else:
            begin, end = 0.0, length
        name = name_of(model)
        for place, a, b in [(p, begin, near) for p in framed.entries] + [(p, far, end) for p in framed.exits]:
            points = [(a, place), (b, place)] if across else [(place, a), (place, b)]
            framed.arrows.append(Arrow(name, name, points, head=False))
        return framed


def is_model(module: Any) -> bool:
    """Whether a module is a model of ours, made of layers."""
    return hasattr(module, "layers") and hasattr(module, "_graph")


class _Line(NamedTuple):
    """From a part's output to another's input, all by their numbers."""

    tail: int
    output: int
    head: int
    input: int


class _Plan(NamedTuple):
    """What is to be arranged: parts with their names, lines between them, and which have an arrow to themselves.

    first, last: the numbers of those parts that are but points on the edge, where inputs enter and outputs leave.
    """

    parts: list[Drawing]
    names: list[str]
    lines: list[_Line]
    loops: set[int]
    first: range
    last: range


def _plan(model: Any, found: list[Row], parts: list[Drawing], ports: bool) -> _Plan:
    entries, exits = _ends(model) if ports else ([], [])
    first = range(len(entries))
    last = range(len(first) + len(parts), len(first) + len(parts) + len(exits))
    numbers = {row.module: number + len(first) for number, row in enumerate(found)}
    begin = numbers[found[0].module]
    lines = [_Line(n, 0, begin if symbol is None else numbers[symbol.node.call], 0) for n, symbol in enumerate(entries)]
    for row in found:
        for call in row.calls:
            for place, symbol in enumerate(call.inputs):
                if symbol.node is not None and symbol.node.call in numbers:
                    tail = numbers[symbol.node.call]
                    lines.append(_Line(tail, index_of(symbol), numbers[row.module], place))
    lines += [_Line(numbers[s.node.call], index_of(s), n, 0) for n, s in zip(last, exits, strict=True)]
    points = [Drawing((0.0, 0.0), entries=[0.0], exits=[0.0]) for _ in (*first, *last)]
    parts = points[: len(first)] + parts + points[len(first) :]
    names = [name_of(model)] * len(first) + [name_of(row.module) for row in found] + [name_of(model)] * len(last)
    # Arrows that would lie on each other are one: a box has no places of its own for outputs and inputs.
    distinct = {
        (
            line.tail,
            line.output * bool(parts[line.tail].exits),
            line.head,
            line.input * bool(parts[line.head].entries),
        ): line
        for line in lines
    }.values()
    loops = {line.tail for line in distinct if line.tail == line.head}
    return _Plan(parts, names, [line for line in distinct if line.tail != line.head], loops, first, last)


def _ends(model: Any) -> tuple[list[Any], list[Any]]:
    """The symbols of the inputs, None for a Sequential's, which is no row; and those of the outputs."""
    symbols = getattr(model, "_symbols", None)
    if symbols:
        return [None], [symbols[-1]]
    return flatten(model._graph.inputs), flatten(model._graph.outputs)


def _port(places: list[float], number: int, size: Point) -> float | None:
    """Where an arrow meets a part, from its middle; None for a box, which it may meet anywhere."""
    return places[min(number, len(places) - 1)] - size[0] / 2 if places else None


def _loop(x: float, y: float, half: float) -> list[Point]:
    """An arrow from the side of a box round to the same side, further up."""
    out = x + 0.6 * LOOP
    return [(x, y + half), *[(out, y + half)] * 2, *[(out, y - half)] * 2, (x, y - half)]


def _moved(point: Point, by: Point) -> Point:
    return (point[0] + by[0], point[1] + by[1])
