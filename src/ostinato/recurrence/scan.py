"""THE loop: the definition of what every engine must compute."""

from __future__ import annotations

import torch
from torch import Tensor

from ostinato.recurrence.base import Problem, Recurrence, Scanned
from ostinato.recurrence.directions import Directions, join, split
from ostinato.recurrence.masks import mask_of_lengths, turned
from ostinato.recurrence.nests import Nest, flatten, map_nest, pack_like


def scan(problem: Problem) -> Scanned:
    """Run a problem step by step with torch's own operations, which torch can differentiate, any number of times.

    >>> import torch
    >>> from ostinato.recurrence import SimpleRNN
    >>> one = SimpleRNN(torch.ones(1, 1), torch.ones(1, 1), activation=lambda x: x)
    >>> scan(Problem(one, torch.ones(3, 1, 1), (torch.zeros(1, 1),))).outputs.flatten().tolist()
    [1.0, 2.0, 3.0]
    """
    if isinstance(problem.recurrence, Directions):
        forward, backward = split(problem)
        return join(scan(forward), scan(backward))
    recurrence, inputs, reverse = problem.recurrence, problem.inputs, problem.reverse
    if reverse and problem.mask is None and problem.lengths is not None:
        inputs, reverse = turned(inputs, problem.lengths), False
    # Products add up in an order by strides: what comes out must not depend on how the inputs lie in memory.
    projected = recurrence.project(map_nest(Tensor.contiguous, inputs))
    slices = [leaf.unbind(0) for leaf in flatten(projected)]
    time = len(slices[0])
    if time == 0:
        return _no_steps(problem)
    mask = problem.mask
    if mask is None and problem.lengths is not None:
        mask = mask_of_lengths(problem.lengths.to(slices[0][0].device), time)
    single = isinstance(projected, Tensor)
    state, output, outputs = problem.state, None, []
    for t in range(time - 1, -1, -1) if reverse else range(time):
        x = slices[0][t] if single else pack_like(projected, [leaf[t] for leaf in slices])
        new_output, new_state = recurrence.step(x, state)
        if mask is None:
            output, state = new_output, new_state
        else:
            held = map_nest(torch.zeros_like, new_output) if output is None else output
            output, state = _choose(mask[t], new_output, held), _choose(mask[t], new_state, state)
        if problem.sequences:
            outputs.append(output)
    stacked = recurrence.readout(_stack(outputs)) if problem.sequences else None
    last = recurrence.readout(output)
    if mask is not None and type(recurrence).readout is not Recurrence.readout:
        # What is held before the first used step is zeros, whatever a readout makes of zeros.
        used = (mask.flip(0) if reverse else mask).cummax(0).values
        stacked = None if stacked is None else zero_unless(used, stacked)
        last = zero_unless(used[-1], last)
    return Scanned(stacked, last, state)


def _choose(keep: Tensor, new: Nest, old: Nest) -> Nest:
    """`new` in the rows where keep is True, else `old`; keep: `(batch,)` bool."""
    chosen = [
        torch.where(keep.reshape(keep.shape + (1,) * (a.dim() - 1)), a, b)
        for a, b in zip(flatten(new), flatten(old), strict=True)
    ]
    return pack_like(new, chosen)


def zero_unless(used: Tensor, outputs: Nest) -> Nest:
    """`outputs` with zeros where not `used`, a flag for each of the leading dimensions."""
    unused = ~used
    return map_nest(
        lambda leaf: leaf.masked_fill(unused.reshape(used.shape + (1,) * (leaf.dim() - used.dim())), 0), outputs
    )


def _stack(outputs: list[Nest]) -> Nest:
    leaves = zip(*(flatten(output) for output in outputs), strict=True)
    return pack_like(outputs[0], [torch.stack(leaf) for leaf in leaves])


def _no_steps(problem: Problem) -> Scanned:
    """An empty sequence: the initial state, and zeros for the last output.

    The shape of an output is what a step gives, so one is taken, on zeros, and only its shape is used; but the zeros
    hang on all that a sequence would hang on, so that gradients are zeros and not missing.
    """
    recurrence = problem.recurrence
    one = map_nest(lambda leaf: leaf.sum(0, keepdim=True).to(leaf.dtype), problem.inputs)
    x = map_nest(lambda leaf: leaf[0], recurrence.project(one))
    output = recurrence.readout(recurrence.step(x, problem.state)[0])
    last = map_nest(lambda leaf: leaf.masked_fill(torch.ones((), dtype=torch.bool, device=leaf.device), 0), output)
    outputs = map_nest(lambda leaf: leaf.unsqueeze(0)[:0], last) if problem.sequences else None
    return Scanned(outputs, last, map_nest(torch.clone, problem.state))
