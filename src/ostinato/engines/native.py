"""Our own kernels for a CPU: LSTM, GRU and SimpleRNN, forwards and backwards. Their sources are in `native/`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ostinato.engines import library
from ostinato.engines.flat import leaves
from ostinato.engines.interface import CProblem, CSizes
from ostinato.engines.kernels import ACTIVATIONS, CELLS, DTYPES, Gradients, Run, scratch
from ostinato.engines.spec import Spec
from ostinato.recurrence.base import Problem, Recurrence, Scanned
from ostinato.recurrence.directions import Directions, join, split


class NativeEngine:
    """Runs the kernels in the native library; two directions side by side, where that is quicker."""

    name = "native"
    differentiable = False
    runs_cudnn = False

    def refuses(self, spec: Spec) -> list[str]:
        reasons = []
        absent = library.absent()
        if absent is not None:
            reasons.append(absent)
        if spec.device != "cpu":
            reasons.append(f"runs on cpu, not on {spec.device}")
        if spec.dtype not in DTYPES:
            reasons.append("takes float32, bfloat16")
        if spec.autocast is not None:
            reasons.append("would compute in float32, not in the lower precision of torch.autocast")
        if spec.learned_masks:
            reasons.append("gives no gradients for dropout masks")
        if spec.kind is Directions:
            halves = [_reasons(kind, kind.facts(options)) for kind, options in spec.options]
            return reasons + list(dict.fromkeys(reason for half in halves for reason in half))
        return reasons + _reasons(spec.kind, spec.facts)

    def forward(self, problem: Problem) -> tuple[Scanned, tuple[Run, ...] | None]:
        runs = tuple([Run.begun(half) for half in _halves(problem)])
        _call("forward", [run.c for run in runs], [run.sizes for run in runs])
        scanned = join(*[run.scanned() for run in runs]) if len(runs) == 2 else runs[0].scanned()
        return scanned, tuple([run.for_backward() for run in runs]) if problem.gradients else None

    def backward(self, saved: tuple[Run, ...], grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        found: list[Gradients | None] = []
        for run, mine in zip(saved, _grads_of(saved, grads), strict=True):
            found.append(None if all(g is None for g in mine) else Gradients(run, mine))
        there = [each for each in found if each is not None]
        if there:
            _call("backward", [each.c for each in there], [each.run.sizes for each in there])
        gathered: list[list[Tensor | None]] = []
        for run, each in zip(saved, found, strict=True):
            gathered.append([None] * len(leaves(run.problem)) if each is None else each.leaves())
        return gathered[0] if len(saved) == 1 else _of_both(saved, gathered)


NATIVE = NativeEngine()


def _reasons(kind: type[Recurrence], facts: dict[str, Any]) -> list[str]:
    """What of the recurrence the kernels cannot do."""
    if kind not in CELLS:
        return [f"takes lstm, gru and simple_rnn, not {kind.name}"]
    *others, last = ACTIVATIONS
    return [
        f"takes {name} {', '.join(others)} or {last}, not {facts[name]}"
        for name in ("activation", "recurrent_activation")
        if facts.get(name, last) not in ACTIVATIONS
    ]


def _call(name: str, problems: list[CProblem], sizes: list[CSizes]) -> None:
    """Call a kernel for one problem, or for two at once. What forward saves for no backward is scratch, too."""
    floats = [getattr(each, name) for each in sizes]
    whole = [own if c.saved else own + each.saved for c, own, each in zip(problems, floats, sizes, strict=True)]
    memory = scratch(sum(whole))
    at = memory.data_ptr()
    for c, own, size in zip(problems, floats, whole, strict=True):
        c.scratch = at
        if not c.saved:
            c.saved = at + 4 * own
        at += 4 * size
    functions = library.functions()
    function = getattr(functions, f"ostinato_{name}_two" if len(problems) == 2 else f"ostinato_{name}")
    function(*[ctypes.byref(c) for c in problems])


# -- two directions ---------------------------------------------------------------------------------------------------


def _halves(problem: Problem) -> tuple[Problem, ...]:
    return split(problem) if type(problem.recurrence) is Directions else (problem,)


def _grads_of(runs: tuple[Run, ...], grads: Sequence[Tensor | None]) -> list[list[Tensor | None]]:
    """The gradients of each half's results, from those of both: (outputs), last, state, each of one and the other."""
    if len(runs) == 1:
        return [list(grads)]
    rest = iter(grads)
    found: list[list[Tensor | None]] = [[], []]
    for _ in range(2 if runs[0].problem.sequences else 1):
        for mine in found:
            mine.append(next(rest))
    for mine, run in zip(found, runs, strict=True):
        mine += [next(rest) for _ in run.problem.state]
    return found


def _of_both(runs: tuple[Run, ...], found: list[list[Tensor | None]]) -> list[Tensor | None]:
    """The gradients of the leaves of both halves, from those of each; the inputs are the same."""
    (x_forward, *forward), (x_backward, *backward) = found
    if x_forward is None or x_backward is None:
        x = x_backward if x_forward is None else x_forward
    else:
        x = x_forward.add_(x_backward)
    first, second = (len(run.problem.state) for run in runs)
    return [x, *forward[:first], *backward[:second], *forward[first:], *backward[second:]]
