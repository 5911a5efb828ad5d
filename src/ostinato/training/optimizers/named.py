"""Optimizers by name and by config, and given their parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.optimizers.base import Optimizer


def get(identifier: Any) -> Any:
    """The optimizer for a name, a config, a class or an object; None stays None.

    Args:
        identifier: a name in any case ("adam"), a config, an `Optimizer` or its class; an optimizer of torch's, with
            its parameters; or what makes one from a list of parameters, such as `torch.optim.AdamW`,
            `functools.partial(torch.optim.SGD, lr=0.1)` or `lambda parameters: ...`.

    Returns:
        A torch optimizer, or what makes one from a list of parameters: `bind` tells them apart.

    Raises:
        ValueError: for an unknown name, with the nearest known one, and for what is no optimizer.

    Source:
        Keras, `optimizers/__init__.py`.

    Example:
        >>> import ostinato
        >>> ostinato.optimizers.get("RMSProp")
        RMSprop(learning_rate=0.001, rho=0.9, momentum=0.0, epsilon=1e-07, centered=False)
    """
    if isinstance(identifier, str):
        identifier = _known(identifier)
    elif isinstance(identifier, dict):
        return deserialize(identifier)
    made = isinstance(identifier, torch.optim.Optimizer)
    if made or (inspect.isclass(identifier) and not issubclass(identifier, Optimizer)):
        return identifier  # a class of torch's makes an optimizer from parameters, and cannot without them
    return registry.resolve("optimizers", identifier)


def _known(name: str) -> str:
    """The name in lower case if that is a built-in one."""
    return name.lower() if name.lower() in registry.builtin_names("optimizers") else name


def bind(optimizer: Any, parameters: Iterable[Tensor | tuple[str, Tensor]]) -> torch.optim.Optimizer:
    """What `get` gave, as an optimizer of these parameters.

    Args:
        optimizer: an `Optimizer`, which is built; a torch optimizer, which must have some of them; or what makes one.
        parameters: floating tensors, or pairs of a name and one; names matter to `exclude_from_weight_decay` only.

    Returns:
        The optimizer.

    Raises:
        ValueError: if there are no parameters, or the optimizer has others.
        TypeError: if what was made is no torch optimizer.

    Example:
        >>> import torch
        >>> from ostinato.training.optimizers.named import bind
        >>> type(bind(torch.optim.AdamW, [torch.nn.Parameter(torch.ones(1))])).__name__
        'AdamW'
    """
    named = list(parameters)
    if isinstance(optimizer, Optimizer):
        optimizer.build(named)
        return optimizer
    given = [each[1] if isinstance(each, tuple) else each for each in named]
    if not given:
        raise ValueError(
            "optimizer: there are no parameters to change. Has the model trainable weights, and is it built?"
        )
    made = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(given)
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer: {optimizer!r} made a {type(made).__name__} of the parameters, not a torch optimizer."
        )
    held = {id(each) for group in made.param_groups for each in group["params"]}
    if held.isdisjoint(id(each) for each in given):
        raise ValueError(
            f"optimizer: this {type(made).__name__} was made for other parameters than the model's {len(given)}. Make "
            f"it from model.parameters(), after the model is built."
        )
    return made


def serialize(optimizer: Any) -> Any:
    """The config of an optimizer, without its state and parameters.

    >>> import ostinato
    >>> ostinato.optimizers.serialize(ostinato.optimizers.Lion(0.5))["class_name"]
    'Lion'
    """
    return registry.serialize_keras_object(optimizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The optimizer that `serialize`, here or in Keras, described. Raises ValueError for an unknown name.

    >>> import ostinato
    >>> ostinato.optimizers.deserialize({"class_name": "AdamW", "config": {"weight_decay": 0.5}}).weight_decay
    0.5
    """
    if isinstance(config, dict) and isinstance(config.get("class_name"), str):
        config = {**config, "class_name": _known(config["class_name"])}
    return registry.resolve("optimizers", config, custom_objects)
