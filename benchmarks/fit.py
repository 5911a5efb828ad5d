"""`fit` of the guide's model against Keras's and plain PyTorch loops, by the step."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.host import Host
from benchmarks.peers import OURS
from benchmarks.race import Entry, Outcome, Rounds, race

REFERENCE = "ostinato, reference engine"
NO_FIT = ("flax",)


def compare(peers: list[str], hosts: Mapping[str, Host], rounds: Rounds, steps: int) -> Outcome:
    """An epoch of so many steps is one call. torch.nn and the plain loop train in a loop by hand, without metrics."""
    entries = {peer: Entry(peer, "fit", steps) for peer in peers if peer not in NO_FIT}
    if OURS in entries:
        entries[REFERENCE] = Entry(OURS, "fit_on_reference", steps)
    return race({"steps": steps}, entries, hosts, rounds)
