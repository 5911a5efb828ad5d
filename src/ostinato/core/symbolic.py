"""Symbolic tensors: what a functional model is drawn with.

A layer, module or torch function called on a symbolic tensor computes nothing; it adds a node to a graph.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.core.context import inferring_shapes
from ostinato.core.shapes import Shape
from ostinato.recurrence.nests import Nest, flatten, map_nest, remade

_COUNTER = itertools.count()


class TensorSpec(NamedTuple):
    """Shape (None = unknown) and dtype (None = any) of a tensor that is not there yet."""

    shape: Shape
    dtype: torch.dtype | None


class Node:
    """One call in a graph: what was called, on what, giving what.

    call: a layer, a torch module or an `Operation`; args, kwargs: nests with symbolic tensors where tensors will be.
    """

    def __init__(self, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], spec: Nest) -> None:
        self.call, self.args, self.kwargs = call, args, kwargs
        self.number = next(_COUNTER)
        self.outputs = map_nest(lambda each: SymbolicTensor(each, self), spec, _is_spec)

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic tensors among the arguments, in order."""
        return symbolic_leaves(self.args, self.kwargs)


class SymbolicTensor:
    """A tensor of a functional model before there is data: a shape with None for the unknown, and a dtype.

    Arithmetic, indexing, tensor methods and torch functions on it give symbolic tensors.
    """

    def __init__(self, spec: TensorSpec, node: Node | None) -> None:
        self.shape, self.dtype, self.node = spec.shape, spec.dtype, node

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape} dtype={self.dtype}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} has no value: a functional model cannot branch on data.")

    def __iter__(self) -> Iterator[SymbolicTensor]:
        raise TypeError(f"{self!r} cannot be iterated over; index it, or use torch.unbind.")

    def __eq__(self, other: object) -> Any:
        # Two symbolic tensors compare as objects: lists, dicts and sets need to tell them apart.
        return record_function(operator.eq, (self, other), {}) if _is_value(other) else self is other

    def __ne__(self, other: object) -> Any:
        symbolic = isinstance(other, SymbolicTensor) or _is_value(other)
        return record_function(operator.ne, (self, other), {}) if symbolic else self is not other

    __hash__ = object.__hash__

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self!r} has no value: it cannot become a NumPy array.")

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return record_function(function, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by copy and pickle, of a tensor that is not there yet
            raise AttributeError(f"SymbolicTensor has no attribute {name!r}.")
        method = getattr(Tensor, name, None)
        if method is None:
            raise AttributeError(f"{self!r} has no attribute {name!r}.")
        if not callable(method):
            return record_function(operator.attrgetter(name), (self,), {}, name)
        return lambda *args, **kwargs: record_function(method, (self, *args), kwargs)


def _is_value(other: Any) -> bool:
    return isinstance(other, (int, float, Tensor))


def _operator(name: str, reflected: bool = False) -> Callable[..., Any]:
    function = getattr(operator, name)

    def apply(self: SymbolicTensor, *others: Any) -> Any:
        return record_function(function, (*others, self) if reflected else (self, *others), {})

    return apply


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    setattr(SymbolicTensor, f"__{_name}__", _operator(_name))
    setattr(SymbolicTensor, f"__r{_name}__", _operator(_name, reflected=True))
for _name in ("neg", "abs", "invert", "getitem", "lt", "le", "gt", "ge"):
    setattr(SymbolicTensor, f"__{_name}__", _operator(_name))
for _name in ("and_", "or_", "xor"):
    setattr(SymbolicTensor, f"__{_name.rstrip('_')}__", _operator(_name))


class Operation(torch.nn.Module):
    """A torch function as a node of a graph; the parameters and tensors caught in its arguments are its own."""

    def __init__(self, function: Callable[..., Any], name: str, caught: list[Tensor]) -> None:
        super().__init__()
        self.function, self.name = function, name
        self._slots: list[str] = []
        for index, tensor in enumerate(caught):
            if isinstance(tensor, torch.nn.Parameter):
                self.register_parameter(f"parameter_{index}", tensor)
                self._slots.append(f"parameter_{index}")
            elif tensor.requires_grad:
                raise ValueError(
                    f"torch.{name} on a symbolic tensor: a tensor of shape {tuple(tensor.shape)} that requires grad "
                    f"but is no Parameter would be lost to the model. Make it a Parameter, or a layer's weight."
                )
            else:
                self.register_buffer(f"constant_{index}", tensor, persistent=False)
                self._slots.append(f"constant_{index}")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The function on arguments in which each `Caught` stands for a tensor of the operation's own."""
        args, kwargs = replace_leaves(
            (args, kwargs), lambda leaf: getattr(self, self._slots[leaf.slot]) if isinstance(leaf, Caught) else leaf
        )
        return self.function(*args, **kwargs)


@dataclasses.dataclass(frozen=True)
class Caught:
    """In the arguments of an operation's node: the place of its slot-th own tensor."""

    slot: int


def symbolic_leaves(*nests: Nest) -> list[SymbolicTensor]:
    """The symbolic tensors in nests, in order."""
    return [leaf for nest in nests for leaf in walk(nest) if isinstance(leaf, SymbolicTensor)]


def has_symbolic(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a symbolic tensor is among the arguments."""
    for each in args:
        if isinstance(each, SymbolicTensor) or (isinstance(each, (list, tuple, dict)) and symbolic_leaves(each)):
            return True
    return len(kwargs) > 0 and len(symbolic_leaves(kwargs)) > 0  # the compiler of torch 2.11 knows no bool(dict)


def record(call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], spec: Nest) -> Nest:
    """Add a node to the graph; returns its symbolic outputs."""
    return Node(call, args, kwargs, spec).outputs


def record_function(function: Any, args: Any, kwargs: dict[str, Any], name: str = "") -> Nest:
    """Add a node for a torch function, with the tensors among its arguments as its own.

    name: the attribute's name, where `function` reads one.
    """
    refuse_unwatched()
    caught: list[Tensor] = []

    def catch(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        known = next((i for i, each in enumerate(caught) if each is leaf), None)
        if known is None:
            caught.append(leaf)
        return Caught(len(caught) - 1 if known is None else known)

    args, kwargs = replace_leaves((tuple(args), dict(kwargs)), catch)
    operation = Operation(function, name or getattr(function, "__name__", "function"), caught)
    return record(operation, args, kwargs, infer(operation, args, kwargs))


WATCHED: list[Any] = []
"""Not empty while calls of plain torch modules are watched (see `modules`)."""


def records_itself(module: torch.nn.Module) -> bool:
    """Whether a module's call on symbolic tensors adds a node by itself: layers and operations do."""
    return isinstance(module, Operation) or getattr(type(module), "records_itself", False)


def refuse_unwatched() -> None:
    """Raise if a torch function meets a symbolic tensor inside a plain module whose call nobody watches.

    Recorded function by function, such a module would lose its mode and its parameters' names.
    """
    if WATCHED:
        return
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code is torch.nn.Module._call_impl.__code__ and not records_itself(frame.f_locals["self"]):
            raise ValueError(
                f"{describe_call(frame.f_locals['self'])} was called on a symbolic tensor of a model that is already "
                f"made. Start from model.inputs or model.outputs to draw on, or make the module part of a Sequential."
            )
        frame = frame.f_back


def replace_leaves(nest: Nest, replace: Callable[[Any], Any]) -> Nest:
    """`nest` with each leaf replaced; slices, which indexing is made of, are walked into too."""
    if isinstance(nest, slice):
        return slice(*(replace_leaves(each, replace) for each in (nest.start, nest.stop, nest.step)))
    if isinstance(nest, dict):
        return {key: replace_leaves(value, replace) for key, value in nest.items()}
    if isinstance(nest, (list, tuple)) and not isinstance(nest, torch.Size):
        return remade(nest, [replace_leaves(each, replace) for each in nest])
    return replace(nest)


def walk(nest: Nest) -> Iterator[Any]:
    """The leaves of a nest, dicts in the order of their making."""
    if isinstance(nest, (list, tuple)):
        for each in nest:
            yield from walk(each)
    elif isinstance(nest, dict):
        for each in nest.values():
            yield from walk(each)
    else:
        yield nest


def _is_spec(value: Any) -> bool:
    return isinstance(value, TensorSpec)


# A batch and other unknown sizes, in two runs: what differs between the runs is unknown in the result.
_SIZES = ((3, 7), (5, 11))


def infer(call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Nest:
    """What a call gives for symbolic arguments: a nest of TensorSpecs, from two runs on the meta device.

    Raises ValueError, with what torch said, where the call cannot run on such shapes.
    """
    first, second = (_run_on_meta(call, args, kwargs, sizes) for sizes in _SIZES)
    pairs = iter(zip(flatten(first), flatten(second), strict=True))

    def merge(_: Any) -> TensorSpec:
        a, b = next(pairs)
        if not isinstance(a, Tensor):
            raise TypeError(f"{describe_call(call)} gave {a!r} for symbolic inputs; expected tensors only.")
        return TensorSpec(tuple(x if x == y else None for x, y in zip(a.shape, b.shape, strict=True)), a.dtype)

    return map_nest(merge, first)


def stand_in(leaf: Any, sizes: tuple[int, int] = _SIZES[0]) -> Any:
    """A tensor without data for a symbolic one, with sizes (batch, other) for the unknown; anything else as it is."""
    if not isinstance(leaf, SymbolicTensor):
        return leaf
    shape = tuple(sizes[min(i, 1)] if n is None else n for i, n in enumerate(leaf.shape))
    return torch.empty(shape, dtype=leaf.dtype or torch.get_default_dtype(), device="meta")


def _run_on_meta(call: Any, args: Any, kwargs: Any, sizes: tuple[int, int]) -> Nest:
    real_args, real_kwargs = replace_leaves((args, kwargs), lambda leaf: stand_in(leaf, sizes))
    try:
        with torch.no_grad(), inferring_shapes(), eagerly(call):
            return on_meta(call, real_args, real_kwargs)
    except (RuntimeError, NotImplementedError, IndexError) as error:
        shapes = ", ".join(str(leaf.shape) for leaf in symbolic_leaves(args, kwargs))
        raise ValueError(f"{describe_call(call)} cannot run on symbolic inputs of shape {shapes}: {error}") from error


@contextlib.contextmanager
def eagerly(module: torch.nn.Module) -> Iterator[None]:
    """While the block runs, compiled modules run as they were written: shapes need no compiler."""
    if any("_orig_mod" in each._modules for each in module.modules()):  # what torch.compile made
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield


def on_meta(module: torch.nn.Module, args: Any, kwargs: Any) -> Nest:
    """The module's output on the meta device, with copies of its weights that hold no data."""
    return torch.func.functional_call(module, meta_copies(module), args, kwargs)


def meta_copies(module: torch.nn.Module) -> dict[str, Tensor]:
    """Copies of a module's parameters and buffers that hold no data, by name."""
    named = itertools.chain(module.named_parameters(), module.named_buffers())
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in named}


def describe_call(call: Any) -> str:
    """What was called, for messages: `LSTM 'encoder'`, `torch.relu`, `Linear`."""
    if isinstance(call, Operation):
        return f"torch.{call.name}"
    name = getattr(call, "name", None)
    return f"{type(call).__name__} {name!r}" if isinstance(name, str) else type(call).__name__
