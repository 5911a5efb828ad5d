"""Plain torch modules called on symbolic tensors: one node each, whatever their forward does.

torch gives no other hold on a module's call than its global hooks. They are in place only while a functional model is
being drawn: from `Input` until the model that takes this input is made.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch._guards import CompileContext
from torch.nn.modules.module import (
    _global_forward_hooks_with_kwargs,
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.nn.utils.stateless import _reparametrize_module

from ostinato.core.context import inferring_shapes
from ostinato.core.shapes import Shape
from ostinato.core.symbolic import (
    WATCHED,
    Node,
    SymbolicTensor,
    TensorSpec,
    eagerly,
    has_symbolic,
    infer,
    meta_copies,
    record,
    records_itself,
    replace_leaves,
    stand_in,
)

_OPEN: weakref.WeakSet[SymbolicTensor] = weakref.WeakSet()
_PENDING: list[tuple[torch.nn.Module, tuple[Any, ...], contextlib.ExitStack]] = []


def input_symbol(shape: Shape, dtype: torch.dtype | None, call: Any) -> SymbolicTensor:
    """The symbolic tensor of a graph's input; `call` is what stands for the input in the graph."""
    symbol: SymbolicTensor = Node(call, (), {}, TensorSpec(shape, dtype)).outputs
    open_inputs([symbol])
    return symbol


def open_inputs(inputs: Iterable[SymbolicTensor]) -> None:
    """A model is being drawn from these inputs: watch the calls of plain modules."""
    for symbol in inputs:
        if symbol not in _OPEN:
            _OPEN.add(symbol)
            weakref.finalize(symbol, _forget).atexit = False  # one that no model ever took
    if not WATCHED:
        WATCHED.append(register_module_forward_pre_hook(_before))  # type: ignore[arg-type]
        WATCHED.append(register_module_forward_hook(_after, with_kwargs=True, always_call=True))


def close_inputs(inputs: Iterable[SymbolicTensor]) -> None:
    """The model with these inputs is made; when no other is being drawn, stop watching."""
    for symbol in inputs:
        _OPEN.discard(symbol)
    if next(iter(_OPEN), None) is None:
        while WATCHED:
            handle = WATCHED.pop()
            handle.remove()
            _global_forward_hooks_with_kwargs.pop(handle.id, None)  # which torch forgets, and takes for a hook


def _forget() -> None:
    """An input is gone. While torch compiles, with the hooks among its guards, they stay; until it is done."""
    compiling = CompileContext.try_get()
    if compiling is None:
        close_inputs(())
    else:
        weakref.finalize(compiling, _forget).atexit = False


@contextlib.contextmanager
def drawing(symbol: SymbolicTensor) -> Iterator[None]:
    """A model is being drawn from this input while the block runs."""
    open_inputs([symbol])
    try:
        yield
    finally:
        close_inputs([symbol])


def _before(module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Let the module's own code run on the meta device: its result is thrown away."""
    if records_itself(module) or not has_symbolic(args, {}):
        return None
    stack = contextlib.ExitStack()
    stack.enter_context(torch.no_grad())
    stack.enter_context(inferring_shapes())
    stack.enter_context(eagerly(module))
    stack.enter_context(_reparametrize_module(module, meta_copies(module)))
    _PENDING.append((module, args, stack))
    return replace_leaves(args, stand_in)


def _after(module: torch.nn.Module, args: tuple[Any, ...], *rest: Any) -> Any:
    """Put a node in place of the module's result; after an exception (no kwargs are handed over) only clean up."""
    if not _PENDING or _PENDING[-1][0] is not module:
        return None
    _, args, stack = _PENDING.pop()
    stack.close()
    if len(rest) < 2:
        return None
    return record(module, args, rest[0], infer(module, args, rest[0]))
