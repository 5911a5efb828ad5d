"""`python -m benchmarks`: ours and other libraries, side by side in one run, as tables and a picture.

Each measurement is of interleaved rounds; what is said are medians, and medians of ratios within a round. Libraries
live in processes of their own, with as many processors each, and are asked in turn. `make bench` runs all.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import fit, layers, memory, overhead
from benchmarks.host import hosts
from benchmarks.machine import describe
from benchmarks.peers import LIBRARIES, OURS, PEAKS, missing
from benchmarks.picture import draw
from benchmarks.race import Outcome, Rounds
from benchmarks.report import report, times
from benchmarks.results import KINDS, Results
from benchmarks.tasks import GATES, SIZES, TINY, VARIANTS, WORKS, Size


def size(text: str) -> tuple[str, Size]:
    """A size by its name, or by its numbers."""
    if text in SIZES:
        return text, SIZES[text]
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdecimal() and int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(SIZES)}, nor batch,time,features,units")
    return text, Size(*map(int, numbers))


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    processors = len(os.sched_getaffinity(0))
    add("what", nargs="*", metavar="WHAT", help=f"{', '.join(KINDS)}; or report, to write it anew (all)")
    add(
        "--out", type=Path, default=Path("benchmarks/results"), help="the folder of report.md, layers.png (%(default)s)"
    )
    add("--sizes", nargs="+", type=size, help=f"of {', '.join(SIZES)}, or batch,time,features,units (all)")
    add("--cells", nargs="+", choices=GATES, default=list(GATES))
    add("--works", nargs="+", choices=WORKS, default=list(WORKS))
    add("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    add("--peers", nargs="+", choices=LIBRARIES, default=list(LIBRARIES), help="ostinato always runs")
    add("--rounds", type=int, default=9, help="(%(default)s)")
    add("--seconds", type=float, default=0.1, help="of each library in a round, at least one call (%(default)s)")
    add("--steps", type=int, default=60, help="of fit in a call (%(default)s)")
    add("--threads", type=int, default=processors, help="of each library (%(default)s, all there are)")
    add("--small", action="store_true", help="a tiny size, one round: to see that all runs")
    chosen = parser.parse_args(given)
    unknown = sorted(set(chosen.what) - {*KINDS, "report"})
    if unknown:
        parser.error(f"WHAT is of {', '.join(KINDS)} and report, not {', '.join(unknown)}")
    if not 1 <= chosen.threads <= processors:
        parser.error(f"--threads must be from 1 to {processors}, the processors there are; got {chosen.threads}")
    if chosen.rounds < 1 or chosen.steps < 1 or chosen.seconds <= 0:
        parser.error("--rounds, --steps and --seconds must be positive")
    chosen.sizes = dict(chosen.sizes or SIZES)
    if chosen.small:
        chosen.sizes, chosen.rounds, chosen.seconds, chosen.steps = TINY, 1, 0.001, 2
    chosen.command = shlex.join(["python", "-m", "benchmarks", *(sys.argv[1:] if given is None else given)])
    return chosen


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and write what was found."""
    chosen, console = arguments_of(given), Console(highlight=False, soft_wrap=True)
    results = Results(chosen.out)
    kinds = [kind for kind in KINDS if kind in chosen.what or not chosen.what]
    if kinds:
        measure(kinds, chosen, results, console)
    (chosen.out / "report.md").write_text(report(results))
    draw(results)
    console.print(f"{chosen.out}: report.md, layers.png")


def measure(kinds: Sequence[str], chosen: argparse.Namespace, results: Results, console: Console) -> None:
    left_out = {peer: needs for peer in chosen.peers if (needs := missing(peer))}
    for peer, needs in left_out.items():
        console.print(f"{peer} is left out: {' and '.join(needs)} not installed")
    peers = [peer for peer in LIBRARIES if peer == OURS or (peer in chosen.peers and peer not in left_out)]
    rounds = Rounds(chosen.rounds, chosen.seconds)
    with hosts([*peers, *PEAKS], chosen.threads) as started:
        machine = {**describe(chosen.threads, started, left_out), "command": chosen.command}
        if "layers" in kinds:
            results.begin("layers", machine)
            for about, task in layers.races(chosen.sizes, chosen.cells, chosen.works, chosen.variants):
                outcome = layers.compare(about, task, peers, started, rounds)
                results.add("layers", outcome.as_json())
                console.print(line(" ".join([about["size"], about["cell"], about["work"], about["variant"]]), outcome))
        if "fit" in kinds:
            results.begin("fit", machine)
            outcome = fit.compare(peers, started, rounds, chosen.steps)
            results.add("fit", outcome.as_json())
            console.print(line("fit", outcome))
    if "memory" in kinds:
        results.begin("memory", machine)
        for name, each in chosen.sizes.items():
            for cell in chosen.cells:
                found = memory.peaks(cell, name, each, peers, chosen.threads)
                results.add("memory", found)
                numbers = ", ".join(f"{peer} {peak:.1f}" for peer, peak in found["megabytes"].items())
                console.print(f"{name} {cell} memory: {numbers} MB")
    if "overhead" in kinds:
        results.begin("overhead", machine)
        results.add("overhead", overhead.measure(chosen.threads, chosen.rounds, chosen.steps))


def line(what: str, outcome: Outcome) -> str:
    """A race in a line: our time, and how many times that the others take."""
    rest = [f"{label} {times(outcome.ratio(label, OURS))}" for label in outcome.times if label not in (OURS, *PEAKS)]
    return f"{what}: {outcome.milliseconds(OURS):.3g} ms ({outcome.notes[OURS]}); times: {', '.join(rest)}"


if __name__ == "__main__":
    main()
