"""The only door to the engines: compacts masks, splits stacks, selects, and differentiates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.engines import operators, select
from ostinato.engines.base import Engine
from ostinato.engines.flat import leaves, results, with_leaves, with_results
from ostinato.engines.reference import differentiate
from ostinato.engines.spec import spec_of, transformed
from ostinato.recurrence.base import Problem, Scanned
from ostinato.recurrence.directions import Directions, join, paired, parts, split
from ostinato.recurrence.masks import compact
from ostinato.recurrence.nests import Nest, map_nest
from ostinato.recurrence.placed import Placed, beside, held
from ostinato.recurrence.scan import scan
from ostinato.recurrence.stack import Stack
from ostinato.recurrence.tracing import traced


def execute(problems: Sequence[Problem]) -> list[Scanned]:
    """Run problems, each on the fastest engine willing to.

    Several at a time (the two directions of a Bidirectional) so that what they share is done once, and an engine may
    run them together.
    """
    pair = paired(problems) if len(problems) == 2 else None
    if pair is None:
        return [_run(problem) for problem in problems]
    return list(parts(_run(pair)))


def _run(problem: Problem) -> Scanned:
    if problem.mask is not None:
        return _run_masked(problem, problem.mask)
    recurrence = problem.recurrence
    kind = type(recurrence)
    if kind is Stack:
        return _run_stack(problem, recurrence)  # type: ignore[arg-type]
    if kind is Directions and not _together(problem, recurrence):  # type: ignore[arg-type]
        forward, backward = split(problem)
        return join(_run(forward), _run(backward))
    if traced():
        # No compiler can look into an engine: it sees an operator, or else the loop. Nor do operators know transforms.
        return operators.run(problem) if operators.expresses(problem) and not transformed() else scan(problem)
    spec = spec_of(problem)
    chosen = select.engine_for(problem, spec)
    if select._observers:
        select.observed(problem.owner, spec, chosen)
    if chosen.differentiable or not spec.gradients:
        return chosen.forward(problem)[0]
    return _differentiable(problem, chosen)


def _run_masked(problem: Problem, mask: Tensor) -> Scanned:
    if mask.dim() > 2:
        return _run_placed(problem, mask)
    compacted = compact(problem.inputs, mask, problem.lengths)
    dense = dataclasses.replace(problem, inputs=compacted.inputs, mask=None, lengths=compacted.lengths)
    scanned = _run(dense)
    if scanned.outputs is None:
        return scanned
    if isinstance(problem.recurrence, Directions):
        forward, backward = scanned.outputs
        outputs: Nest = (compacted.restore(forward), compacted.restore(backward, reverse=True))
    else:
        outputs = compacted.restore(scanned.outputs, problem.reverse)
    return dataclasses.replace(scanned, outputs=outputs)


def _run_placed(problem: Problem, mask: Tensor) -> Scanned:
    """Under a mask of places `(time, batch, *places)`.

    Steps in which no place is used are masked as ever. In others, what stands in a place that is not used is seen from
    the places around it, as in Keras, unless it is not finite.
    """
    if isinstance(problem.recurrence, Directions):
        forward, backward = split(problem)
        return join(_run(forward), _run(backward))
    inputs = map_nest(lambda leaf: leaf.masked_fill(~beside(mask, leaf) & ~leaf.isfinite(), 0), problem.inputs)
    scanned = _run_masked(
        dataclasses.replace(
            problem, recurrence=Placed(problem.recurrence), inputs=(inputs, mask), lengths=None, sequences=True
        ),
        mask.flatten(2).any(2),
    )
    outputs = held(scanned.outputs, mask.flip(0) if problem.reverse else mask)
    last = map_nest(lambda leaf: leaf[-1], outputs) if len(mask) else scanned.last
    return Scanned(outputs if problem.sequences else None, last, scanned.state)


def _together(problem: Problem, halves: Directions) -> bool:
    """Whether one engine is to run both directions at once."""
    if traced() or isinstance(halves.forward, Stack) or isinstance(halves.backward, Stack):
        return False
    return select.together(spec_of(problem), [spec_of(half) for half in split(problem)])


def _run_stack(problem: Problem, stack: Stack) -> Scanned:
    """Each recurrence over the whole sequence before the next, so that each gets an engine of its own."""
    inputs, reverse, states = problem.inputs, problem.reverse, []
    top = len(stack.recurrences) - 1
    for position, (recurrence, state) in enumerate(zip(stack.recurrences, problem.state, strict=True)):
        scanned = _run(
            dataclasses.replace(
                problem,
                recurrence=recurrence,
                inputs=inputs,
                state=state,
                reverse=reverse,
                sequences=problem.sequences or position < top,
            )
        )
        states.append(scanned.state)
        inputs, reverse = scanned.outputs, False  # outputs are in processing order already
    return Scanned(scanned.outputs if problem.sequences else None, scanned.last, tuple(states))


def _differentiable(problem: Problem, engine: Engine) -> Scanned:
    shape: list[Scanned] = []
    tensors = _Recurrent.apply(problem.recorded(), engine, shape, *leaves(problem))
    return with_results(shape[0], tensors)


class _Recurrent(torch.autograd.Function):
    """The only autograd.Function of the house: an engine's forward with the same engine's backward.

    A backward that is itself to be differentiated (`create_graph=True`) differentiates the reference loop instead.
    """

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, engine: Engine, shape: list[Scanned], *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # of results that nobody used
        scanned, ctx.saved = engine.forward(problem)
        shape.append(scanned)
        ctx.engine = engine
        # Results that are no input, as the state after zero steps is; nor the tensors that the engine holds, and may
        # have saved: those would keep their own graph alive for ever.
        given = {id(tensor) for tensor in tensors}
        found = tuple([y.clone() if id(y) in given else y.detach() for y in results(scanned)])
        # Saving the tensors keeps their versions, so that a weight, or a result that the engine needs for its backward,
        # changed in place before backward is an error.
        ctx.save_for_backward(*tensors, *found)
        ctx.problem = problem
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors[: len(ctx.needs_input_grad) - 3]
        if torch.is_grad_enabled():
            problem = with_leaves(ctx.problem, tensors)
            found = differentiate(problem, grads, create_graph=True)
        else:
            found = list(ctx.engine.backward(ctx.saved, grads))
            if not torch._C._autograd._get_current_graph_task_keep_graph():
                ctx.saved = ctx.problem = None  # freed when autograd frees what it saved: results may live on
        wanted = ctx.needs_input_grad[3:]
        return (None, None, None, *[g if want else None for g, want in zip(found, wanted, strict=True)])
