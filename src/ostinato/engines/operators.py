"""The recurrences as torch operators, `torch.ops.ostinato.lstm` and its like: what compilers and exporters see.

Eager calls do not come this way. A compiler cannot look into an engine, so it gets one opaque operator per recurrence,
with a shape function and a backward operator. The backward operator runs the forward again: what an engine saves is its
own affair and does not fit into an operator's signature.

`lstm(inputs, state, weights, lengths, options, reverse, sequences, cudnn) -> [outputs?, last, *state]` with inputs
`(time, batch, features)`, state and weights as lists of tensors in the recurrence's order, absent weights left out and
named in options: a text of `name=value` such as `activation=tanh bias=1 dropout=None`, with an activation's name, a
truth, or the rank of an optional tensor.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from ostinato.engines import reference, select
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.engines.spec import spec_of
from ostinato.recurrence.activations import KNOWN, activation_name
from ostinato.recurrence.base import Problem, Recurrence, Scanned, fields_of
from ostinato.recurrence.gru import GRU
from ostinato.recurrence.lstm import LSTM
from ostinato.recurrence.simple_rnn import SimpleRNN

RECURRENCES: dict[str, type[Recurrence]] = {"simple_rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}
_ARGUMENTS = (
    "Tensor inputs, Tensor[] state, Tensor[] weights, Tensor? lengths, str options, bool reverse, bool sequences, "
    "bool? cudnn"
)


def expresses(problem: Problem) -> bool:
    """Whether the problem can be written as an operator call: a recurrence of the table, with known activations."""
    recurrence = problem.recurrence
    return RECURRENCES.get(recurrence.name) is type(recurrence) and "custom" not in _facts(recurrence).values()


def run(problem: Problem) -> Scanned:
    """The problem through its operator."""
    fields = fields_of(type(problem.recurrence))
    tensors = [getattr(problem.recurrence, name) for name in fields.tensors]
    weights = [tensor for tensor in tensors if tensor is not None]
    operator = getattr(torch.ops.ostinato, problem.recurrence.name)
    found = operator(
        problem.inputs,
        list(problem.state),
        weights,
        problem.lengths,
        _options(problem.recurrence),
        problem.reverse,
        problem.sequences,
        problem.cudnn,
    )
    outputs, last, *state = found if problem.sequences else [None, *found]
    return Scanned(outputs, last, tuple(state))


def _options(recurrence: Recurrence) -> str:
    return " ".join([f"{name}={value}" for name, value in _facts(recurrence).items()])


_PLAIN = {"None": None, "True": True, "False": False}


def _parsed(options: str) -> dict[str, Any]:
    pairs = [pair.split("=") for pair in options.split()]
    return {name: _PLAIN.get(value, KNOWN.get(value, value)) for name, value in pairs}


def _facts(recurrence: Recurrence) -> dict[str, Any]:
    """`facts(options())`, written so that torch.compile can look into it: it asks while it traces."""
    fields = fields_of(type(recurrence))
    statics = {name: getattr(recurrence, name) for name in fields.statics}
    tensors = {name: getattr(recurrence, name) for name in fields.optional}
    return {
        **{name: activation_name(value) if callable(value) else value for name, value in statics.items()},
        **{name: None if value is None else value.dim() for name, value in tensors.items()},
    }


def _problem(
    name: str,
    inputs: Tensor,
    state: list[Tensor],
    weights: list[Tensor],
    lengths: Tensor | None,
    options: str,
    reverse: bool,
    sequences: bool,
    cudnn: bool | None,
) -> Problem:
    cls, rest, facts = RECURRENCES[name], iter(weights), _parsed(options)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        value = facts.get(field.name, "required")
        if field.metadata.get("static"):
            values[field.name] = value
        else:
            values[field.name] = None if value is None else next(rest)
    recurrence = cls(**values)
    return Problem(recurrence, inputs, tuple(state), None, lengths, reverse, sequences, cudnn=cudnn)


def _register(library: torch.library.Library, name: str) -> None:
    library.define(f"{name}({_ARGUMENTS}) -> Tensor[]")
    library.define(f"{name}_backward(Tensor[] grads, {_ARGUMENTS}) -> Tensor[]")

    def forward(*arguments: Any) -> list[Tensor]:
        problem = _problem(name, *arguments)
        with torch.no_grad():
            scanned = select.engine_for(problem, spec_of(problem)).forward(problem)[0]
        # An operator's results are its own: no input, no view, no two the same (h is both output and state).
        return [result.clone(memory_format=torch.contiguous_format) for result in results(scanned)]

    def forward_shapes(*arguments: Any) -> list[Tensor]:
        problem = _problem(name, *arguments)
        time = problem.inputs.shape[0]
        states = [h.new_empty(h.shape) for h in problem.state]
        last = problem.state[0]
        outputs = [last.new_empty((time, *last.shape))] if problem.sequences else []
        return [*outputs, last.new_empty(last.shape), *states]

    def backward(grads: list[Tensor], *arguments: Any) -> list[Tensor]:
        problem = _problem(name, *arguments)
        tensors = leaves(problem)
        engine = select.engine_for(problem, spec_of(problem)._replace(gradients=True))
        # Which gradients are wanted does not reach an operator: all are.
        wanting = [x if x is None else x.detach().requires_grad_() for x in tensors]
        problem = dataclasses.replace(with_leaves(problem, wanting), gradients=True)
        with torch.no_grad():
            saved = engine.forward(problem)[1]
            found = engine.backward(saved, grads)
        return [
            torch.zeros_like(x) if g is None else g.contiguous()
            for x, g in zip(tensors, found, strict=True)
            if x is not None
        ]

    def backward_shapes(grads: list[Tensor], *arguments: Any) -> list[Tensor]:
        return [x.new_empty(x.shape) for x in leaves(_problem(name, *arguments)) if x is not None]

    def keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
        x, state, weights, lengths, *ctx.options = inputs
        ctx.states = len(state)
        ctx.save_for_backward(x, *state, *weights, *([] if lengths is None else [lengths]))
        ctx.has_lengths = lengths is not None

    def differentiate(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
        x, *rest = ctx.saved_tensors
        lengths = rest.pop() if ctx.has_lengths else None
        state, weights = rest[: ctx.states], rest[ctx.states :]
        if torch.is_grad_enabled():  # to be differentiated in turn
            problem = _problem(name, x, state, weights, lengths, *ctx.options)
            tensors = reference.differentiate(problem, grads, create_graph=True)
            dx, *found = [g for g, tensor in zip(tensors, leaves(problem), strict=True) if tensor is not None]
        else:
            operator = getattr(torch.ops.ostinato, f"{name}_backward")
            dx, *found = operator(grads, x, state, weights, lengths, *ctx.options)
        return dx, found[: ctx.states], found[ctx.states :], None, None, None, None, None

    library.impl(name, forward, "CompositeExplicitAutograd")
    library.impl(f"{name}_backward", backward, "CompositeExplicitAutograd")
    torch.library.register_fake(f"ostinato::{name}", forward_shapes, lib=library)
    torch.library.register_fake(f"ostinato::{name}_backward", backward_shapes, lib=library)
    torch.library.register_autograd(f"ostinato::{name}", differentiate, setup_context=keep, lib=library)


_LIBRARY = torch.library.Library("ostinato", "DEF")  # lives as long as the process: the operators go with it
for _name, _class in RECURRENCES.items():
    _register(_LIBRARY, _name)
    fields_of(_class)  # known from now on: a compiler that traces a call cannot ask a class for its fields
