"""torch's own `lstm`, `gru`, `rnn_tanh`, `rnn_relu`: oneDNN for an LSTM on a CPU, cuDNN on a GPU.

Keras's weights are laid anew at each call. Torch differentiates what is done here, inside the engine, so that the
engine's backward is exact whatever the layout. What oneDNN runs has a way of its own, which is quicker: `onednn`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ostinato.engines import onednn
from ostinato.engines.flat import leaves, results, with_leaves, with_results
from ostinato.engines.padded import at_ends, ends_of, holding_inputs, holding_kernel, in_order, to_full_time
from ostinato.engines.spec import Spec, autocast
from ostinato.recurrence.base import Problem, Recurrence, Scanned
from ostinato.recurrence.directions import Directions, join, split
from ostinato.recurrence.gru import GRU
from ostinato.recurrence.lstm import LSTM
from ostinato.recurrence.masks import turned
from ostinato.recurrence.nests import flatten
from ostinato.recurrence.simple_rnn import SimpleRNN


class Device(NamedTuple):
    """What torch's kernels take on a device.

    steps: how many at a time. cudnn: whether they are cuDNN's, which wants weights in one buffer, takes rows that end
    early packed, and runs two directions at once. On a CPU packing costs more than the steps that it saves.
    """

    dtypes: tuple[torch.dtype, ...]
    steps: int
    cudnn: bool


_DEVICES = {
    "cpu": Device((torch.float32, torch.float64, torch.bfloat16), sys.maxsize, cudnn=False),
    "cuda": Device((torch.float32, torch.float64, torch.float16, torch.bfloat16), 65_535, cudnn=True),
}


class Weights(NamedTuple):
    """One direction's weights as torch wants them: `(gates * units, features)`, `(gates * units, units)`, biases."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor
    b_hh: Tensor


class Graph(NamedTuple):
    """A graph of torch's from `tensors`, those of `leaves(problem)`, to `outputs`, in the order of `results`."""

    tensors: list[Tensor | None]
    outputs: list[Tensor]

    def backward(self, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients for the tensors, from those of the outputs."""
        pairs = [(y, g) for y, g in zip(self.outputs, grads, strict=True) if g is not None and y.requires_grad]
        wanted = [x for x in self.tensors if x is not None and x.requires_grad]
        if not pairs or not wanted:
            return [None] * len(self.tensors)
        # Kept, for the graph around may be walked again; it goes when that one goes.
        found = torch.autograd.grad(
            [y for y, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True, retain_graph=True
        )
        rest = iter(found)
        return [next(rest) if x is not None and x.requires_grad else None for x in self.tensors]


class AtenEngine:
    """Runs `torch.lstm` and its like, under the conditions that cuDNN has: those of Keras's guide."""

    name = "aten"
    differentiable = False
    runs_cudnn = True

    def refuses(self, spec: Spec) -> list[str]:
        device = _DEVICES.get(spec.device)
        if device is None:
            return [f"runs on {' or '.join(_DEVICES)}, not on {spec.device}"]
        reasons = []
        if spec.dtype not in device.dtypes:
            names = [str(dtype).removeprefix("torch.") for dtype in device.dtypes]
            reasons.append(f"takes {', '.join(names)} on {spec.device}")
        elif spec.dtype is torch.bfloat16 and not device.cudnn and not onednn.knows(spec.kind, spec.dtype):
            reasons.append(
                "takes bfloat16 on cpu only as oneDNN knows it, for an lstm: else it rounds more than the loop"
            )
        if spec.autocast is not None and not device.cudnn:
            reasons.append("would keep the state in the lower precision of torch.autocast, not the products only")
        if spec.kind is Directions:
            return reasons + _reasons_for_two(spec, device)
        return reasons + _reasons(spec.kind, spec.facts)

    def forward(self, problem: Problem) -> tuple[Scanned, Graph | onednn.Run | None]:
        if onednn.takes(problem):
            return onednn.forward(problem)
        if not problem.gradients:
            with torch.no_grad():
                return _run(problem), None
        tensors = [None if x is None else x.detach().requires_grad_(x.requires_grad) for x in leaves(problem)]
        with torch.enable_grad():
            scanned = _run(with_leaves(problem, tensors))
        outputs = results(scanned)
        return with_results(scanned, [y.detach() for y in outputs]), Graph(tensors, outputs)

    def backward(self, saved: Graph | onednn.Run, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        return saved.backward(grads)


def _reasons(kind: type[Recurrence], facts: dict[str, Any]) -> list[str]:
    """What of the recurrence's options torch's kernels cannot do."""
    if kind not in _FUNCTIONS:
        return [f"takes lstm, gru and simple_rnn, not {kind.name}"]
    wanted: dict[str, tuple[str, ...]] = {"activation": ("tanh",), "recurrent_activation": ("sigmoid",)}
    if kind is SimpleRNN:
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


def _reasons_for_two(spec: Spec, device: Device) -> list[str]:
    """What of two directions a single call cannot do."""
    reasons = [] if device.cudnn else [f"runs two directions one by one on {spec.device}, where that is as fast"]
    (kind, forward), (other, backward) = spec.options
    states = spec.widths[1:]
    half = len(states) // 2
    if kind is not other or forward != backward or states[:half] != states[half:]:
        reasons.append("runs two directions at once only if they are alike")
    both = [(each, each.facts(options)) for each, options in spec.options]
    if any(facts.get("dropout") is not None for _, facts in both):
        reasons.append("runs two directions at once on the same inputs only, not under dropout masks of their own")
    return reasons + list(dict.fromkeys([reason for each, facts in both for reason in _reasons(each, facts)]))


# -- running ----------------------------------------------------------------------------------------------------------


def _run(problem: Problem) -> Scanned:
    """The problem, differentiable by torch."""
    device = problem.inputs.device.type
    lower = autocast(device)
    if lower is None or problem.inputs.dtype is torch.float64:
        return _run_plainly(problem)
    like = flatten(problem.state)[0].dtype  # which the results have whatever happens inside
    tensors = [None if x is None else x.to(lower) for x in leaves(problem)]
    with torch.autocast(device, enabled=False):
        scanned = _run_plainly(with_leaves(problem, tensors))
    return with_results(scanned, [y.to(like) for y in results(scanned)])


def _run_plainly(problem: Problem) -> Scanned:
    recurrence, device = problem.recurrence, _DEVICES[problem.inputs.device.type]
    if isinstance(recurrence, Directions):
        if problem.inputs.shape[0] <= device.steps:
            return _run_two(problem, device)
        return join(*(_run_plainly(half) for half in split(problem)))
    grows = _FUNCTIONS[type(recurrence)](recurrence) is torch.rnn_relu  # without end, past the end of a row
    if problem.lengths is None or device.cudnn or grows:
        return _run_one(problem, device)
    return _run_padded(problem, device)


def _run_one(problem: Problem, device: Device) -> Scanned:
    """One direction, as many steps at a time as the device takes; rows that end early are packed."""
    recurrence: Any = problem.recurrence
    inputs, lengths, state = problem.inputs, problem.lengths, tuple(problem.state)
    if problem.reverse:
        inputs = inputs.flip(0) if lengths is None else turned(inputs, lengths)
    if recurrence.dropout is not None:
        inputs = inputs * recurrence.dropout
    weights = _weights(recurrence, recurrence.kernel)
    chunks, last = [], torch.zeros_like(state[0])
    for start in range(0, inputs.shape[0], device.steps):
        chunk = inputs[start : start + device.steps]
        left = None if lengths is None else (lengths - start).clamp(0, chunk.shape[0])
        outputs, new = _call_one(problem, device, chunk, left, state, weights)
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


def _run_padded(problem: Problem, device: Device) -> Scanned:
    """One direction, rows that end early run on to the end."""
    recurrence: Any = problem.recurrence
    lengths: Any = problem.lengths
    kernel, state, ends = recurrence.kernel, tuple(problem.state), ends_of(lengths)
    inputs = in_order(problem, ends)
    if recurrence.dropout is not None:
        inputs = inputs * recurrence.dropout
    if type(recurrence) is LSTM:
        inputs, kernel = holding_inputs(inputs, ends), holding_kernel(kernel)
    outputs, new = _call_one(problem, device, inputs, None, state, _weights(recurrence, kernel))
    last, state = at_ends(ends, outputs, new, state)
    return Scanned(to_full_time(outputs, problem.inputs.shape[0]) if problem.sequences else None, last, state)


def _run_two(problem: Problem, device: Device) -> Scanned:
    """Both directions in one call."""
    halves: Any = problem.recurrence
    lengths = problem.lengths
    states = tuple(torch.stack(pair) for pair in zip(*problem.state, strict=True))
    weights = [_weights(half, half.kernel) for half in (halves.forward, halves.backward)]
    outputs, new = _call(problem, device, problem.inputs, lengths, states, weights)
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


def _call_one(
    problem: Problem,
    device: Device,
    inputs: Tensor,
    lengths: Tensor | None,
    state: tuple[Tensor, ...],
    weights: Weights,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`_call` for one direction, with states `(batch, units)`."""
    outputs, new = _call(problem, device, inputs, lengths, tuple(h[None] for h in state), [weights])
    return outputs, tuple(h[0] for h in new)


def _call(
    problem: Problem,
    device: Device,
    inputs: Tensor,
    lengths: Tensor | None,
    states: tuple[Tensor, ...],
    weights: list[Weights],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Torch's function on `(time, batch, features)` and states `(directions, batch, units)`.

    Returns outputs `(time, batch, directions * units)`, zeros after a row's length, and the final states, of no meaning
    for a row of length 0. Outputs have no meaning if the problem asks for the last one only.
    """
    recurrence = problem.recurrence
    each = recurrence.forward if isinstance(recurrence, Directions) else recurrence
    function = _FUNCTIONS[type(each)](each)
    flat = _in_one_buffer(weights) if device.cudnn else [w for one in weights for w in one]
    options = (flat, True, 1, 0.0, problem.gradients, len(weights) == 2)
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
    """States as torch and cuDNN want them: contiguous, and a lone one is no tuple."""
    whole = [h.contiguous() for h in states]
    return whole[0] if len(whole) == 1 else whole


_FUNCTIONS: dict[type[Recurrence], Callable[[Any], Callable[..., Any]]] = {
    LSTM: lambda _: torch.lstm,
    GRU: lambda _: torch.gru,
    SimpleRNN: lambda recurrence: torch.rnn_relu if recurrence.activation is torch.relu else torch.rnn_tanh,
}


# -- weights ----------------------------------------------------------------------------------------------------------


def _weights(recurrence: Any, kernel: Tensor) -> Weights:
    """The weights of a recurrence as torch wants them; its gates of a GRU are r, z, n, Keras's z, r, h.

    Zeros stand for a bias that there is not: cuDNN keeps a place for it anyway.
    """
    swap = _swapped if type(recurrence) is GRU else _as_it_is
    recurrent_kernel, bias = recurrence.recurrent_kernel, recurrence.bias
    b_ih = b_hh = kernel.new_zeros(kernel.shape[1])
    if bias is not None and bias.dim() == 2:
        b_ih, b_hh = swap(bias).unbind(0)
    elif bias is not None:
        b_ih = bias
    # Contiguous, for strides of their own would change how products round.
    w_ih, w_hh = (swap(weight.contiguous()).t() for weight in (kernel, recurrent_kernel))
    return Weights(w_ih, w_hh, b_ih.contiguous(), b_hh)


def _as_it_is(weight: Tensor) -> Tensor:
    return weight


def _swapped(weight: Tensor) -> Tensor:
    z, r, h = weight.chunk(3, dim=-1)
    return torch.cat([r, z, h], dim=-1)


def _in_one_buffer(weights: list[Weights]) -> list[Tensor]:
    """The weights as views of one buffer, in cuDNN's order: the matrices of all directions, then all biases.

    Laid otherwise, torch would copy them once more, and warn.
    """
    matrices = [w for one in weights for w in (one.w_ih, one.w_hh)]
    biases = [b for one in weights for b in (one.b_ih, one.b_hh)]
    buffer = torch.cat([w.reshape(-1) for w in (*matrices, *biases)])
    pieces = buffer.split([w.numel() for w in (*matrices, *biases)])
    views = [piece.view(w.shape) for piece, w in zip(pieces, (*matrices, *biases), strict=True)]
    return list(_by_direction(views, len(weights)))


def _by_direction(views: list[Tensor], directions: int) -> Iterator[Tensor]:
    """From all matrices, then all biases, to torch's order: the matrices and biases of one direction, then the next."""
    for first in range(0, 2 * directions, 2):
        yield from views[first : first + 2]
        yield from views[2 * directions + first : 2 * directions + first + 2]


ATEN = AtenEngine()
