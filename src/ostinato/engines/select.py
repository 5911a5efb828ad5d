"""Which engine runs: the first willing one of an ordered list, and the others' reasons."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ostinato.engines.aten import ATEN
from ostinato.engines.base import Engine
from ostinato.engines.native import NATIVE
from ostinato.engines.reference import REFERENCE
from ostinato.engines.spec import Spec, is_empty
from ostinato.errors import nearest
from ostinato.recurrence.base import Problem

ENGINES: tuple[Engine, ...] = (NATIVE, ATEN, REFERENCE)
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
    cudnn = engine.runs_cudnn and spec.device == "cuda"
    if spec.cudnn is True and not cudnn:
        reasons.append("is not cuDNN, which use_cudnn=True asks for" + " and which needs a GPU" * engine.runs_cudnn)
    if spec.cudnn is False and cudnn:
        reasons.append("is cuDNN, which use_cudnn=False rules out")
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


class _Request(threading.local):
    """The engine that the calling thread asked for by name."""

    name = "auto"


_REQUEST = _Request()


@contextlib.contextmanager
def use_engine(name: str) -> Iterator[None]:
    """Run every recurrence in the block, in this thread, on the engine of that name, or "auto" for the fastest.

    A recurrence that the engine refuses raises ValueError, with its reasons. Where there are no steps or no samples
    nothing is computed, and no engine asked.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.GRU(4)
    >>> with ostinato.use_engine("reference"):
    ...     layer(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 4])
    """
    if name != "auto":
        _named(name)
    before, _REQUEST.name = _REQUEST.name, name
    try:
        yield
    finally:
        _REQUEST.name = before


def select(spec: Spec) -> Engine:
    """The fastest engine willing to run `spec`, or the one that `use_engine` names, which must be willing.

    Raises ValueError if none is, with the reasons of each.
    """
    if _REQUEST.name == "auto":
        return _first_willing(ENGINES, spec)
    engine = _named(_REQUEST.name)
    if _rank((engine,), spec) > 0:  # which remembers: a call has no time to ask for reasons
        reasons = reasons_against(engine, spec)
        others = [other.name for other in ENGINES if not reasons_against(other, spec)]
        auto = f" engine 'auto' would run {others[0]!r}." if others else ""
        raise ValueError(f"engine {engine.name!r} refuses {spec}: {'; '.join(reasons)}.{auto}")
    return engine


def engine_for(problem: Problem, spec: Spec) -> Engine:
    """The engine that is to run a problem of this spec. Where there are no steps or no samples, that is the loop."""
    return ENGINES[-1] if is_empty(problem) else select(spec)


def together(joint: Spec, halves: Sequence[Spec]) -> bool:
    """Whether an engine takes two directions as one, and is as fast as those that would get them one by one."""
    last = len(ENGINES) - 1  # the loop, which gains nothing by it
    if _REQUEST.name != "auto":
        engine = _named(_REQUEST.name)
        return engine is not ENGINES[last] and not reasons_against(engine, joint)
    rank = _rank(ENGINES, joint)
    return rank < last and all(rank <= _rank(ENGINES, half) for half in halves)


def _named(name: str) -> Engine:
    for engine in ENGINES:
        if engine.name == name:
            return engine
    names = [engine.name for engine in ENGINES]
    known = ", ".join(map(repr, names))
    raise ValueError(f"engine {name!r} is not known; the engines are {known}, and 'auto'.{nearest(name, names)}")


@functools.lru_cache(maxsize=4096)
def _rank(engines: tuple[Engine, ...], spec: Spec) -> int:
    """The place of the fastest willing engine; after the last if there is none."""
    willing = [place for place, engine in enumerate(engines) if not reasons_against(engine, spec)]
    return willing[0] if willing else len(engines)


@functools.lru_cache(maxsize=4096)
def _first_willing(engines: tuple[Engine, ...], spec: Spec) -> Engine:
    place = _rank(engines, spec)
    if place < len(engines):
        return engines[place]
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
