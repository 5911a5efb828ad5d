"""What a layer's `call` takes, read from its signature once per class."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple


class CallSignature(NamedTuple):
    """The arguments of `call`: names of the positional ones, and whether it takes `training`, `mask` and anything."""

    names: tuple[str, ...]
    training: bool
    mask: bool
    variadic: bool

    def normalise(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The first argument in `args`, the others by name in `kwargs`, as far as the names are known."""
        kwargs = dict(kwargs)
        if not args and self.names and self.names[0] in kwargs:
            args = (kwargs.pop(self.names[0]),)
        known = len(self.names)
        if len(args) > 1 and known > 1:
            kwargs.update(zip(self.names[1:], args[1:known], strict=False))
            args = (args[0], *args[known:])
        return args, kwargs


def signature_of(call: Any) -> CallSignature:
    """The signature of a `call` function whose first argument is `self`."""
    kinds = inspect.Parameter
    parameters = list(inspect.signature(call).parameters.values())[1:]
    names = tuple(p.name for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD))
    named = {*names, *(p.name for p in parameters if p.kind is kinds.KEYWORD_ONLY)}
    variadic = any(p.kind in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD) for p in parameters)
    return CallSignature(names, "training" in named, "mask" in named, variadic)
