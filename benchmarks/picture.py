"""The picture: how many times as long as ours the other libraries' layers take, at each size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.peers import LIBRARIES, OURS
from benchmarks.race import Outcome
from benchmarks.report import others
from benchmarks.results import Results
from benchmarks.tasks import GATES, WORKS
from ostinato.plots.canvas import require_matplotlib, save

COLORS = ["", "#d62728", "#8c564b", "#1f77b4", "#ff7f0e", "#9467bd", "#2ca02c"]
"""One for each library but ours."""


def draw(results: Results, name: str = "layers.png") -> None:
    """A panel for each cell and work, into the folder of the results."""
    outcomes = [o for o in results.outcomes("layers") if o.about["variant"] == "whole" and OURS in o.times]
    machine = results.machine("layers")
    if not outcomes or machine is None:
        return
    matplotlib = require_matplotlib()
    figure = matplotlib.figure.Figure(figsize=(13, 7), layout="constrained")
    cells = [cell for cell in GATES if any(o.about["cell"] == cell for o in outcomes)]
    works = [work for work in WORKS if any(o.about["work"] == work for o in outcomes)]
    panels = figure.subplots(len(works), len(cells), squeeze=False, sharey="row")
    for row, work in zip(panels, works, strict=True):
        for panel, cell in zip(row, cells, strict=True):
            mine = [o for o in outcomes if o.about["cell"] == cell and o.about["work"] == work]
            draw_panel(panel, f"{cell}, {work}", mine, others(outcomes), matplotlib.ticker)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(
        f"As many times as long as ostinato takes (above 1: ostinato is faster)\n"
        f"{machine['processor']}, {machine['threads']} threads, float32; medians of ratios within a round",
        fontsize=11,
    )
    figure.supylabel("time / ostinato's time")
    save(figure, results.folder / name, dpi=110)


def draw_panel(panel: Any, title: str, outcomes: Sequence[Outcome], peers: Sequence[str], ticker: Any) -> None:
    width = 0.8 / max(1, len(peers))
    for place, peer in enumerate(peers):
        ran = [(at, o.ratio(peer, OURS)) for at, o in enumerate(outcomes) if peer in o.times]
        panel.bar(
            [at + (place - (len(peers) - 1) / 2) * width for at, _ in ran],
            [ratio - 1 for _, ratio in ran],
            width,
            bottom=1,
            label=peer,
            color=COLORS[LIBRARIES.index(peer)],
        )
    panel.set_yscale("log", base=2)
    panel.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}x"))
    panel.axhline(1, color="black", linewidth=1)
    panel.set_title(title, fontsize=10)
    panel.set_xticks(range(len(outcomes)), [o.about["size"] for o in outcomes])
    panel.grid(axis="y", alpha=0.3)
    panel.set_axisbelow(True)
