"""Which engine runs: the first willing one of an ordered list, and the others' reasons."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import NamedTuple

from ostinato.engines.base import Engine
from ostinato.engines.reference import REFERENCE
from ostinato.engines.spec import Spec

ENGINES: tuple[Engine, ...] = (REFERENCE,)
"""Fastest first. The last one takes everything."""


class Choice(NamedTuple):
    """What was chosen for whom, and why not the faster ones: (engine, reasons) for each that comes before it.

    No reasons: it was willing, and another one was asked for by name.
    """

    owner: str
    spec: Spec
    engine: str
    refused: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        lines = [f"{self.owner or self.spec.recurrence}: {self.spec}: engine {self.engine!r}"]
        for name, reasons in self.refused:
            why = f"refuses: {'; '.join(reasons)}" if reasons else f"is willing; {self.engine!r} was asked for by name"
            lines.append(f"  {name!r} {why}")
        if not self.refused:
            lines.append(f"  {self.engine!r} is the first in order: no faster engine is registered")
        return "\n".join(lines)


def reasons_against(engine: Engine, spec: Spec) -> list[str]:
    """Why an engine won't run this: its own reasons, and the house's."""
    reasons = list(engine.refuses(spec))
    if spec.transformed and not engine.differentiable:
        # One rule for all of them: a tangent that passes through an engine unseen would come out as zero.
        reasons.append("is opaque to torch.func transforms and forward-mode AD")
    return reasons


def refusals(spec: Spec, chosen: Engine | None = None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(engine, reasons) for each engine that comes before the one chosen: by default the first willing one."""
    refused = []
    for engine in ENGINES:
        reasons = reasons_against(engine, spec)
        if engine is chosen or (chosen is None and not reasons):
            break
        refused.append((engine.name, tuple(reasons)))
    return tuple(refused)


def select(spec: Spec, name: str = "auto") -> Engine:
    """The fastest engine willing to run `spec`, or the one named, which must be willing.

    Raises ValueError for a name that is unknown, or whose engine refuses.
    """
    if name == "auto":
        return _first_willing(ENGINES, spec)
    for engine in ENGINES:
        if engine.name == name:
            reasons = reasons_against(engine, spec)
            if reasons:
                auto = _first_willing(ENGINES, spec).name
                raise ValueError(
                    f"engine {name!r} refuses {spec}: {'; '.join(reasons)}. engine='auto' would run {auto!r}."
                )
            return engine
    known = ", ".join(repr(engine.name) for engine in ENGINES)
    raise ValueError(f"engine {name!r} is not known; the engines are {known}, and 'auto'.")


@functools.lru_cache(maxsize=4096)
def _first_willing(engines: tuple[Engine, ...], spec: Spec) -> Engine:
    for engine in engines:
        if not reasons_against(engine, spec):
            return engine
    reasons = "; ".join(f"{engine.name}: {', '.join(reasons_against(engine, spec))}" for engine in engines)
    raise ValueError(f"no engine is willing to run {spec}: {reasons}.")


_observers: list[list[Choice]] = []


@contextlib.contextmanager
def observe() -> Iterator[list[Choice]]:
    """Collect the choices made while the block runs, in the order of the runs."""
    choices: list[Choice] = []
    _observers.append(choices)
    try:
        yield choices
    finally:
        _observers[:] = [other for other in _observers if other is not choices]


def observed(owner: str, spec: Spec, engine: Engine) -> None:
    """Tell the observers, if there are any."""
    for choices in _observers:
        choices.append(Choice(owner, spec, engine.name, refusals(spec, engine)))
