"""Initializers by name and by config."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ostinato.core import registry
from ostinato.core.initializers.fixed import Given


def get(identifier: Any) -> Any:
    """The initializer for a name, a config, a class, a callable `(shape, dtype)`, or given values; None stays None.

    Raises ValueError for an unknown name, with the nearest known one.

    >>> get("glorot_uniform").mode, get(np.ones(2))((2,))
    ('fan_avg', tensor([1., 1.]))
    """
    if isinstance(identifier, (Tensor, np.ndarray, np.generic, list)):  # a list, as a config has it for an array
        return Given(identifier)
    return registry.resolve("initializers", identifier)


def serialize(initializer: Any) -> Any:
    """The config of an initializer.

    >>> serialize(get("ones"))["class_name"]
    'Ones'
    """
    return registry.serialize_keras_object(initializer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The initializer that `serialize` described.

    custom_objects: name to class or function, beside what is registered.

    >>> deserialize({"class_name": "Constant", "config": {"value": 2.0}}).value
    2.0
    """
    return registry.resolve("initializers", config, custom_objects)
