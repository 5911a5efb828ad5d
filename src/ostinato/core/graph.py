"""A drawn model: the nodes between its inputs and outputs, in order, and how to run them."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.modules.module import _has_any_global_hook

from ostinato.core.context import CONTEXT
from ostinato.core.layer import Layer
from ostinato.core.masks import mask_of, spread, unwrapped
from ostinato.core.symbolic import Node, Operation, SymbolicTensor, describe_call, replace_leaves
from ostinato.recurrence.nests import Nest, describe, flatten, is_nested, map_nest, pack_like


@dataclasses.dataclass(frozen=True)
class Slot:
    """In the arguments of a step: the place of a value that an earlier step computed."""

    index: int


@dataclasses.dataclass
class Step:
    """One call: its arguments with slots for values, and the slots its outputs go to."""

    call: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[int]
    plain: int | None  # the slot of the only argument, where there is just one


class Graph:
    """What lies between symbolic inputs and outputs, as steps over numbered values.

    inputs, outputs: nests of symbolic tensors. Raises ValueError if an output depends on an input that is not given.
    """

    def __init__(self, inputs: Nest, outputs: Nest, who: str) -> None:
        self.inputs, self.outputs = inputs, outputs
        starts: list[SymbolicTensor] = flatten(inputs)
        for symbol in starts:
            _node_of(symbol, who)
        self.nodes = _in_order(starts, flatten(outputs), who)
        slots = {id(symbol): index for index, symbol in enumerate(starts)}
        given = {id(symbol.node) for symbol in starts}
        self.steps: list[Step] = []
        for node in self.nodes:
            if id(node) in given:
                continue
            for symbol in flatten(node.outputs):
                slots.setdefault(id(symbol), len(slots))
            args, kwargs = replace_leaves(
                (node.args, node.kwargs),
                lambda leaf: Slot(slots[id(leaf)]) if isinstance(leaf, SymbolicTensor) else leaf,
            )
            only = len(args) == 1 and not kwargs and isinstance(args[0], Slot)
            outs = [slots[id(symbol)] for symbol in flatten(node.outputs)]
            self.steps.append(Step(node.call, args, kwargs, outs, args[0].index if only else None))
        self._count = len(slots)
        self._starts = len(starts)
        self._results = [slots[id(symbol)] for symbol in flatten(outputs)]

    def __getstate__(self) -> dict[str, Any]:
        """What copies take, nodes first: each after those it needs, so that copying is no deeper than a node."""
        return {"nodes": self.nodes, **self.__dict__}

    @property
    def modules(self) -> list[torch.nn.Module]:
        """What is called, each once, inputs included, in Keras's order."""
        return list(dict.fromkeys(node.call for node in self.nodes))

    def run(self, inputs: list[Any], masks: list[Any]) -> tuple[Nest, list[Any]]:
        """The outputs for a flat list of inputs and of their masks; returns (nest of outputs, flat list of masks)."""
        values: list[Any] = [*inputs, *[None] * (self._count - self._starts)]
        kept: list[Any] = [*masks, *[None] * (self._count - self._starts)]
        for step in self.steps:
            if step.plain is not None:
                args, kwargs, mask = (values[step.plain],), {}, kept[step.plain]
            else:
                args, kwargs = replace_leaves(
                    (step.args, step.kwargs), lambda leaf: values[leaf.index] if isinstance(leaf, Slot) else leaf
                )
                mask = _masks_of(step.args[0], kept) if step.args else None
            output, after = call_masked(step.call, args, kwargs, mask)
            leaves = [output] if len(step.outputs) == 1 and not is_nested(output) else flatten(output)
            if len(leaves) != len(step.outputs):
                raise ValueError(
                    f"{describe_call(step.call)} was drawn with {len(step.outputs)} output(s), and gave "
                    f"{describe(output)}. compute_output_shape, or a cell's output_size, must say what comes out."
                )
            for slot, leaf in zip(step.outputs, leaves, strict=True):
                values[slot] = leaf
            if after is not None:
                for slot, each in zip(step.outputs, spread(after, len(leaves)), strict=True):
                    kept[slot] = each
        found = [values[slot] for slot in self._results]
        return pack_like(self.outputs, found), [kept[slot] for slot in self._results]


def call_masked(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], mask: Nest) -> tuple[Any, Nest]:
    """Call any module with the mask of its first input, explicitly; returns (output, mask of the output).

    A layer inside torch.compile or DistributedDataParallel gets its mask as an argument, and is asked for the mask of
    its output: attributes of tensors do not survive those.
    """
    layer = unwrapped(module)
    if not isinstance(layer, Layer):
        if mask is not None and any(each is not None for each in flatten(mask)) and not isinstance(layer, Operation):
            warnings.warn(
                f"{type(layer).__name__} is a plain torch module and carries no mask: layers after it will use every "
                f"step. Wrap it in a Layer with supports_masking = True to pass the mask on.",
                stacklevel=2,
            )
        with in_mode(layer):
            return module(*args, **kwargs), None
    if module is layer and not _is_hooked(layer):
        return layer.call_masked(args, kwargs, mask)
    if mask is not None and layer._call_signature.mask and kwargs.get("mask") is None:
        kwargs = {**kwargs, "mask": mask}
    outputs = module(*args, **kwargs)
    if module is layer and layer.hangs_masks:
        return outputs, mask_of(outputs)
    return outputs, layer.mask_after(args[0], kwargs.get("mask", mask))


def _is_hooked(module: torch.nn.Module) -> bool:
    """Whether calling the module does more than calling its forward."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or module._compiled_call_impl is not None
        or _has_any_global_hook()
    )


@contextlib.contextmanager
def in_mode(module: torch.nn.Module) -> Iterator[None]:
    """While the block runs, a plain module is in the mode of the enclosing call; it cannot ask for it itself."""
    training = CONTEXT.training
    if training is None or module.training is training or isinstance(module, Operation):
        yield
        return
    modes = [(each, each.training) for each in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for each, mode in modes:
            each.training = mode


def _masks_of(template: Nest, masks: list[Any]) -> Nest:
    """The masks of the values that an argument is made of, in its structure; None if there are none."""
    found = map_nest(lambda leaf: masks[leaf.index] if isinstance(leaf, Slot) else None, template)
    return found if any(each is not None for each in flatten(found)) else None


def _in_order(starts: list[SymbolicTensor], ends: list[SymbolicTensor], who: str) -> list[Node]:
    """The nodes from starts to ends, each after those it needs.

    In Keras's order, which is that of `weights` too: by distance from the outputs, the farthest first, and among
    equals as a walk from the outputs meets the modules.
    """
    given = {id(symbol.node) for symbol in starts}
    finished: list[Node] = []
    done: set[int] = set()
    met: dict[int, int] = {}
    stack: list[tuple[Node, bool]] = []
    for end in ends:
        stack.append((_node_of(end, who), False))
        while stack:
            node, ready = stack.pop()
            if ready:
                finished.append(node)
                continue
            if id(node) in done:
                continue
            done.add(id(node))
            met.setdefault(id(node.call), len(met))
            stack.append((node, True))
            if id(node) in given:
                continue
            inputs = node.inputs
            if not inputs:
                source = getattr(node.call, "described", node.call)
                raise ValueError(f"{who}: an output depends on {source}, which is not among the inputs.")
            stack.extend((_node_of(symbol, who), False) for symbol in reversed(inputs))
    depths = {id(node): 0 for node in finished}
    for node in reversed(finished):
        for symbol in [] if id(node) in given else node.inputs:
            before = id(symbol.node)
            depths[before] = max(depths[before], depths[id(node)] + 1)
    for symbol in starts:  # an input that no output needs still has its place
        if symbol.node is not None and id(symbol.node) not in depths:
            finished.append(symbol.node)
            depths[id(symbol.node)] = max(depths.values(), default=0)
            met.setdefault(id(symbol.node.call), len(met))
    return sorted(finished, key=lambda node: (-depths[id(node)], met[id(node.call)], node.number))


def _node_of(symbol: Any, who: str) -> Node:
    if not isinstance(symbol, SymbolicTensor) or symbol.node is None:
        raise ValueError(
            f"{who}: inputs and outputs must be symbolic tensors, made by Input and by calling layers on it; "
            f"got {symbol!r}."
        )
    return symbol.node
