"""What the numbers are of: the processor, its threads, the versions."""

from __future__ import annotations

import platform
from typing import Any

from benchmarks.host import Host
from benchmarks.peers import PEERS
from ostinato.engines import library

DISTRIBUTIONS = ["ostinato", "torch", "keras", "jax", "jaxlib", "flax", "tensorflow", "tensorflow-cpu"]


def processor() -> str:
    """Its name, as Linux has it."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except FileNotFoundError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def native() -> str:
    """The native library's instruction set, or why there is none."""
    loaded = library.load()
    return f"native engine for {loaded.isa}" if loaded else f"no native engine: {library.absent()}"


def describe(threads: int, hosts: dict[str, Host], left_out: dict[str, list[str]]) -> dict[str, Any]:
    """For the report."""
    return {
        "processor": processor(),
        "system": platform.system(),
        "python": platform.python_version(),
        "threads": threads,
        "native": native(),
        "versions": next(iter(hosts.values())).ask("versions", DISTRIBUTIONS),
        "left out": {peer: needs for peer, needs in left_out.items() if peer in PEERS},
    }
