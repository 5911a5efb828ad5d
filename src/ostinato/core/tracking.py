"""Which weights and modules a module owns, in Keras's order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.core.weights import WeightInfo


class Weights:
    """The weights of a module and of those in it, each once: its own trainable ones, its own others, its children's."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.all: list[Tensor] = []
        self.names: list[str] = []
        self.trainable: list[Tensor] = []
        self.fixed: list[Tensor] = []
        self.infos: list[WeightInfo | None] = []
        self._computed: list[Computed] = []
        self._seen: set[int] = set()
        self._seen_modules: set[int] = set()
        self._add(module, "")

    def _add(self, module: torch.nn.Module, prefix: str) -> None:
        if id(module) in self._seen_modules:
            return
        self._seen_modules.add(id(module))
        infos: dict[str, WeightInfo] = module.__dict__.get("_weight_info", {})
        for name, tensor in (*_parameters(module, infos), *_buffers(module, infos)):
            if id(tensor) in self._seen:
                continue
            self._seen.add(id(tensor))
            self.all.append(tensor)
            self.names.append(prefix + name)
            self.infos.append(infos.get(name))
            (self.trainable if tensor.requires_grad else self.fixed).append(tensor)
        self._computed += _parametrized(module, infos)
        for name, child in module._modules.items():
            if child is not None and name != "parametrizations":
                self._add(child, f"{prefix}{name}.")

    def named_trainable(self) -> list[tuple[str, Tensor]]:
        """The trainable weights with their names."""
        return [(name, w) for name, w in zip(self.names, self.all, strict=True) if w.requires_grad]

    def penalties(self) -> list[Tensor]:
        """The regularization penalty of each trainable weight that has one."""
        return [regularizer(weight) for weight, regularizer in self.regularized()]

    def regularized(self) -> list[tuple[Tensor, Any]]:
        """(weight, regularizer) for each trainable weight that has one."""
        pairs = zip(self.all, self.infos, strict=True)
        plain = [
            (w, info.regularizer)
            for w, info in pairs
            if info is not None and info.regularizer is not None and w.requires_grad
        ]
        judged = [each for each in self._computed if each.info.regularizer is not None]
        return plain + [(w, each) for each in judged for w in each.originals[:1] if w.requires_grad]

    def constrained(self) -> list[tuple[Tensor, Any]]:
        """(weight, constraint) for each trainable weight that has one.

        Raises ValueError for a parametrized one: it is computed, and cannot be put back among the allowed ones.
        """
        for module, name, info, _ in self._computed:
            if info.constraint is not None:
                raise ValueError(
                    f"{getattr(module, 'described', module)}: weight {name!r} is parametrized, so that nothing can be "
                    f"written into it, and it has a constraint, {info.constraint!r}. Let the parametrization see to "
                    f"what is allowed, and make the layer without the constraint."
                )
        pairs = zip(self.all, self.infos, strict=True)
        return [(w, info.constraint) for w, info in pairs if info is not None and info.constraint is not None]


class Computed(NamedTuple):
    """A weight that `torch.nn.utils.parametrize` computes from others at each use; as a function, its penalty."""

    module: torch.nn.Module
    name: str
    info: WeightInfo
    originals: list[Tensor]

    def __call__(self, original: Tensor) -> Tensor:
        """The regularizer's penalty of the weight as it is computed now, whatever it is computed from."""
        regularizer: Any = self.info.regularizer
        return regularizer(getattr(self.module, self.name))


def _parametrized(module: torch.nn.Module, infos: dict[str, WeightInfo]) -> list[Computed]:
    container = module._modules.get("parametrizations")
    found = {} if container is None else container._modules
    return [
        Computed(module, name, infos[name], [*holder.parameters(recurse=False)])
        for name, holder in found.items()
        if name in infos and holder is not None
    ]


def _parameters(module: torch.nn.Module, infos: dict[str, WeightInfo]) -> Iterator[tuple[str, Tensor]]:
    """A module's own parameters: in the order in which they were made, then others as they were registered.

    A parametrized weight is where torch.nn.utils.parametrize put it.
    """
    container = module._modules.get("parametrizations")
    parametrized = {} if container is None else container._modules
    names = [name for name, info in infos.items() if info.trainable]
    names += [name for name in module._parameters if name not in names]
    names += [name for name in parametrized if name not in names]
    for name in names:
        tensor = module._parameters.get(name)
        if tensor is not None:
            yield name, tensor
        elif (holder := parametrized.get(name)) is not None:
            for inner, original in holder.named_parameters(recurse=False):
                yield f"parametrizations.{name}.{inner}", original


def _buffers(module: torch.nn.Module, infos: dict[str, WeightInfo]) -> Iterator[tuple[str, Tensor]]:
    for name in dict.fromkeys([*(name for name in infos if name in module._buffers), *module._buffers]):
        tensor = module._buffers[name]
        if tensor is not None and name not in module._non_persistent_buffers_set:
            yield name, tensor


def tracked(owner: torch.nn.Module, name: str, value: Any) -> Any:
    """A list, tuple or dict as it is to be kept under `owner.name`, so that the modules in it are seen.

    One of modules only becomes a ModuleList or ModuleDict, which also sees what is added later. In one that holds
    other things too the modules are registered, and the container stays what it is.
    """
    modules = list(_modules_in(value))
    if not modules:
        return value
    container = _container(value)
    if container is not None:
        return container
    owner._modules[f"{name}_modules"] = torch.nn.ModuleList(modules)
    return value


def _container(value: Any) -> torch.nn.Module | None:
    """A container of modules only, with nested ones inside it, as torch's; None if something else is in it."""
    if isinstance(value, torch.nn.Module):
        return value
    if isinstance(value, dict):
        children = [_container(each) for each in value.values()]
        named = all(isinstance(key, str) and "." not in key and key for key in value)
        if not named or any(child is None for child in children):
            return None
        return torch.nn.ModuleDict(dict(zip(value, children, strict=True)))  # type: ignore[arg-type]
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        children = [_container(each) for each in value]
        return None if any(child is None for child in children) else torch.nn.ModuleList(children)  # type: ignore[arg-type]
    return None


def _modules_in(value: Any) -> Iterator[torch.nn.Module]:
    if isinstance(value, torch.nn.Module):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _modules_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _modules_in(each)
