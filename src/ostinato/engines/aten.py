"""torch's own `lstm`, `gru`, `rnn_tanh`, `rnn_relu`: oneDNN for an LSTM on a CPU, cuDNN on a GPU.

Keras's weights are laid anew at each call; torch differentiates what is done here, inside the engine, so that the
engine's backward is exact whatever the layout.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ostinato.engines.flat import leaves, results, with_leaves, with_results
from ostinato.engines.spec import Spec, autocast
from ostinato.recurrence.base import Problem, Recurrence, Scanned
from ostinato.recurrence.directions import Directions, join, split
from ostinato.recurrence.masks import turned
from ostinato.recurrence.nests import flatten

_CUDNN_STEPS = 65_535  # more at a time than cuDNN runs
_DTYPES = {
    "cpu": (torch.float32, torch.float64, torch.bfloat16),
    "cuda": (torch.float32, torch.float64, torch.float16, torch.bfloat16),
}


class Weights(NamedTuple):
    """One direction's weights as torch wants them: `(gates * units, features)`, `(gates * units, units)`, biases."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None


class Saved(NamedTuple):
    """A graph of torch's from `tensors`, those of `leaves(problem)`, to `outputs`, in the order of `results`."""

    tensors: list[Tensor | None]
    outputs: list[Tensor]


class AtenEngine:
    """Runs `torch.lstm` and its like, under the conditions that cuDNN has: those of Keras's guide."""

    name = "aten"
    differentiable = False
    runs_cudnn = True

    def refuses(self, spec: Spec) -> list[str]:
        reasons = []
        if spec.dtype not in _DTYPES.get(spec.device, ()):
            reasons.append(f"takes {_names(_DTYPES.get(spec.device, ()))} on {spec.device}")
        if spec.autocast is not None and spec.device == "cpu":
            reasons.append("would keep the state in the lower precision of torch.autocast, not the products only")
        if spec.kind is not Directions:
            return reasons + _reasons(spec.recurrence, spec.facts)
        (kind, forward), (other, backward) = spec.facts["forward"], spec.facts["backward"]
        states = spec.widths[1:]
        half = len(states) // 2
        if kind != other or forward != backward or states[:half] != states[half:]:
            reasons.append("runs two directions at once only if they are alike")
        if forward.get("dropout") is not None:
            reasons.append("runs two directions at once on the same inputs only, not under dropout masks of their own")
        return reasons + list(dict.fromkeys([*_reasons(kind, forward), *_reasons(other, backward)]))

    def forward(self, problem: Problem) -> tuple[Scanned, Saved | None]:
        if not problem.gradients:
            with torch.no_grad():
                return _run(problem), None
        tensors = [None if x is None else x.detach().requires_grad_(x.requires_grad) for x in leaves(problem)]
        with torch.enable_grad():
            scanned = _run(with_leaves(problem, tensors))
        outputs = results(scanned)
        return with_results(scanned, [y.detach() for y in outputs]), Saved(tensors, outputs)

    def backward(self, saved: Saved, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        pairs = [(y, g) for y, g in zip(saved.outputs, grads, strict=True) if g is not None and y.requires_grad]
        wanted = [x for x in saved.tensors if x is not None and x.requires_grad]
        if not pairs or not wanted:
            return [None] * len(saved.tensors)
        # Kept, for the graph around may be walked again; it goes when that one goes.
        found = torch.autograd.grad(
            [y for y, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True, retain_graph=True
        )
        rest = iter(found)
        return [next(rest) if x is not None and x.requires_grad else None for x in saved.tensors]


def _names(dtypes: Sequence[torch.dtype]) -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes) or "nothing"


def _reasons(recurrence: str, facts: dict[str, Any]) -> list[str]:
    """What of the recurrence's options torch's kernels cannot do."""
    if recurrence not in _CALLS:
        return [f"takes lstm, gru and simple_rnn, not {recurrence}"]
    wanted: dict[str, tuple[str, ...]] = {"activation": ("tanh",), "recurrent_activation": ("sigmoid",)}
    if recurrence == "simple_rnn":
        wanted = {"activation": ("tanh", "relu")}
    reasons = [
        f"takes {name} {' or '.join(names)}, not {facts[name]}"
        for name, names in wanted.items()
        if facts[name] not in names
    ]
    if facts["recurrent_dropout"] is not None:
        reasons.append("takes no recurrent_dropout")
    if facts["dropout"] == 3:
        reasons.append("takes one dropout mask for all gates")
    if facts.get("reset_after") is False:
        reasons.append("takes reset_after=True only")
    return reasons


# -- running ----------------------------------------------------------------------------------------------------------


def _run(problem: Problem) -> Scanned:
    """The problem, differentiable by torch."""
    device = problem.inputs.device.type
    lower = autocast(device)
    if lower is None:
        return _run_plainly(problem)
    like = flatten(problem.state)[0].dtype  # which the results have whatever happens inside
    tensors = [None if x is None else x.to(lower) for x in leaves(problem)]
    with torch.autocast(device, enabled=False):
        scanned = _run_plainly(with_leaves(problem, tensors))
    return with_results(scanned, [y.to(like) for y in results(scanned)])


def _run_plainly(problem: Problem) -> Scanned:
    limit = _CUDNN_STEPS if problem.inputs.is_cuda else sys.maxsize
    if not isinstance(problem.recurrence, Directions):
        return _run_one(problem, limit)
    if problem.inputs.shape[0] <= limit:
        return _run_two(problem)
    forward, backward = split(problem)
    return join(_run_one(forward, limit), _run_one(backward, limit))


def _run_one(problem: Problem, limit: int) -> Scanned:
    """One direction, at most `limit` steps at a time."""
    recurrence: Any = problem.recurrence
    inputs, lengths, state = problem.inputs, problem.lengths, tuple(problem.state)
    if problem.reverse:
        inputs = inputs.flip(0) if lengths is None else turned(inputs, lengths)
    if recurrence.dropout is not None:
        inputs = inputs * recurrence.dropout
    weights = [_weights(recurrence)]
    chunks, last = [], torch.zeros_like(state[0])
    for start, chunk in zip(range(0, inputs.shape[0], limit), inputs.split(limit), strict=True):
        left = None if lengths is None else (lengths - start).clamp(0, chunk.shape[0])
        outputs, found = _call(problem, chunk, left, tuple(h[None] for h in state), weights)
        new = tuple(h[0] for h in found)
        if left is None:
            last, state = new[0], new
        else:
            used = (left > 0).to(chunk.device)[:, None]
            last = torch.where(used, new[0], last)
            state = tuple(torch.where(used, a, b) for a, b in zip(new, state, strict=True))
        chunks.append(outputs)
    if not problem.sequences:
        return Scanned(None, last, state)
    return Scanned(chunks[0] if len(chunks) == 1 else torch.cat(chunks), last, state)


def _run_two(problem: Problem) -> Scanned:
    """Both directions in one call."""
    halves: Any = problem.recurrence
    lengths = problem.lengths
    states = tuple(torch.stack(pair) for pair in zip(*problem.state, strict=True))
    weights = [_weights(halves.forward), _weights(halves.backward)]
    outputs, new = _call(problem, problem.inputs, lengths, states, weights)
    last = new[0]
    if lengths is not None:
        used = (lengths > 0).to(last.device)[:, None]
        last = torch.where(used, last, 0)
        new = tuple(torch.where(used, a, b) for a, b in zip(new, states, strict=True))
    pair = None
    if problem.sequences:
        forward, backward = outputs.chunk(2, dim=-1)
        pair = (forward, backward.flip(0) if lengths is None else turned(backward, lengths))
    first, second = (tuple(h[i] for h in new) for i in (0, 1))
    return Scanned(pair, (last[0], last[1]), (first, second))


def _call(
    problem: Problem, inputs: Tensor, lengths: Tensor | None, states: tuple[Tensor, ...], weights: list[Weights]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The function of torch on `(time, batch, features)` and states `(directions, batch, units)`.

    Returns outputs `(time, batch, directions * units)`, zeros after a row's length, and the final states; for a row of
    length 0 these are of no meaning.
    """
    recurrence = problem.recurrence
    each = recurrence.forward if isinstance(recurrence, Directions) else recurrence
    function = _CALLS[type(each).name](each)
    biased = weights[0].b_ih is not None
    flat = _flat(weights) if inputs.is_cuda else [w for one in weights for w in one if w is not None]
    options = (flat, biased, 1, 0.0, problem.gradients, len(weights) == 2)
    if lengths is None:
        outputs, *new = function(inputs.contiguous(), _bare(states), *options, False)
        return outputs, tuple(new)
    packed = pack_padded_sequence(inputs, lengths.cpu().clamp(min=1), enforce_sorted=False)
    order: Any = packed.sorted_indices
    back: Any = packed.unsorted_indices
    sorted_states = tuple(h.index_select(1, order) for h in states)
    data, *new = function(packed.data, packed.batch_sizes, _bare(sorted_states), *options)
    final = tuple(h.index_select(1, back) for h in new)
    if not problem.sequences:
        return data, final
    ran = PackedSequence(data, packed.batch_sizes, order, back)
    outputs, _ = pad_packed_sequence(ran, total_length=inputs.shape[0])
    return outputs, final


def _bare(states: tuple[Tensor, ...]) -> Any:
    """A lone state is no tuple in torch."""
    return states[0] if len(states) == 1 else states


def _simple(recurrence: Any) -> Callable[..., Any]:
    return torch.rnn_relu if recurrence.activation is torch.relu else torch.rnn_tanh


_CALLS: dict[str, Callable[[Recurrence], Callable[..., Any]]] = {
    "lstm": lambda _: torch.lstm,
    "gru": lambda _: torch.gru,
    "simple_rnn": _simple,
}


# -- weights ----------------------------------------------------------------------------------------------------------


def _weights(recurrence: Any) -> Weights:
    """The weights of a recurrence as torch wants them; its gates of a GRU are r, z, n, Keras's z, r, h."""
    swap = _swapped if type(recurrence).name == "gru" else _as_it_is
    bias = recurrence.bias
    if bias is None:
        b_ih = b_hh = None
    elif bias.dim() == 2:
        b_ih, b_hh = swap(bias).unbind(0)
    else:
        b_ih, b_hh = bias, torch.zeros_like(bias)
    return Weights(swap(recurrence.kernel).t(), swap(recurrence.recurrent_kernel).t(), b_ih, b_hh)


def _as_it_is(weight: Tensor) -> Tensor:
    return weight


def _swapped(weight: Tensor) -> Tensor:
    z, r, h = weight.chunk(3, dim=-1)
    return torch.cat([r, z, h], dim=-1)


def _flat(weights: list[Weights]) -> list[Tensor]:
    """The weights as views of one buffer, in cuDNN's order: all matrices, then all biases."""
    matrices = [w for one in weights for w in (one.w_ih, one.w_hh)]
    biases = [b for one in weights for b in (one.b_ih, one.b_hh) if b is not None]
    everything = [*matrices, *biases]
    buffer = torch.cat([w.reshape(-1) for w in everything])
    views = [v.view(w.shape) for v, w in zip(buffer.split([w.numel() for w in everything]), everything, strict=True)]
    return list(_by_direction(views, len(weights), bool(biases)))


def _by_direction(views: list[Tensor], directions: int, biased: bool) -> Iterator[Tensor]:
    """From all matrices, then all biases, to the order in which torch takes them: direction by direction."""
    for direction in range(directions):
        yield from views[2 * direction : 2 * direction + 2]
        if biased:
            start = 2 * directions + 2 * direction
            yield from views[start : start + 2]


ATEN = AtenEngine()
