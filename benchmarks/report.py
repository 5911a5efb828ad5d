"""The report: Markdown tables of what a folder of results holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.fit import REFERENCE
from benchmarks.layers import UNMASKED
from benchmarks.peers import LIBRARIES, OURS, PEAKS
from benchmarks.race import Outcome
from benchmarks.results import KINDS, Results
from benchmarks.tasks import VARIANTS

NOTHING = "–"


def report(results: Results) -> str:
    """All that was measured, in sections."""
    sections = []
    writers: dict[str, Callable[[Results], Iterable[str]]] = {
        "layers": layers,
        "fit": fit,
        "memory": memory,
        "overhead": overhead,
    }
    for kind in KINDS:
        machine = results.machine(kind)
        if machine is not None:
            sections += [f"## {TITLES[kind]}", about(machine), *writers[kind](results)]
    return "\n\n".join(["# Benchmarks", *sections]) + "\n"


TITLES = {
    "layers": "Layers",
    "fit": "`fit`, a step of the guide's model",
    "memory": "Memory of a training step",
    "overhead": "Around engines and optimizer",
}


def about(machine: dict[str, Any]) -> str:
    """The machine, the versions, the command, and who was left out."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    text = f"`{machine['command']}` on {machine['processor']}, {machine['threads']} threads; "
    text += f"{machine['native']}; {versions}."
    for peer, needs in machine["left out"].items():
        text += f" {peer} was left out: {' and '.join(needs)} not installed."
    return text


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Of Markdown. The first column is of words, the others are of numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def others(outcomes: Sequence[Outcome]) -> list[str]:
    """The libraries that ran in any of these, but ours."""
    return [peer for peer in LIBRARIES if peer != OURS and any(peer in outcome.times for outcome in outcomes)]


def layers(results: Results) -> Iterable[str]:
    outcomes = results.outcomes("layers")
    whole = [outcome for outcome in outcomes if outcome.about["variant"] == "whole"]
    if whole:
        yield "As many times as long as ostinato takes, batch, time, features and units as below:"
        for peer in others(whole):
            yield f"**{peer}**"
            yield by_size(whole, lambda outcome, peer=peer: cell_of(outcome, peer))
        yield "**the fastest of them**"
        yield by_size(whole, fastest)
        yield "**ostinato, of what the machine reaches in multiply-adds of registers / in torch's sgemm**"
        yield by_size(whole, shares)
    for variant in VARIANTS:
        chosen = [outcome for outcome in outcomes if outcome.about["variant"] == variant]
        if chosen:
            yield f"### {DESCRIPTIONS[variant]}"
            yield in_full(chosen)


DESCRIPTIONS = {
    "whole": "All steps of all samples",
    "gaps": "Half of the steps masked, anywhere",
    "lengths": "Right padding, half of all steps used",
    "recurrent dropout": "Recurrent dropout of 0.2",
}


def by_size(outcomes: Sequence[Outcome], write: Callable[[Outcome], str]) -> str:
    """A row for each cell and work, a column for each size."""
    found = {(o.about["cell"], o.about["work"], o.about["size"]): write(o) for o in outcomes}
    sizes = {o.about["size"]: o.about["sizes"] for o in outcomes}
    kinds = dict.fromkeys((o.about["cell"], o.about["work"]) for o in outcomes)
    rows = [[" ".join(kind), *(found.get((*kind, size), NOTHING) for size in sizes)] for kind in kinds]
    return table(["", *(f"{name} ({size})" for name, size in sizes.items())], rows)


def cell_of(outcome: Outcome, peer: str) -> str:
    if peer not in outcome.times or OURS not in outcome.times:
        return NOTHING
    return times(outcome.ratio(peer, OURS))


def fastest(outcome: Outcome) -> str:
    ran = others([outcome])
    if not ran or OURS not in outcome.times:
        return NOTHING
    best = min(ran, key=outcome.milliseconds)
    return f"{times(outcome.ratio(best, OURS))} {best}"


def shares(outcome: Outcome) -> str:
    """Peaks are in seconds per billion operations."""
    if OURS not in outcome.times:
        return NOTHING
    found = [
        f"{outcome.about['gflop'] * outcome.ratio(peak, OURS):.0%}" if peak in outcome.times else NOTHING
        for peak in reversed(PEAKS)
    ]
    return " / ".join(found)


def in_full(outcomes: Sequence[Outcome]) -> str:
    """Milliseconds of all, and how ours ran."""
    ran = [label for label in (*LIBRARIES, UNMASKED) if any(label in outcome.times for outcome in outcomes)]
    rows = []
    for outcome in outcomes:
        what = f"{outcome.about['cell']} {outcome.about['work']}, {outcome.about['size']}"
        numbers = [f"{outcome.milliseconds(label):.3g}" if label in outcome.times else NOTHING for label in ran]
        rows.append([what, *numbers, outcome.notes.get(OURS, NOTHING)])
    return table(["ms", *ran, "ostinato by"], rows)


def fit(results: Results) -> Iterable[str]:
    for outcome in results.outcomes("fit"):
        rows = []
        for label in outcome.times:
            name = {"torch.nn": "plain loop around torch.nn.LSTM", "plain loop": "plain loop around a loop"}.get(
                label, label
            )
            ratio = times(outcome.ratio(label, OURS)) if OURS in outcome.times else NOTHING
            rows.append([name, f"{outcome.milliseconds(label):.2f}", ratio, outcome.notes[label] or NOTHING])
        yield table(["", "ms a step", "times ostinato's", "by"], rows)
        if {REFERENCE, "plain loop"} <= outcome.times.keys():
            yield f"The reference engine takes {times(outcome.ratio(REFERENCE, 'plain loop'))} of the loop by hand."


def memory(results: Results) -> Iterable[str]:
    found = results.found("memory")
    peers = [peer for peer in LIBRARIES if any(peer in each["megabytes"] for each in found)]
    rows = [
        [
            f"{each['about']['cell']}, {each['about']['size']} ({each['about']['sizes']})",
            *(f"{each['megabytes'][peer]:.1f}" if peer in each["megabytes"] else NOTHING for peer in peers),
        ]
        for each in found
    ]
    yield "MB at the peak of forward and backward, above the layer, its inputs and its outputs' gradient."
    yield table(["", *peers], rows)


def overhead(results: Results) -> Iterable[str]:
    for each in results.found("overhead"):
        yield table(
            ["", "measured", "at most"],
            [
                ["from `LSTM.__call__` to the engine", f"{each['call']:.1f} µs", "15 µs"],
                ["a step of `fit` outside forward, backward and optimizer", f"{each['step']:.3f} ms", "0.3 ms"],
            ],
        )
