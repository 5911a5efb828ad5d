"""Boxes and arrows in ranks, few arrows crossing: where each box stands and which way each arrow goes.

K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System Structures", 1981: ranks,
then an order in each rank, then positions. Ranks follow each other downwards, y grows downwards, lengths are in inches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

Point = tuple[float, float]

SWEEPS = 12
"""Passes over the ranks, down and up in turn, for the order and for the positions."""

BESIDE, LANE, BELOW, STUB = 0.3, 0.16, 0.46, 0.12
"""Inches between boxes of a rank; room of an arrow that passes a rank; between ranks; straight piece at a box."""


@dataclasses.dataclass(frozen=True)
class Edge:
    """An arrow from box `tail` to box `head`, by their numbers.

    start, end: where it leaves and arrives, as inches from the middle of the box; an end of None is found.
    """

    tail: int
    head: int
    start: float = 0.0
    end: float | None = None


class Placement(NamedTuple):
    """Middles of the boxes; for each arrow the points that it goes through; width and height of it all.

    Between points an arrow is straight and bent in turn: straight within a rank, bent from one to the next.
    """

    middles: list[Point]
    routes: list[list[Point]]
    size: Point


def arrange(
    sizes: Sequence[Point], edges: Sequence[Edge], first: Sequence[int] = (), last: Sequence[int] = ()
) -> Placement:
    """Place boxes of these (width, height) so that arrows lead downwards.

    edges: an arrow from a later box to an earlier one closes a circle, and leads upwards; there are none from a box to
    itself. first, last: boxes that stand above and below all others.

    >>> arrange([(1.0, 0.5), (1.0, 0.5)], [Edge(0, 1)]).middles
    [(0.5, 0.25), (0.5, 1.21)]
    """
    down = [edge if edge.tail < edge.head else Edge(edge.head, edge.tail, 0.3 * sizes[edge.head][0]) for edge in edges]
    ranks = _ranks(len(sizes), down, first, last)
    grid = _Grid(sizes, down, ranks)
    _order(grid)
    ends = _arrivals(grid, down)
    x = _positions(grid, down, ends)
    tops, bottoms = _bands(grid, x)
    left = min((x[v] - grid.widths[v] / 2 for v in range(len(x))), default=0.0)
    right = max((x[v] + grid.widths[v] / 2 for v in range(len(x))), default=0.0)
    x = [each - left for each in x]
    middles = [(x[v], (tops[ranks[v]] + bottoms[ranks[v]]) / 2) for v in range(len(sizes))]
    routes = []
    for number, (edge, chain) in enumerate(zip(down, grid.chains, strict=True)):
        (a, above), (b, below) = middles[edge.tail], middles[edge.head]
        start, end = a + edge.start, b + ends[number]
        points = [(start, above + sizes[edge.tail][1] / 2), (start, bottoms[ranks[edge.tail]] + STUB / 2)]
        for lane in chain[1:-1]:
            points += [(x[lane], tops[grid.ranks[lane]]), (x[lane], bottoms[grid.ranks[lane]])]
        points += [(end, tops[ranks[edge.head]] - STUB), (end, below - sizes[edge.head][1] / 2)]
        routes.append(points if edges[number].tail < edges[number].head else points[::-1])
    return Placement(middles, routes, (right - left, bottoms[-1] if bottoms else 0.0))


# -- ranks ------------------------------------------------------------------------------------------------------------


def _ranks(count: int, edges: Sequence[Edge], first: Sequence[int], last: Sequence[int]) -> list[int]:
    """Each box below all those that lead to it, and no farther from its neighbours than need be."""
    into: list[list[int]] = [[] for _ in range(count)]
    out: list[list[int]] = [[] for _ in range(count)]
    for edge in edges:
        into[edge.head].append(edge.tail)
        out[edge.tail].append(edge.head)
    fixed = {*first, *last}
    ranks = [0] * count
    for v in range(count):
        ranks[v] = max((ranks[u] + 1 for u in into[v]), default=0 if v in fixed or not first else 1)
    for v in last:
        ranks[v] = max((rank + 1 for u, rank in enumerate(ranks) if u not in last), default=0)
    for v in reversed(range(count)):
        if v not in fixed and out[v] and len(into[v]) <= len(out[v]):
            ranks[v] = min(ranks[u] for u in out[v]) - 1
    for v in range(count):
        if v not in fixed and into[v] and len(into[v]) >= len(out[v]):
            ranks[v] = max(ranks[u] for u in into[v]) + 1
    used = {rank: number for number, rank in enumerate(sorted(set(ranks)))}
    return [used[rank] for rank in ranks]


class _Grid:
    """Boxes, and the lanes of arrows that pass ranks, rank by rank, in an order that changes."""

    def __init__(self, sizes: Sequence[Point], edges: Sequence[Edge], ranks: Sequence[int]) -> None:
        self.boxes = len(sizes)
        self.widths, self.heights = [w for w, _ in sizes], [h for _, h in sizes]
        self.ranks = list(ranks)
        self.chains: list[list[int]] = []
        for edge in edges:
            lanes = []
            for rank in range(ranks[edge.tail] + 1, ranks[edge.head]):
                lanes.append(len(self.ranks))
                self.ranks.append(rank)
                self.widths.append(LANE)
                self.heights.append(0.0)
            self.chains.append([edge.tail, *lanes, edge.head])
        self.above: list[list[int]] = [[] for _ in self.ranks]
        self.below: list[list[int]] = [[] for _ in self.ranks]
        for chain in self.chains:
            for a, b in pairwise(chain):
                self.below[a].append(b)
                self.above[b].append(a)
        self.rows: list[list[int]] = [[] for _ in range(max(self.ranks, default=-1) + 1)]
        for v in self._as_met():
            self.rows[self.ranks[v]].append(v)

    def _as_met(self) -> list[int]:
        """All, as a walk along the arrows meets them: what belongs together begins together."""
        met: dict[int, None] = {}
        for start in range(len(self.ranks)):
            stack = [start] if start < self.boxes else []
            while stack:
                v = stack.pop()
                if v not in met:
                    met[v] = None
                    stack.extend(reversed(self.below[v]))
        return list(met)

    def places(self) -> list[int]:
        """The place of each in its rank."""
        places = [0] * len(self.ranks)
        for row in self.rows:
            for place, v in enumerate(row):
                places[v] = place
        return places


# -- the order in each rank -------------------------------------------------------------------------------------------


def _order(grid: _Grid) -> None:
    """Sort each rank by where its neighbours stand, down and up, and keep the order with the fewest crossings."""
    best, fewest = [list(row) for row in grid.rows], crossings(grid)
    for sweep in range(SWEEPS):
        if fewest == 0:
            break
        downwards = sweep % 2 == 0
        neighbours = grid.above if downwards else grid.below
        places = grid.places()
        for row in grid.rows if downwards else reversed(grid.rows):
            row.sort(key=_mean_place(neighbours, places))
            for place, v in enumerate(row):
                places[v] = place
        _swap_neighbours(grid)
        count = crossings(grid)
        if count < fewest:
            best, fewest = [list(row) for row in grid.rows], count
    grid.rows = best


def _mean_place(neighbours: list[list[int]], places: list[int]) -> Callable[[int], float]:
    def key(v: int) -> float:
        around = neighbours[v]
        return sum(places[u] for u in around) / len(around) if around else places[v]

    return key


def _swap_neighbours(grid: _Grid) -> None:
    """Swap two that stand side by side where fewer arrows cross then."""
    places = grid.places()
    for row in grid.rows:
        for i in range(len(row) - 1):
            a, b = row[i], row[i + 1]
            now = swapped = 0
            for around in (grid.above, grid.below):
                for u in around[a]:
                    for w in around[b]:
                        now += places[u] > places[w]
                        swapped += places[u] < places[w]
            if swapped < now:
                row[i], row[i + 1] = b, a
                places[a], places[b] = i + 1, i


def crossings(grid: _Grid) -> int:
    """How many pairs of arrows cross."""
    places = grid.places()
    count = 0
    for row in grid.rows:
        pairs = [(places[v], places[u]) for v in row for u in grid.below[v]]
        count += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(pairs, 2))
    return count


# -- positions --------------------------------------------------------------------------------------------------------


def _arrivals(grid: _Grid, edges: Sequence[Edge]) -> list[float]:
    """Where each arrow arrives, from the middle of its box: several side by side, in the order they come from.

    If only one of them comes from a box right above, it arrives in the middle: the main way is straight.
    """
    places = grid.places()
    ends = [edge.end or 0.0 for edge in edges]
    for v in range(grid.boxes):
        free = [n for n, edge in enumerate(edges) if edge.head == v and edge.end is None]
        free.sort(key=lambda n: (places[grid.chains[n][-2]], edges[n].start))
        near = [place for place, n in enumerate(free) if len(grid.chains[n]) == 2]
        middle = near[0] if len(near) == 1 else (len(free) - 1) / 2
        step = min(0.25, 0.4 * grid.widths[v] / max(1.0, middle, len(free) - 1 - middle))
        for place, n in enumerate(free):
            ends[n] = (place - middle) * step
    return ends


def _positions(grid: _Grid, edges: Sequence[Edge], ends: list[float]) -> list[float]:
    """Each one's x: near to its neighbours, in the rank's order and without overlap."""
    pulls: tuple[list[list[tuple[int, float]]], ...] = ([[] for _ in grid.ranks], [[] for _ in grid.ranks])
    for edge, end, chain in zip(edges, ends, grid.chains, strict=True):
        for a, b in pairwise(chain):
            shift = (edge.start if a == chain[0] else 0.0) - (end if b == chain[-1] else 0.0)
            pulls[0][b].append((a, shift))
            pulls[1][a].append((b, -shift))
    x = [0.0] * len(grid.ranks)
    for row in grid.rows:
        _place(row, grid, x, [0.0] * len(row))
    best, least = list(x), float("inf")
    for sweep in range(SWEEPS + 1):
        downwards = sweep % 2 == 0
        for row in grid.rows if downwards else reversed(grid.rows):
            around = pulls[0] if downwards else pulls[1]
            _place(row, grid, x, [_pulled(v, around[v], grid, x) for v in row])
        bend = sum(_weight(u, v, grid) * abs(x[u] + shift - x[v]) for v in range(len(x)) for u, shift in pulls[0][v])
        if bend < least - 1e-9:
            best, least = list(x), bend
    return best


def _pulled(v: int, around: list[tuple[int, float]], grid: _Grid, x: list[float]) -> float:
    """Where the neighbours want it: in their mean; where it is, if there are none."""
    if not around:
        return x[v]
    weights = [_weight(u, v, grid) for u, _ in around]
    return sum((x[u] + shift) * weight for (u, shift), weight in zip(around, weights, strict=True)) / sum(weights)


def _weight(u: int, v: int, grid: _Grid) -> float:
    """How much it matters that the way between two is straight: between boxes more than where there is a lane."""
    return 8.0 if u < grid.boxes and v < grid.boxes else 1.0


def _place(row: list[int], grid: _Grid, x: list[float], wanted: list[float]) -> None:
    """Set x in a rank as near as can be to what is wanted, in least squares: pool adjacent violators."""
    offsets = [0.0]
    for a, b in pairwise(row):
        boxes = (a < grid.boxes) + (b < grid.boxes)
        gap = BESIDE if boxes == 2 else BESIDE / 2 if boxes else 0.0
        offsets.append(offsets[-1] + (grid.widths[a] + grid.widths[b]) / 2 + gap)
    pools: list[list[float]] = []  # (mean, weight, how many)
    for v, want, offset in zip(row, wanted, offsets, strict=True):
        pools.append([want - offset, 1.0 if v < grid.boxes else 0.05, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, weight, count = pools.pop()
            before = pools[-1]
            before[0] = (before[0] * before[1] + mean * weight) / (before[1] + weight)
            before[1] += weight
            before[2] += count
    means = [mean for mean, _, count in pools for _ in range(int(count))]
    for v, mean, offset in zip(row, means, offsets, strict=True):
        x[v] = mean + offset


def _bands(grid: _Grid, x: list[float]) -> tuple[list[float], list[float]]:
    """Top and bottom of each rank; farther apart where arrows between them go far to the side."""
    tops: list[float] = []
    bottoms: list[float] = []
    y = 0.0
    for row in grid.rows:
        if bottoms:
            aside = max((abs(x[v] - x[u]) for v in row for u in grid.above[v]), default=0.0)
            y += BELOW + min(0.6, 0.08 * aside)
        tops.append(y)
        y += max(grid.heights[v] for v in row)
        bottoms.append(y)
    return tops, bottoms
