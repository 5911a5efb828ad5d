"""A process that builds and runs what is timed: requests come in and replies go out as lines of JSON.

`python -m benchmarks.serve` is started by `Host`. A request names what to do and what with; see the functions below.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from benchmarks.peers import PEERS, Prepared, Unsupported
from benchmarks.tasks import Size, task_of

WARMING = 3
"""Calls before the first that is timed: libraries compile, and settle on algorithms."""

_prepared: dict[str, Prepared] = {}


def build(peer: str, job: str, argument: Any) -> Prepared:
    """What `job` of the peer's module makes of the argument: the fields of a task, a number of steps, or nothing."""
    function = getattr(importlib.import_module(f"benchmarks.peers.{PEERS[peer].module}"), job)
    if argument is None:
        return function()
    return function(task_of(argument) if isinstance(argument, list) else argument)


def prepare(entries: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """Build the entries in place of those before; how many seconds a call of each takes, or why there is none."""
    _prepared.clear()
    found: dict[str, dict[str, Any]] = {}
    for label, entry in entries.items():
        try:
            _prepared[label] = build(*entry)
        except Unsupported as reason:
            found[label] = {"refused": str(reason)}
            continue
        seconds = min(run(label, WARMING)) * _prepared[label].amount
        found[label] = {"seconds": seconds, "note": _prepared[label].note}
    return found


def run(label: str, calls: int) -> list[float]:
    """Seconds of so many calls, by the amount of each; one more comes before them, to wake the threads."""
    call, amount, _ = _prepared[label]
    call()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) / amount)
    return times


def peak(peer: str, job: str, argument: list[Any]) -> dict[str, Any]:
    """Megabytes that three calls need at most, above what is there when the layer, its inputs and gradients are.

    The libraries are loaded and warm by then: a tiny task of the same kind has run.
    """
    task = task_of(argument)
    try:
        build(peer, job, list(task._replace(size=Size(2, 3, 4, 5)))).call()
        prepared = build(peer, job, argument)
    except Unsupported as reason:
        return {"refused": str(reason)}
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak so far is forgotten
    before = memory("VmRSS")
    for _ in range(3):
        prepared.call()
    return {"megabytes": memory("VmHWM") - before, "note": prepared.note}


def memory(field: str) -> float:
    """Megabytes, as Linux counts them for this process."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{field}:")) / 1024


def versions(names: list[str]) -> dict[str, str]:
    """Of the installed among these distributions."""
    known = {each.metadata["Name"].lower().replace("_", "-") for each in metadata.distributions()}
    return {name: metadata.version(name) for name in names if name in known}


COMMANDS: dict[str, Callable[..., Any]] = {"prepare": prepare, "run": run, "peak": peak, "versions": versions}


def main() -> None:
    # What libraries print goes to stderr; replies have stdout for themselves.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(COMMANDS[command](*arguments)), file=replies, flush=True)


if __name__ == "__main__":
    main()
