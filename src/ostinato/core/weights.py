"""Weights: torch parameters and buffers with Keras's conveniences."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor

from ostinato.core.context import CONTEXT
from ostinato.ops.tensors import tensor
from ostinato.recurrence.tracing import traced

Function = Callable[[Tensor], Tensor]


class Variable(Tensor):
    """A tensor with Keras's ways of reading and changing it; what is computed from it is a plain tensor.

    A write is in place, and autograd is told: a backward that needs the value from before it raises, as it does for
    any tensor of torch that was written to.

    Source:
        Keras, `backend/common/variables.py`.

    Example:
        >>> import torch, ostinato
        >>> total = ostinato.layers.Layer().add_weight(shape=(2,), initializer="zeros", trainable=False)
        >>> total.assign_add([1.0, 2.0]).value.tolist(), total.assign(total * 3).tolist()
        ([1.0, 2.0], [3.0, 6.0])
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def described(self) -> str:
        """Whose it is and its name, for messages."""
        return "variable"

    @property
    def value(self) -> Tensor:
        """The tensor itself."""
        return self

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """A copy of the values as a NumPy array."""
        return to_numpy(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.numpy(), dtype)

    def assign(self, value: Any) -> Self:
        """Hold another value from now on: numbers, an array or a tensor of the same shape, of any dtype, anywhere.

        Returns the variable. Raises ValueError for another shape, for complex values where there are none, and for
        what is not numbers.
        """
        return self._take(numbers(self, value, lambda: self.described))

    def assign_add(self, value: Any) -> Self:
        """Hold the sum with a value, which is broadcast if it is smaller. Returns the variable; raises as `assign`."""
        mine, other = self._together(numbers(self, value, lambda: self.described))
        return self._take(mine + other)

    def assign_sub(self, value: Any) -> Self:
        """Hold the difference from a value, as `assign_add` does the sum."""
        mine, other = self._together(numbers(self, value, lambda: self.described))
        return self._take(mine - (other.to(mine.dtype) if other.dtype is torch.bool else other))

    def _take(self, value: Tensor) -> Self:
        if value.shape != self.shape:
            raise ValueError(self._misfit(tuple(value.shape)))
        self._hold(value)
        return self

    def _misfit(self, shape: tuple[int, ...]) -> str:
        """The message for a value of another shape."""
        return f"{self.described}: expected shape {tuple(self.shape)}, got {shape}."

    def _together(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """The values of the variable and another one, on one device."""
        return self, value.to(self.device)

    def _hold(self, value: Tensor) -> None:
        write(self, value)


class Owned(Variable):
    """A variable that stands in a layer, which has its constraint and regularizer under its name.

    There they are read and set: what hangs on a tensor is lost by `.to("meta")`, `load_state_dict(assign=True)` and
    pickle. Layers put these conveniences back on what torch put in the place of their weights; nothing in the library
    asks for more than a parameter or a buffer.
    """

    _owner: Any = None  # a weak reference to the layer
    _key = ""  # the name there

    def detach(self) -> Tensor:
        """A plain tensor of the same memory, without a gradient."""
        detached = super().detach()
        # `Parameter(weight)`, which torch's parametrizations call, takes a subclass only if `detach` is of its class.
        if not torch.compiler.is_compiling() and sys._getframe(1).f_code is torch.nn.Parameter.__new__.__code__:
            return torch.Tensor._make_subclass(type(self), detached)
        return detached

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        values = self.data.clone(memory_format=torch.preserve_format)
        made = memo[id(self)] = torch.Tensor._make_subclass(type(self), values, self.requires_grad)
        owner = memo.get(id(self._layer))  # the copy of its layer, if that is being copied
        if owner is not None:
            belong(made, owner, self._key)
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]  # torch names it anew
        return f"{type(self).__name__} containing:\n{Tensor.__repr__(self.data.requires_grad_(self.requires_grad))}"

    def _hold(self, value: Tensor) -> None:
        if not CONTEXT.rehearsing:
            write(self, value)

    @property
    def _layer(self) -> Any:
        return None if self._owner is None else self._owner()

    @property
    def _info(self) -> WeightInfo | None:
        layer = self._layer
        return None if layer is None else layer._weight_info.get(self._key)

    @property
    def described(self) -> str:
        layer = self._layer
        return "weight" if layer is None else f"{layer.described}: weight {self._key!r}"

    @property
    def name(self) -> str:
        """The weight's name in its layer, as in the layer's `state_dict`."""
        return self._key or "weight"

    @property
    def constraint(self) -> Function | None:
        """What puts the weight back among the allowed ones after each step of an optimizer, or None."""
        return None if self._info is None else self._info.constraint

    @constraint.setter
    def constraint(self, value: Function | None) -> None:
        self._replace("constraint", value)

    @property
    def regularizer(self) -> Function | None:
        """What makes a penalty of the weight, or None."""
        return None if self._info is None else self._info.regularizer

    @regularizer.setter
    def regularizer(self, value: Function | None) -> None:
        self._replace("regularizer", value)

    def _replace(self, what: str, value: Function | None) -> None:
        info: Any = self._info
        if value is not None and not callable(value):
            raise ValueError(f"{self.described}: {what} must be callable or None, got {value!r}.")
        if info is None:
            raise ValueError(
                f"{self.described}: it is no layer's weight yet, or no longer; {what}s stand in the layer."
            )
        self._layer._weight_info[self._key] = info._replace(**{what: value})


class Weight(Owned, torch.nn.Parameter):
    """A weight that is trained, `add_weight()`: a parameter of its layer."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A plain parameter: a file of weights names no class of this library."""
        return torch._utils._rebuild_parameter, (self.data, self.requires_grad, {})

    @property
    def trainable(self) -> bool:
        """Whether training changes it."""
        return self.requires_grad

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.requires_grad_(bool(value))


class FixedWeight(Owned):
    """A weight that training leaves alone, `add_weight(trainable=False)`: a buffer of its layer."""

    _made_parameter = False

    def __new__(cls, data: Tensor) -> FixedWeight:
        return torch.Tensor._make_subclass(cls, data)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A plain tensor, as it would stand among a torch module's buffers."""
        return self.detach().__reduce_ex__(protocol)

    @property
    def trainable(self) -> bool:
        """Whether training changes it: no."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if value:
            raise ValueError(
                f"{self.described}: it was made with trainable=False, as a buffer, and cannot be trained. Make it with "
                f"add_weight(trainable=True), and set trainable = False for as long as it is not to be trained."
            )

    @property
    def _is_param(self) -> bool:
        """What `isinstance(weight, Parameter)` asks: whether `Parameter(weight)` made it.

        A check of torch's compiler (PyTorch 2.13) lets no subclass of Tensor pass but parameters, and looks at their
        `data` then, which are plain: it is told what it needs to hear.
        """
        asking = sys._getframe(1).f_back  # past `Parameter`'s own check of instances
        return self._made_parameter or (asking is not None and asking.f_code.co_name == "__torch_dispatch__")

    @_is_param.setter
    def _is_param(self, value: bool) -> None:
        self._made_parameter = value


def _shared(weight: FixedWeight) -> Any:
    """What goes to another process: as a plain tensor would, in shared memory."""
    return reduce_tensor(weight.detach())


ForkingPickler.register(FixedWeight, _shared)


class WeightInfo(NamedTuple):
    """What a layer remembers of a weight under its name: attributes of a parameter itself do not survive torch.

    number: counts all weights as they are made, which is Keras's order of them.
    """

    number: int
    trainable: bool
    regularizer: Function | None
    constraint: Function | None


def belong(weight: Owned, layer: Any, name: str) -> None:
    """Let a weight know its layer and its name there, unless it stands in another one."""
    known = weight._layer
    if known is None or all(kept.get(weight._key) is not weight for kept in (known._parameters, known._buffers)):
        weight._owner, weight._key = weakref.ref(layer), name


_PLAIN = (Tensor, torch.nn.Parameter)


def _kind(layer: Any, name: str) -> type[Owned]:
    return Weight if layer._weight_info[name].trainable else FixedWeight


def dressed(found: Tensor, layer: Any, name: str) -> Tensor:
    """What is to stand in the place of a layer's weight for a tensor: a weight that shares its memory.

    A plain parameter becomes one itself, so that optimizers go on knowing it; other kinds of tensors are left alone.
    """
    kind = _kind(layer, name)
    if type(found) is torch.nn.Parameter and kind is Weight:
        found.__class__ = Weight
    elif type(found) in _PLAIN and kind is FixedWeight and not found.requires_grad:
        found = FixedWeight(found)
    if type(found) is kind:
        belong(found, layer, name)
    return found


def lent(found: Tensor, layer: Any, name: str) -> Tensor:
    """What a layer answers with where a plain tensor stands in the place of its weight: as `dressed`, for the moment.

    `functional_call` puts tensors there, with gradients of their own, which must get them.
    """
    if torch.compiler.is_compiling():
        return found.as_subclass(_kind(layer, name)) if type(found) in _PLAIN else found
    if traced():
        return found  # tracers take plain tensors only
    if type(found) is not Tensor:
        return dressed(found, layer, name)
    made = found.as_subclass(_kind(layer, name))
    belong(made, layer, name)
    return made


def to_numpy(weight: Tensor) -> np.ndarray:
    """A copy of a tensor's values as a NumPy array; bfloat16, which NumPy lacks, as float32."""
    values = weight.detach().cpu()
    values = values.float() if values.dtype is torch.bfloat16 else values
    return Tensor.numpy(values).copy()


def numbers(weight: Tensor, value: Any, who: Callable[[], str]) -> Tensor:
    """A value for a weight, as a tensor without a gradient, of any shape and of a dtype that the weight's can hold.

    who: says whose weight it is, for messages. Raises ValueError for what is not numbers, and for complex ones where
    the weight has none.
    """
    try:
        taken = tensor(value, weight).detach()
    except (TypeError, ValueError) as error:
        shape = tuple(weight.shape)
        raise ValueError(f"{who()}: expected numbers of shape {shape}, got {value!r:.80}: {error}") from error
    if taken.is_complex() and not weight.is_complex():
        raise ValueError(f"{who()}: expected values of {weight.dtype}, got {taken.dtype}. Take their .real.")
    return taken


def write(weight: Tensor, value: Tensor) -> None:
    """Write a tensor of the same shape into a weight, in place and unseen by autograd."""
    if torch.compiler.is_compiling() and torch.is_grad_enabled():
        value = torch.ops.ostinato.settled(value)
    with torch.no_grad():
        # Not the weight itself: a compiler takes it for a plain tensor from there on.
        weight.detach().copy_(value)
    if not torch.compiler.is_compiling():
        forget_casts()


def forget_casts() -> None:
    """To be called after a weight was changed: `torch.autocast` keeps weights in lower precision until its region ends.

    A region around a whole training, or around a change and what comes after it, would go on with the old ones.
    """
    if torch._C._is_any_autocast_enabled():
        torch.clear_autocast_cache()


# A compiled backward computes again what is cheap, here the new value from the old one, which has been overwritten by
# then (PyTorch 2.13). It does not compute again what an operator of our own gave.
_LIBRARY = torch.library.Library("ostinato", "FRAGMENT")
_LIBRARY.define("settled(Tensor value) -> Tensor")
_LIBRARY.impl("settled", torch.clone, "CompositeExplicitAutograd")
torch.library.register_fake("ostinato::settled", torch.empty_like, lib=_LIBRARY)
