"""Layers against those of other libraries, and against themselves without masks and dropout."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.host import Host
from benchmarks.peers import OURS, PEAKS
from benchmarks.race import Entry, Outcome, Rounds, race
from benchmarks.tasks import VARIANTS, Size, Task

UNMASKED = "ostinato, whole"
"""Our layer with neither mask nor dropout, beside a race with them."""


def races(
    sizes: Mapping[str, Size], cells: list[str], works: list[str], variants: list[str]
) -> Iterator[tuple[dict[str, Any], Task]]:
    """What is run, in order: all variants of a task after one another."""
    for (name, size), cell, work in itertools.product(sizes.items(), cells, works):
        for variant in variants:
            if variant == "recurrent dropout" and work != "training":
                continue  # in inference there is no dropout
            about = {"cell": cell, "size": name, "sizes": str(size), "work": work, "variant": variant}
            yield about, Task(cell, size, work, **VARIANTS[variant])


def compare(about: dict[str, Any], task: Task, peers: list[str], hosts: Mapping[str, Host], rounds: Rounds) -> Outcome:
    """The peers' layers, and what the machine reaches."""
    entries = {peer: Entry(peer, "layer", task) for peer in peers}
    if about["variant"] != "whole":
        entries[UNMASKED] = Entry(OURS, "layer", Task(task.cell, task.size, task.work))
    else:
        entries |= {peak: Entry(peak, peak.lower(), None) for peak in PEAKS}
    return race({**about, "gflop": task.gflop}, entries, hosts, rounds)
