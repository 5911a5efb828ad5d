"""Memory of a training step, each measured in a process of its own."""

from __future__ import annotations

from typing import Any

from benchmarks.host import hosts
from benchmarks.peers import PEERS
from benchmarks.tasks import Size, Task

WITH_EAGER_MEMORY = ("ostinato", "torch.nn", "plain loop", "Keras-torch")
"""Others compile first, in the same process, so that the peak is the compiler's."""


def peaks(cell: str, name: str, size: Size, peers: list[str], threads: int) -> dict[str, Any]:
    """Megabytes at the peak of forward and backward above what the layer, its inputs and outputs' gradient take."""
    found, notes = {}, {}
    for peer in peers:
        if peer in WITH_EAGER_MEMORY:
            with hosts([peer], threads) as started:
                reply = started[PEERS[peer].host].ask("peak", peer, "layer", Task(cell, size, "training"))
            found[peer], notes[peer] = reply["megabytes"], reply["note"]
    return {"about": {"cell": cell, "size": name, "sizes": str(size)}, "megabytes": found, "notes": notes}
