"""What a recurrence is, what a problem is, and what running one gives."""

from __future__ import annotations

import dataclasses
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ostinato.recurrence.activations import activation_name
from ostinato.recurrence.nests import Nest

STATIC = {"static": True}


class Fields(NamedTuple):
    """The fields of a recurrence: tensors, of these the ones that may be None, and static options."""

    tensors: tuple[str, ...]
    optional: tuple[str, ...]
    statics: tuple[str, ...]
    get_tensors: Callable[[Any], Any]
    get_optional: Callable[[Any], Any]
    get_statics: Callable[[Any], Any]


_FIELDS: dict[type, Fields] = {}  # not functools.cache, which torch.compile warns of and looks through


def fields_of(cls: type) -> Fields:
    """The fields of a recurrence class, and functions that read them as tuples."""
    found = _FIELDS.get(cls)
    if found is None:
        fields = dataclasses.fields(cls)
        statics = tuple(f.name for f in fields if f.metadata.get("static"))
        tensors = tuple(f.name for f in fields if not f.metadata.get("static"))
        optional = tuple(f.name for f in fields if f.name in tensors and f.default is None)
        getters = (_getter(names) for names in (tensors, optional, statics))
        found = _FIELDS[cls] = Fields(tensors, optional, statics, *getters)
    return found


def _getter(names: tuple[str, ...]) -> Callable[[Any], Any]:
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda item: tuple([getattr(item, name) for name in names])


class Recurrence(ABC):
    """A pure step, and the parts of it that need not wait for the step before.

    A recurrence is a dataclass whose fields are tensors (or None), or static hashable options marked with
    `field(metadata=STATIC)`. `project` and `readout` are applied to all time steps at once; only what truly
    depends on the state stands in `step`.

    A state is a nest of tensors `(batch, ...)`. `step` writes no attribute and draws no random number; the new state
    has the structure, shapes and dtypes of the old one, and rows do not see each other.
    """

    name: str = "recurrence"

    def project(self, xs: Nest) -> Nest:
        """`(..., batch, features)` to what `step` takes, for all time steps at once."""
        return xs

    @abstractmethod
    def step(self, x: Nest, state: Nest) -> tuple[Nest, Nest]:
        """One time step: projected input and state to (output, new state)."""

    def readout(self, ys: Nest) -> Nest:
        """What is returned for the outputs of `step`, for any number of leading dimensions."""
        return ys

    def tensors(self) -> tuple[Tensor | None, ...]:
        """The tensor fields, in order; None where an optional one is absent."""
        return fields_of(type(self)).get_tensors(self)

    def replace(self, tensors: Sequence[Tensor | None]) -> Self:
        """The same recurrence over other tensors."""
        return dataclasses.replace(self, **dict(zip(fields_of(type(self)).tensors, tensors, strict=True)))  # type: ignore[type-var]

    def options(self) -> tuple[Any, ...]:
        """What hashes and an engine may decide on: the static fields, and the rank or None of each optional tensor."""
        fields = fields_of(type(self))
        ranks = [None if tensor is None else tensor.dim() for tensor in fields.get_optional(self)]
        return (*fields.get_statics(self), *ranks)

    @classmethod
    def facts(cls, options: tuple[Any, ...]) -> dict[str, Any]:
        """`options()` by field name, activations by the names under which engines know them."""
        fields = fields_of(cls)
        named = [activation_name(value) if callable(value) else value for value in options]
        return dict(zip((*fields.statics, *fields.optional), named, strict=True))


@dataclasses.dataclass(slots=True, eq=False)
class Problem:
    """A recurrence with everything it runs on.

    inputs: nest of tensors `(time, batch, ...)`; views with any strides.
    state: nest of tensors `(batch, ...)`, the state before the first step.
    mask: `(time, batch)` bool, True = use the step; at a step not used the state is held, and so is the output (zeros
        before the first used step).
    lengths: `(batch,)` int64: step t of a row is used if t < its length. With a mask it only says what the mask says
    too,
        so that nobody has to look. Without one, as engines see it, what stands in the inputs after a row's length is
        finite, and so is the output there, and otherwise unspecified. On the inputs' device or on the CPU.
    reverse: run from the last step to the first. Outputs are in processing order; those of lengths without a mask, too:
        the first of a row is that of its last used step.
    sequences: whether the outputs of all steps are wanted, or the last one only. gradients: whether an engine's
    `backward` will be asked, for the tensors that require a gradient, so that it keeps what
        that needs.
    cudnn: True if cuDNN is to run it, and nothing else; False if not cuDNN; None if whatever is fastest.
    owner: who asks, for messages.
    """

    recurrence: Recurrence
    inputs: Nest
    state: Nest
    mask: Tensor | None = None
    lengths: Tensor | None = None
    reverse: bool = False
    sequences: bool = True
    gradients: bool = False
    cudnn: bool | None = None
    owner: str = ""

    def recorded(self) -> Problem:
        """The same problem, with `gradients`."""
        return Problem(
            self.recurrence,
            self.inputs,
            self.state,
            self.mask,
            self.lengths,
            self.reverse,
            self.sequences,
            True,
            self.cudnn,
            self.owner,
        )


@dataclasses.dataclass(slots=True, eq=False)
class Scanned:
    """What running a problem gives.

    outputs: nest of `(time, batch, ...)` in processing order, or None if the problem asked for the last one only.
    last: nest of `(batch, ...)`, the output of the last used step, zeros if there was none.
    state: nest of `(batch, ...)`, the state after the last step, structured as the problem's.
    """

    outputs: Nest | None
    last: Nest
    state: Nest


def affine(xs: Tensor, kernel: Tensor, bias: Tensor | None, dropout: Tensor | None) -> Tensor:
    """`xs @ kernel + bias`, the projection of the input that all steps share.

    xs: `(..., batch, features)`; kernel: `(features, gates * units)`; bias: `(gates * units,)` or None.
    dropout: None, `(batch, features)` for all gates, or `(gates, batch, features)`, a mask for each gate.
    Returns `(..., batch, gates * units)`.
    """
    if dropout is not None and dropout.dim() == 3:
        kernels = kernel.chunk(dropout.shape[0], dim=-1)
        projected = torch.cat([(xs * m) @ k for m, k in zip(dropout.unbind(0), kernels, strict=True)], dim=-1)
        return projected if bias is None else projected + bias
    if dropout is not None:
        xs = xs * dropout
    return torch.nn.functional.linear(xs, kernel.t(), bias)


def recur(x: Tensor | None, h: Tensor, kernel: Tensor, dropout: Tensor | None) -> Tensor:
    """`x + h @ kernel` for one step, with recurrent dropout.

    x: `(batch, gates * units)`, or what broadcasts to it, or None; h: `(batch, units)`; kernel: `(units, gates *
    units)`. dropout: None, `(batch, units)`, or `(gates, batch, units)`, a mask for each gate. Returns `(batch, gates
    * units)`, of the dtype of h: under autocast the products are in lower precision, the state is not.
    """
    if dropout is not None and dropout.dim() == 3:
        kernels = kernel.unflatten(-1, (dropout.shape[0], -1)).movedim(-2, 0)
        recurrent = torch.bmm(h * dropout, kernels).movedim(0, -2).flatten(-2)
        gates = recurrent if x is None else x + recurrent
    else:
        held = h if dropout is None else h * dropout
        gates = held @ kernel if x is None else torch.addmm(x, held, kernel)
    return gates if gates.dtype is h.dtype else gates.to(h.dtype)
