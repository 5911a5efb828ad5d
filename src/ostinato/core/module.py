"""A torch module with Keras's weights: made by `add_weight`, tracked as they are assigned, listed in order."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core import constraints, initializers, regularizers
from ostinato.core.config import snake_case, unique_name
from ostinato.core.context import CONTEXT, rehearsing
from ostinato.core.dtypes import as_dtype, default_device
from ostinato.core.shapes import as_shape
from ostinato.core.symbolic import replace_leaves, walk
from ostinato.core.tracking import Weights, tracked
from ostinato.core.weights import FixedWeight, Weight, WeightInfo, belong, dressed, lent, numbers, to_numpy, write
from ostinato.random import outside_transforms

_MADE = itertools.count()
_REGISTERS = ("_parameters", "_buffers", "_pending")


@dataclasses.dataclass(frozen=True)
class OwnWeight:
    """In what a module keeps: the place of its own weight of that name, which torch may put another tensor in."""

    name: str


class KerasModule(torch.nn.Module):
    """What `Layer` is built on: everything about its weights, its dtype and device, and its name."""

    name: str
    built = False
    _device: torch.device | None
    _weight_info: dict[str, WeightInfo]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # torch's constructor runs here, so that attributes, layers too, may be set before `super().__init__()`.
        self = super().__new__(cls)
        torch.nn.Module.__init__(self)
        self.__dict__.update(
            name=cls.__name__,
            training=False,
            _trainable=True,
            _dtype=as_dtype(kwargs.get("dtype")),
            _device=None,  # where weights go when someone said so, by `.to()` before they are built
            _build_device=None,  # the device of the input that they are built for
            _building=False,
            _pending={},  # made, not yet registered: id -> (weight, name, WeightInfo)
            _weight_info={},
            _aliases={},
        )
        return self

    def __init__(self, *, name: str | None = None, trainable: bool = True, dtype: Any = None) -> None:
        # torch's own constructor is not run again: it would forget what was assigned before this line.
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(f"{type(self).__name__}: name must be a string without '/', got {name!r}.")
        self.name = name or unique_name(snake_case(type(self).__name__))
        self._dtype = as_dtype(dtype)
        if not trainable:
            self.trainable = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _registering(cls.__dict__["__init__"])  # type: ignore[method-assign]

    def add_weight(
        self,
        first: Any = None,
        /,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
        *,
        shape: Any = None,
        **options: Any,
    ) -> Tensor:
        """Make a weight; it is registered under the attribute it is assigned to, else, after `build`, under its name.

        shape: ints; () for a scalar. first: the shape, or, as in Keras 2, the name. initializer: name, object or
        callable `(shape, dtype)`; glorot_uniform by default, zeros for dtypes that are not floating. A weight that is
        not trainable is a buffer.
        Raises ValueError for a shape with unknown sizes, or an initializer that gives another shape.
        """
        if isinstance(first, str):
            name = first
            if shape is None:  # Keras 2: the name came first, then the shape
                shape, initializer = initializer, None
        elif first is not None:
            shape = first
        if options:
            raise TypeError(f"{self.described}: add_weight got unknown arguments {sorted(options)}.")
        shape = as_shape(() if shape is None else shape)
        if None in shape:
            raise ValueError(
                f"{self.described}: weight {name!r} has shape {shape}: every size must be known when it is built."
            )
        chosen = self._dtype if dtype is None else as_dtype(dtype)
        if initializer is None:
            initializer = "glorot_uniform" if chosen.is_floating_point else "zeros"
        device = self._device or self._build_device or default_device()
        with torch.inference_mode(False), torch.no_grad():
            values = initializers.get(initializer)(shape, dtype=chosen)
            values = values if isinstance(values, Tensor) else torch.as_tensor(values, device="cpu")
            # In order, as `torch.nn.utils.parameters_to_vector` needs it; orthogonal values come in another.
            values = values.to(device=device, dtype=chosen, copy=True, memory_format=torch.contiguous_format)
        if tuple(values.shape) != shape:
            raise ValueError(
                f"{self.described}: the initializer of weight {name!r} gave shape {tuple(values.shape)}, not {shape}."
            )
        weight = Weight(values, requires_grad=self._trainable) if trainable else FixedWeight(values)
        info = WeightInfo(next(_MADE), trainable, regularizers.get(regularizer), constraints.get(constraint))
        self._pending[id(weight)] = (weight, name or "weight", info)
        if self.built and not self._building:
            self._register_pending()
        return weight

    def _register_pending(self) -> None:
        """Register what was made and never assigned, under its name, and look up what lists hold at each use."""
        for weight, name, info in list(self._pending.values()):
            free = name.replace(".", "_").replace("/", "_")
            count = 0
            while hasattr(self, free):
                count += 1
                free = f"{name}_{count}"
            self._register(free, weight, info)
        own = {id(tensor): OwnWeight(key) for kept in (self._parameters, self._buffers) for key, tensor in kept.items()}
        for key in [key for key, value in self.__dict__.items() if key not in _REGISTERS and _holds(value, own)]:
            self._aliases[key] = replace_leaves(self.__dict__.pop(key), lambda leaf: own.get(id(leaf), leaf))

    def _register(self, attribute: str, weight: Any, info: WeightInfo) -> None:
        del self._pending[id(weight)]
        if info.trainable:
            self.register_parameter(attribute, weight)
        else:
            self.register_buffer(attribute, weight)
        self._weight_info[attribute] = info
        self._weight_info = dict(sorted(self._weight_info.items(), key=lambda item: item[1].number))
        belong(weight, self, attribute)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            pending = self._pending.get(id(value))
            if pending is not None:
                self.__dict__.pop(name, None)  # a placeholder such as `self.kernel = None`
                return self._register(name, *pending[::2])
            first = next((key for key, each in self._own_tensors() if each is value), name)
            if first != name:
                self.__dict__.pop(name, None)
                self._aliases[name] = OwnWeight(first)  # a second name for one weight
                return None
            if name in self._weight_info and (name in self._parameters or name in self._buffers):
                value = value if torch.compiler.is_compiling() else dressed(value, self, name)
            if isinstance(value, FixedWeight) and not isinstance(value, torch.nn.Parameter):
                if name not in self._buffers:
                    self.__dict__.pop(name, None)
                    self.register_buffer(name, value)
                self._buffers[name] = value
                return None
        elif isinstance(value, (list, tuple, dict)):
            value = tracked(self, name, value)
        super().__setattr__(name, value)
        return None

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__  # past torch's look-up, and in its order: what is asked for most, in every call
        parameters = own["_parameters"]
        if name in parameters:
            weight = parameters[name]
            return weight if type(weight) is Weight else self._answer(name, weight)
        buffers = own["_buffers"]
        if name in buffers:
            weight = buffers[name]
            return weight if type(weight) is FixedWeight else self._answer(name, weight)
        modules = own["_modules"]
        if name in modules:
            return modules[name]
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            alias = self.__dict__.get("_aliases", {}).get(name)
            if alias is not None:
                return replace_leaves(
                    alias, lambda leaf: getattr(self, leaf.name) if isinstance(leaf, OwnWeight) else leaf
                )
            if isinstance(getattr(type(self), name, None), property):
                # Python asks here when a property's own code raised AttributeError; that is what must be told.
                raise _property_error(self, name) from error
            raise

    def _answer(self, name: str, found: Tensor | None) -> Tensor | None:
        """What stands in a weight's place with Keras's conveniences; what is no weight as it is."""
        return found if found is None or name not in self._weight_info else lent(found, self, name)

    def _own_tensors(self) -> Iterator[tuple[str, Tensor | None]]:
        return itertools.chain(self._parameters.items(), self._buffers.items())

    def _dress(self) -> None:
        """Put Keras's conveniences back on what torch put in the places of the module's own weights."""
        for name in self._weight_info:
            kept: dict[str, Any] = self._parameters if name in self._parameters else self._buffers
            if kept.get(name) is not None:
                kept[name] = dressed(kept[name], self, name)

    # -- weights ------------------------------------------------------------------------------------------------------

    @property
    def weights(self) -> list[Tensor]:
        """All weights: of the layer itself the trainable ones first, then those of its sub-layers, in order."""
        return Weights(self).all

    @property
    def variables(self) -> list[Tensor]:
        """Keras's other name for `weights`."""
        return self.weights

    @property
    def trainable_weights(self) -> list[Tensor]:
        """The weights that training changes."""
        return Weights(self).trainable

    @property
    def trainable_variables(self) -> list[Tensor]:
        """Keras's other name for `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_weights(self) -> list[Tensor]:
        """The weights that training leaves alone."""
        return Weights(self).fixed

    @property
    def non_trainable_variables(self) -> list[Tensor]:
        """Keras's other name for `non_trainable_weights`."""
        return self.non_trainable_weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights as NumPy arrays, in the order of `weights`."""
        return [to_numpy(weight) for weight in self.weights]

    def set_weights(self, weights: list[Any]) -> None:
        """Write all weights, in the order of `weights`.

        weights: numbers, arrays or tensors of any dtype, anywhere.
        Raises ValueError for a wrong number or shape, or what is not numbers, before anything is written.
        """
        own = Weights(self)
        if len(weights) != len(own.all):
            hint = "" if self.built else " It is not built yet: call it, or build(input_shape), first."
            raise ValueError(f"{self.described}: set_weights got {len(weights)} arrays, expected {len(own.all)}.{hint}")
        taken = []
        for position, (mine, given) in enumerate(zip(own.all, weights, strict=True)):
            if tuple(mine.shape) != tuple(np.shape(given)):
                raise ValueError(
                    f"{self.described}: set_weights got shape {tuple(np.shape(given))} for {own.names[position]!r}, "
                    f"number {position}; expected {tuple(mine.shape)}."
                )
            taken.append(numbers(mine, given, functools.partial(self._described_weight, own.names[position])))
        for mine, values in zip(own.all, taken, strict=True):
            write(mine, values)

    def _described_weight(self, name: str) -> str:
        return f"{self.described}: weight {name!r}"

    def count_params(self) -> int:
        """Number of scalars in all weights. Raises ValueError if the layer is not built."""
        self._require_built()
        return sum(weight.numel() for weight in self.weights)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """As torch's; raises ValueError if a layer is not built, since its parameters would be missing."""
        if not CONTEXT.inferring:
            self._require_built()
        return super().named_parameters(*args, **kwargs)

    def _require_built(self) -> None:
        for module in self.modules():
            if isinstance(module, KerasModule) and not module.built and module._makes_weights():
                raise ValueError(
                    f"{module.described} is not built: it has no parameters yet. Call it on data, or "
                    f"build(input_shape), first."
                )

    def _makes_weights(self) -> bool:
        """Whether being built may add weights."""
        return True

    @property
    def trainable(self) -> bool:
        """Whether the layer's weights are trained; setting it reaches all sub-layers."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for module in self.modules():  # layers in lists too, built or not
            if isinstance(module, KerasModule):
                module._trainable = bool(value)
            infos = module.__dict__.get("_weight_info", {})
            for name, parameter in module._parameters.items():
                info = infos.get(name)
                if parameter is not None and (info is None or info.trainable) and parameter.is_floating_point():
                    parameter.requires_grad_(bool(value))

    # -- torch --------------------------------------------------------------------------------------------------------

    @property
    def described(self) -> str:
        """Class and name, for messages: `LSTM 'encoder'`."""
        return f"{type(self).__name__} {self.name!r}"

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the layer's weights, and of the floating inputs it takes."""
        return self._dtype

    compute_dtype = variable_dtype = dtype

    def _where(self) -> torch.device:
        """The device of the layer's weights, or where they would be."""
        for module in self.modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None:
                    return tensor.device
        return self._device or default_device()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """As torch's, remembering a new dtype or device for weights that are not built yet."""
        device = self._where()
        probe = torch.empty(0, dtype=self._dtype, device=device)
        moved = fn(probe)
        if moved.dtype is not probe.dtype:
            self._dtype = moved.dtype
        if moved.device != probe.device or (self._device is None and not self.built and moved.device.type == "cpu"):
            self._device = moved.device
        super()._apply(fn, recurse)
        self._dress()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._dress()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._dress()  # copies and pickles hold what torch makes of weights


def _registering(init: Any) -> Any:
    """`__init__` that, at the end of the outermost one, registers the weights it made and did not assign."""

    @functools.wraps(init)
    def initialised(self: KerasModule, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self).__init__ is not initialised:
            return
        if self._pending:
            self._register_pending()
        if not self._trainable:
            self.trainable = False  # for the layers that were assigned after `super().__init__(trainable=False)`

    return initialised


def once(build: Any) -> Any:
    """`build` that runs once, and registers the weights it made and did not assign."""

    @functools.wraps(build)
    def built(self: KerasModule, *args: Any, **kwargs: Any) -> None:
        if self._building:  # a subclass's build calling its parent's
            return build(self, *args, **kwargs)
        if self.built:
            return None
        self._building, pending = True, dict(self._pending)
        try:
            # What is made and assigned here is to last.
            with torch.inference_mode(False), outside_transforms(), rehearsing(False):
                build(self, *args, **kwargs)
            self._register_pending()
            if not self._trainable:
                self.trainable = False
            pending = {}
        finally:
            self._building, self._pending = False, pending  # after a failure the next build makes its weights anew
        self._build_shape = args[0] if args else next(iter(kwargs.values()), None)
        self.built = True
        return None

    return built


def _holds(value: Any, own: dict[int, OwnWeight]) -> bool:
    """Whether a list, tuple or dict has one of the module's own weights in it."""
    return isinstance(value, (list, tuple, dict)) and any(id(leaf) in own for leaf in walk(value))


def _property_error(module: KerasModule, name: str) -> Exception:
    """What a property's code raised, as an error that `__getattr__` does not swallow."""
    try:
        getattr(type(module), name).fget(module)
    except AttributeError as error:
        return RuntimeError(f"{type(module).__name__}.{name} failed: {error}")
    return RuntimeError(f"{type(module).__name__}.{name} failed the first time it was asked, and not the second.")
