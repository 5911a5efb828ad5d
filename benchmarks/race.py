"""Several ways to do the same, timed in turn: medians, and ratios of times taken in the same round."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from benchmarks.host import Host
from benchmarks.peers import PEERS


class Entry(NamedTuple):
    """peer: whose process and module. job: the module's function. argument: what that is given."""

    peer: str
    job: str
    argument: Any


class Rounds(NamedTuple):
    """count: how many. seconds: how long each way runs in a round, at least once."""

    count: int
    seconds: float


@dataclass
class Outcome:
    """about: what was run. times: seconds by way and round. refused: reasons. notes: how the ways ran."""

    about: dict[str, Any]
    times: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def milliseconds(self, label: str) -> float:
        return 1e3 * statistics.median(self.times[label])

    def ratio(self, label: str, base: str) -> float:
        """How many times as long as `base` it takes."""
        return statistics.median(a / b for a, b in zip(self.times[label], self.times[base], strict=True))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def race(about: dict[str, Any], entries: Mapping[str, Entry], hosts: Mapping[str, Host], rounds: Rounds) -> Outcome:
    """Run all entries, in each round one after the other, another one first each time."""
    outcome, calls = Outcome(about), {}
    for name, host in hosts.items():
        mine = {label: entry for label, entry in entries.items() if PEERS[entry.peer].host == name}
        for label, found in host.ask("prepare", mine).items():
            if "refused" in found:
                outcome.refused[label] = found["refused"]
            else:
                calls[label] = min(500, max(1, round(rounds.seconds / found["seconds"])))
                outcome.notes[label] = found["note"]
    labels = [label for label in entries if label in calls]
    outcome.times = {label: [] for label in labels}
    for turn in range(rounds.count):
        start = turn % max(1, len(labels))
        for label in labels[start:] + labels[:start]:
            times = hosts[PEERS[entries[label].peer].host].ask("run", label, calls[label])
            outcome.times[label].append(statistics.median(times))
    return outcome
