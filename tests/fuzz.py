"""Random problems for the native kernels, each from a seed alone, and whether what they compute is right.

A case is of any shape, any strides and any options that the engine takes. It runs without and with gradients, with one
thread and with several, in memory full of NaNs, and is compared with the loop in float64. `tools/fuzz_native.py` runs
thousands of them under sanitizers.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils import deterministic

from ostinato.engines import kernels
from ostinato.engines.execute import execute
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.engines.select import use_engine
from ostinato.recurrence import Problem, Scanned
from ostinato.recurrence.scan import scan
from problems import CELLS, problem, specified, wanting

Random = np.random.Generator
Loop = Callable[..., list[Tensor]]

BOUNDED = ("sigmoid", "hard_sigmoid")  # gates that keep a state from growing without end
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TIMES = {torch.float32: 8, torch.bfloat16: 2}  # as much error as the loop's in that dtype,
FLOORS = {torch.float32: 1e-5, torch.bfloat16: 2**-7}  # which in small problems may be next to none
MOVED = {torch.float32: 1e-6, torch.bfloat16: 2**-9}  # by so much of them numbers are off that are as good
NEAR = (1, 4, 8, 16, 32, 64, 128)  # widths of vectors and tiles, where kernels come to their ends
SMALL = 1e-30  # what is far smaller is nothing: products of bfloat16 take denormals for zeros
WORK = 4_000_000  # multiplications forwards, of most cases; of a few ten times as many


@dataclasses.dataclass(frozen=True)
class Case:
    """What is drawn from a seed before any tensor is."""

    seed: int
    cell: str
    batch: int
    time: int
    features: int
    units: int
    threads: int
    bias: bool
    dropout: str | None
    recurrent_dropout: bool
    activation: str
    recurrent_activation: str
    reverse: bool
    sequences: bool
    lengths: tuple[int, ...] | None
    twice: bool  # backward is called again
    both: bool  # beside one that runs in the other direction
    dtype: str

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in dataclasses.asdict(self).items())


@dataclasses.dataclass(frozen=True)
class Found:
    """How far from the loop in float64 a case is, of the largest number, and how far the loop in its own dtype is.

    The worst tensor's; steady: whether the numbers are what small errors leave as they are, so that comparing makes
    sense.
    """

    error: float = 0.0
    loop: float = 0.0
    steady: bool = True
    dtype: str = "float32"

    @property
    def ratio(self) -> float:
        """Of the errors; of those below a rounding nothing is to be said."""
        return self.error / (self.loop + torch.finfo(DTYPES[self.dtype]).eps)


# -- drawing ----------------------------------------------------------------------------------------------------------


def draw_case(seed: int) -> Case:
    """The case of a seed."""
    draw = np.random.default_rng([seed, 0])
    cell = str(draw.choice(list(CELLS)))
    batch = int(draw.integers(1, 9) if draw.random() < 0.6 else draw.integers(1, 71))
    features, units = _width(draw), _width(draw)
    gates = {"lstm": 4, "simple_rnn": 1}.get(cell, 3)
    work = WORK * (10 if draw.random() < 0.05 else 1)
    longest = max(1, work // (batch * (features + units) * gates * units))
    time = int(min(40 ** draw.random(), longest))  # mostly short: what happens at one step does at each
    usual = draw.random() < 0.7
    squashes = [*BOUNDED, "tanh", "relu", "linear"]
    return Case(
        seed,
        cell,
        batch,
        time,
        features,
        units,
        threads=int(draw.integers(1, 4)),
        bias=bool(draw.random() < 0.7),
        dropout=draw.choice([None, None, "shared", "gates"]) if cell != "simple_rnn" else draw.choice([None, "shared"]),
        recurrent_dropout=bool(draw.random() < 0.3),
        activation="tanh" if usual else str(draw.choice(["tanh", "sigmoid", "relu", "hard_sigmoid", "linear"])),
        recurrent_activation="sigmoid" if usual else str(draw.choice(squashes)),
        reverse=bool(draw.random() < 0.4),
        sequences=bool(draw.random() < 0.6),
        lengths=_lengths(draw, batch, time),
        twice=bool(draw.random() < 0.3),
        both=bool(draw.random() < 0.2),
        dtype="float32" if draw.random() < 0.6 else "bfloat16",
    )


def _width(draw: Random) -> int:
    """Up to 140, mostly about where vectors and tiles end."""
    if draw.random() < 0.3:
        return int(draw.integers(1, 141))
    return max(1, int(draw.choice(NEAR) + draw.integers(-1, 2)))


def _lengths(draw: Random, batch: int, time: int) -> tuple[int, ...] | None:
    match draw.choice(["none", "none", "any", "any", "short", "full", "zero"]):
        case "any":
            return tuple(draw.integers(0, time + 1, batch).tolist())
        case "short":
            return tuple(draw.integers(0, min(time, 2) + 1, batch).tolist())
        case "full":
            return (time,) * batch
        case "zero":
            return (0,) * batch
    return None


def problems_of(case: Case) -> list[Problem]:
    """One problem, or two over the same inputs; each tensor with strides of its own, some wanting a gradient."""
    draw = np.random.default_rng([case.seed, 1])
    made: list[Problem] = []
    lengths = None if case.lengths is None else torch.tensor(case.lengths)
    for half in range(1 + case.both):
        plain = problem(
            case.cell,
            case.batch,
            case.time,
            case.features,
            case.units,
            bias=case.bias,
            dropout=case.dropout,
            recurrent_dropout=case.recurrent_dropout,
            activation=case.activation,
            recurrent_activation=case.recurrent_activation,
            dtype=DTYPES[case.dtype],
            seed=case.seed + half,
            lengths=lengths,
            reverse=bool(half) if case.both else case.reverse,
            sequences=case.sequences,
        )
        gain = 1.0 if case.recurrent_activation in BOUNDED else 0.3
        tensors = []
        for position, tensor in enumerate(leaves(plain)):
            weight = len(plain.state) < position <= len(plain.state) + 3
            laid = None if tensor is None else laid_out(tensor * gain if weight else tensor, draw)
            if laid is not None and position <= len(plain.state) + 3:  # dropout masks are constants
                laid.requires_grad_(bool(draw.random() < 0.7))
            tensors.append(laid)
        if half:
            tensors[0] = made[0].inputs
        made.append(with_leaves(plain, tensors))
    return made


def laid_out(tensor: Tensor, draw: Random) -> Tensor:
    """A tensor of the same shape, with other strides; what lies in between is NaN. Expanded, its numbers differ."""
    dims = range(tensor.dim())
    match draw.choice(["as it is", "permuted", "permuted", "sliced", "expanded"]):
        case "permuted":
            order = draw.permutation(tensor.dim()).tolist()
            return tensor.permute(order).contiguous().permute(np.argsort(order).tolist())
        case "sliced":
            steps, margins = draw.integers(1, 3, tensor.dim()), draw.integers(0, 3, tensor.dim())
            sizes = [int(n * step + margin) for n, step, margin in zip(tensor.shape, steps, margins, strict=True)]
            whole = torch.full(sizes, float("nan"), dtype=tensor.dtype)
            part = whole[tuple(slice(int(margins[d]), None, int(steps[d])) for d in dims)]
            return part[tuple(slice(n) for n in tensor.shape)].copy_(tensor)
        case "expanded":
            return tensor.narrow(int(draw.choice(dims)), 0, 1).clone().expand(tensor.shape)
    return tensor.clone()


# -- running ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _memory_full_of_nans() -> Iterator[None]:
    """New memory is NaN: what a kernel leaves out, or reads before it is written, shows."""
    before = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = True
    try:
        assert torch.empty(1).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        deterministic.fill_uninitialized_memory = before[1]


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _native(problems: Sequence[Problem]) -> list[Tensor]:
    """All results of the native engine."""
    kernels._SCRATCH.memory = None  # what is kept from one run to the next may be more than this one asks for
    with use_engine("native"):
        return [y for scanned in execute(problems) for y in results(scanned)]


def _loop(
    problems: Sequence[Problem], grads: Sequence[Tensor | None], dtype: torch.dtype, moved: Random | None = None
) -> list[Tensor]:
    """Results and gradients of the loop in another dtype; moved: of numbers that are off by a little."""
    copies: dict[int, Tensor] = {}  # two problems have the same inputs

    def copy(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        if id(x) not in copies:
            y = x.detach().to(dtype, memory_format=torch.contiguous_format, copy=True)
            if moved is not None:
                y *= 1 + MOVED[x.dtype] * torch.from_numpy(moved.standard_normal(y.shape))
            copies[id(x)] = y.requires_grad_(x.requires_grad)
        return copies[id(x)]

    others = [with_leaves(one, [copy(x) for x in leaves(one)]) for one in problems]
    found = _specified(others, [y for one in others for y in results(scan(one))])
    given = [None if g is None else g.to(dtype) for g in grads]
    return [y.detach() for y in found] + _gradients(others, found, given)


def _specified(problems: Sequence[Problem], found: Sequence[Tensor]) -> list[Tensor]:
    """Results, with zeros for what is unspecified."""
    rest, kept = iter(found), []
    for one in problems:
        outputs = next(rest) if one.sequences else None
        tail = [next(rest) for _ in range(1 + len(one.state))]
        kept += results(specified(one, Scanned(outputs, tail[0], tuple(tail[1:]))))
    return kept


def _wanting(problems: Sequence[Problem]) -> list[Tensor]:
    """The tensors that want a gradient, each once."""
    return list({id(x): x for one in problems for x in wanting(one)}.values())


def _gradients(
    problems: Sequence[Problem], found: Sequence[Tensor], grads: Sequence[Tensor | None], keep: bool = False
) -> list[Tensor]:
    wanted = _wanting(problems)
    pairs = [(y, g) for y, g in zip(found, grads, strict=True) if g is not None and y.requires_grad]
    if not wanted or not pairs:
        return [torch.zeros_like(x) for x in wanted]
    kernels._SCRATCH.memory = None
    outputs, given = zip(*pairs, strict=True)
    return list(torch.autograd.grad(outputs, wanted, given, retain_graph=keep, materialize_grads=True))


def _grads_for(case: Case, problems: Sequence[Problem]) -> list[Tensor | None]:
    """Gradients for some of the results, one at least, with strides of their own."""
    draw = np.random.default_rng([case.seed, 2])
    shapes = []
    for one in problems:
        shapes += [(case.time, case.batch, case.units)] * case.sequences
        shapes += [(case.batch, case.units)] * (1 + len(one.state))
    graded = draw.random(len(shapes)) < 0.6
    graded[draw.integers(len(shapes))] = True
    values = (torch.from_numpy(draw.standard_normal(shape)).to(DTYPES[case.dtype]) for shape in shapes)
    return [laid_out(value, draw) if there else None for value, there in zip(values, graded, strict=True)]


def _run(case: Case, problems: Sequence[Problem], grads: Sequence[Tensor | None]) -> list[Tensor]:
    """Results and gradients of the native engine."""
    found = _native(problems)
    gradients = _gradients(problems, found, grads, keep=case.twice)
    if case.twice:
        again = _gradients(problems, found, grads)
        assert _same(again, gradients), "backward called again gives other gradients"
    return [y.detach() for y in _specified(problems, found)] + gradients


# -- judging ----------------------------------------------------------------------------------------------------------


def check(case: Case) -> Found:
    """Run a case. Raises AssertionError if what comes is wrong."""
    problems = problems_of(case)
    grads = _grads_for(case, problems)
    with _memory_full_of_nans():
        with _threads(case.threads):
            with torch.no_grad():
                inferred = _specified(problems, _native(problems))
            computed = _run(case, problems, grads)
        if case.threads > 1:
            with _threads(1):
                alone = _run(case, problems, grads)
            assert _same(alone, computed), "other bits with one thread"
    with _threads(1):
        return _judged(case, inferred, computed, partial(_loop, problems, grads))


def _same(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether all numbers are the same. Those that have grown without bounds are NaN here and there."""
    pairs = ((a.float(), b.float()) for a, b in zip(some, others, strict=True))
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def _judged(case: Case, inferred: Sequence[Tensor], computed: Sequence[Tensor], loop_in: Loop) -> Found:
    """What comes without gradients, and with them, beside what comes of the loop."""
    wanted = loop_in(torch.float64)
    if not all(
        bool((w.abs() < 1e4).all()) for w in wanted
    ):  # activations without bounds; nothing agrees about such numbers
        return Found(steady=False, dtype=case.dtype)
    dtype = DTYPES[case.dtype]
    loop = _error(loop_in(dtype), wanted)
    error = _error([*inferred, *computed], [*wanted[: len(inferred)], *wanted])
    if error <= max(FLOORS[dtype], TIMES[dtype] * loop):
        return Found(error, loop, dtype=case.dtype)
    # Where numbers that are off by a rounding or so would do as much, as at the kink of an activation or after many
    # steps of a chaotic recurrence, an error says nothing.
    draw = np.random.default_rng([case.seed, 3])
    others = (loop_in(torch.float64, draw) for _ in range(8))
    if max(_error(other, wanted) for other in others) > error / 4:
        return Found(steady=False, dtype=case.dtype)
    names = [f"result {tuple(w.shape)}" for w in wanted[: len(inferred)]]
    names += [f"gradient {tuple(w.shape)}" for w in wanted[len(inferred) :]]
    by_tensor = (f"{name} {_error([a], [b]):.2g}" for name, a, b in zip(names, computed, wanted, strict=True))
    raise AssertionError(f"error {error:.2g}, the loop's in {case.dtype} {loop:.2g}; of each: {', '.join(by_tensor)}")


def _error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest error, relative to the largest number of its tensor; NaN if there is one."""
    worst = [0.0]
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape, (a.shape, b.shape)
        if b.numel():
            worst.append(float((a.double() - b).abs().max()) / max(float(b.abs().max()), SMALL))
    return float(np.max(worst))
