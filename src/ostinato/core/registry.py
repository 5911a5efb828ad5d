"""One closed registry of what a config may name, and the way from objects to configs and back.

Built-in names resolve first, so that nothing registered can shadow one; nothing named in a config is ever imported.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch

from ostinato.errors import nearest as nearest

T = TypeVar("T")

_BUILTIN: dict[tuple[str, str], Any] = {}  # (kind, name) -> class or function; kind as in `ostinato.layers`
_BUILTIN_NAMES: dict[Any, tuple[str, str]] = {}
_REGISTERED: dict[str, Any] = {}  # "package>name" -> class or function
_REGISTERED_NAMES: dict[Any, str] = {}
_SCOPES = threading.local()


def builtin(kind: str, *names: str) -> Callable[[T], T]:
    """Enter a class or function of the package under `kind`; by its own name, and by `names`, the first preferred."""

    def enter(item: T) -> T:
        own = getattr(item, "__name__", "")
        for name in names or (own,):
            _BUILTIN[kind, name] = item
        if inspect.isclass(item):
            _BUILTIN[kind, own] = item
            _BUILTIN_NAMES[item] = (kind, own)
        else:
            _BUILTIN_NAMES.setdefault(item, (kind, names[0] if names else own))
        return item

    return enter


def is_builtin(item: Any) -> bool:
    """Whether a class or function is one of the package's own; a subclass of one's own is not."""
    return item in _BUILTIN_NAMES


def builtin_names(kind: str) -> list[str]:
    """All built-in names of a kind, sorted."""
    return sorted(name for each, name in _BUILTIN if each == kind)


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """Let a class or function of one's own be named in configs, as `package>name`.

    A class must have `get_config`. Raises ValueError if it does not, or if the name is taken by something else.

    >>> import ostinato
    >>> @ostinato.saving.register_keras_serializable(package="docs")
    ... class Halve(ostinato.layers.Layer):
    ...     def call(self, inputs):
    ...         return inputs / 2
    >>> ostinato.saving.get_registered_name(Halve)
    'docs>Halve'
    """

    def register(item: T) -> T:
        key = f"{package}>{name or item.__name__}"  # type: ignore[attr-defined]
        if inspect.isclass(item) and not hasattr(item, "get_config"):
            raise ValueError(f"register_keras_serializable: class {item.__name__} has no get_config method.")
        known = _REGISTERED.get(key)
        # A class defined again (a notebook cell run twice) replaces its former self.
        if known is not None and getattr(known, "__qualname__", None) != getattr(item, "__qualname__", None):
            raise ValueError(f"register_keras_serializable: {key!r} is taken by {known!r}.")
        _REGISTERED[key] = item
        _REGISTERED_NAMES[item] = key
        return item

    return register


def get_registered_name(item: Any) -> str:
    """The name under which `item` is registered, else its own name.

    >>> get_registered_name(dict)
    'dict'
    """
    return _REGISTERED_NAMES.get(item) or item.__name__


def get_registered_object(name: str, custom_objects: dict[str, Any] | None = None) -> Any | None:
    """What is registered as `name`, in `custom_objects` or an enclosing `custom_object_scope`; None if nothing is.

    >>> get_registered_object("mine", {"mine": abs}), get_registered_object("mine")
    (<built-in function abs>, None)
    """
    for scope in (custom_objects or {}, *reversed(getattr(_SCOPES, "stack", []))):
        if name in scope:
            return scope[name]
    if name in _REGISTERED:
        return _REGISTERED[name]
    return next((item for key, item in _REGISTERED.items() if key.split(">", 1)[1] == name), None)


@contextlib.contextmanager
def custom_object_scope(custom_objects: dict[str, Any]) -> Iterator[None]:
    """Let configs name `custom_objects` (name to class or function) while the block runs, in this thread.

    >>> import ostinato, torch
    >>> def cube(x):
    ...     return x**3
    >>> config = {**ostinato.layers.Dense(2).get_config(), "activation": "cube"}
    >>> with ostinato.utils.custom_object_scope({"cube": cube}):
    ...     layer = ostinato.layers.Dense.from_config(config)
    >>> layer.activation is cube
    True
    """
    if not hasattr(_SCOPES, "stack"):
        _SCOPES.stack = []
    _SCOPES.stack.append(custom_objects)
    try:
        yield
    finally:
        _SCOPES.stack.pop()


def find(kind: str, name: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """The class or function called `name` among the built-ins of `kind`, else among what is registered.

    Raises ValueError, with the nearest known name, if there is none.
    """
    found = _BUILTIN.get((kind, name))
    if found is None:
        found = get_registered_object(name, custom_objects)
    if found is None:
        what = kind.rstrip("s") if not kind.endswith("losses") else "loss"
        raise ValueError(
            f"{what} {name!r} is not known.{nearest(name, builtin_names(kind))} "
            f"One of your own must be registered with register_keras_serializable, or passed in custom_objects."
        )
    return found


def resolve(kind: str, identifier: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """An object of `kind` from a name, a config, a class, or the object itself; None stays None.

    A name of a class gives an instance made without arguments.
    """
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return deserialize_keras_object(identifier, custom_objects, kind=kind)
    if isinstance(identifier, str):
        identifier = find(kind, identifier, custom_objects)
    if inspect.isclass(identifier):
        return identifier()
    if not callable(identifier):
        raise ValueError(f"{kind}: expected a name, a config or a callable, got {identifier!r}.")
    return identifier


def serialize_keras_object(item: Any) -> Any:
    """The config of an object: plain lists, dicts, strings and numbers.

    Raises TypeError for what no config can hold.

    >>> import ostinato
    >>> serialize_keras_object(ostinato.regularizers.L2(0.1))["class_name"]
    'L2'
    """
    if item is None or isinstance(item, (bool, int, float, str)):
        return item
    if isinstance(item, torch.dtype):
        return str(item).removeprefix("torch.")
    if isinstance(item, (np.generic, np.ndarray)):
        return item.tolist()
    if isinstance(item, torch.Size):  # as a state's size it is one, and a tuple would be several
        return {"class_name": "TensorShape", "config": {"items": list(item)}}
    if isinstance(item, tuple):
        return {"class_name": "__tuple__", "items": [serialize_keras_object(each) for each in item]}
    if isinstance(item, (list, torch.nn.ModuleList)):
        return [serialize_keras_object(each) for each in item]
    if isinstance(item, dict):
        return {str(key): serialize_keras_object(value) for key, value in item.items()}
    if hasattr(item, "get_config") and not inspect.isclass(item):
        cls = type(item)
        kind, name = _BUILTIN_NAMES.get(cls, (None, cls.__name__))
        return {
            "module": f"ostinato.{kind}" if kind else None,
            "class_name": name,
            "config": item.get_config(),
            "registered_name": None if kind else get_registered_name(cls),
        }
    if callable(item) and item in _BUILTIN_NAMES:
        return _BUILTIN_NAMES[item][1]
    if callable(item) and hasattr(item, "__name__"):
        return {
            "module": None,
            "class_name": "function",
            "config": item.__name__,
            "registered_name": get_registered_name(item),
        }
    raise TypeError(
        f"serialize_keras_object: {item!r} of type {type(item).__name__} has no get_config and is no plain value."
    )


def deserialize_keras_object(config: Any, custom_objects: dict[str, Any] | None = None, kind: str | None = None) -> Any:
    """The object that a config describes.

    kind: where to look first for a class named without a module ("layers", "losses", ...).
    Raises ValueError for a name that is neither built in, nor registered, nor in `custom_objects`.

    >>> import ostinato
    >>> deserialize_keras_object(serialize_keras_object(ostinato.regularizers.L2(0.1))).l2
    0.1
    """
    if isinstance(config, list):
        return [deserialize_keras_object(each, custom_objects) for each in config]
    if not isinstance(config, dict):
        return config
    if "class_name" not in config:
        return {key: deserialize_keras_object(value, custom_objects) for key, value in config.items()}
    name, inner = config["class_name"], config.get("config", {})
    if name == "__tuple__":
        return tuple(deserialize_keras_object(each, custom_objects) for each in config["items"])
    if name == "DTypePolicy":  # in configs that Keras 3 wrote
        return inner["name"]
    if name == "TensorShape":
        items = config.get("items", inner.get("items", ()))  # beside the name, as Keras 2 wrote it
        return tuple(items) if None in items else torch.Size(items)
    if name == "__numpy__":  # in configs that Keras 3 wrote
        return np.array(inner["value"], dtype=inner["dtype"])
    item = _locate(config, name, inner, custom_objects, kind)
    if name == "function":
        return item
    with custom_object_scope(custom_objects or {}):
        if hasattr(item, "from_config"):
            return item.from_config(inner)
        return item(**inner)


def _locate(config: dict[str, Any], name: str, inner: Any, custom: dict[str, Any] | None, kind: str | None) -> Any:
    """What a config names: a class or function of one's own if it says so, else a built-in, else a registered one."""
    wanted = inner if name == "function" else name
    registered = config.get("registered_name") or wanted
    if config.get("module", "") is None or ">" in registered:
        found = get_registered_object(registered, custom) or get_registered_object(wanted, custom)
        if found is not None:
            return found
    module = str(config.get("module") or "").rpartition(".")[2]
    known = dict.fromkeys(each for each, _ in _BUILTIN)  # a module such as "keras" or "builtins" says nothing
    kinds = [each for each in (module, kind) if each in known]
    for each in kinds or known:
        if (each, wanted) in _BUILTIN:
            return _BUILTIN[each, wanted]
    return find(kinds[-1] if kinds else "layers", wanted, custom)
