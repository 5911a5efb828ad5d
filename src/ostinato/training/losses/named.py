"""Losses by name, by config, and as `compile` means them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostinato.core import registry
from ostinato.training.losses.base import Loss, LossFunctionWrapper
from ostinato.training.tensors import task_of


def get(identifier: Any) -> Any:
    """The loss for a name, a config, a class or a callable; None stays None.

    Args:
        identifier: a name ("mse", "SparseCategoricalCrossentropy"), a config, a `Loss`, its class, or a function of
            (y_true, y_pred).

    Returns:
        A `Loss` or a function.

    Raises:
        ValueError: for an unknown name, with the nearest known one, and for what is no loss.

    Source:
        Keras, `losses/__init__.py`.

    Example:
        >>> import ostinato
        >>> ostinato.losses.get("mse") is ostinato.losses.mean_squared_error
        True
    """
    return registry.resolve("losses", identifier)


def serialize(loss: Any) -> Any:
    """The config of a loss: of a function of the library, its name.

    >>> import ostinato
    >>> ostinato.losses.serialize(ostinato.losses.Huber(0.5))["class_name"]
    'Huber'
    """
    return registry.serialize_keras_object(loss)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The loss that `serialize` described. Raises ValueError for an unknown name.

    >>> import ostinato
    >>> ostinato.losses.deserialize(ostinato.losses.serialize(ostinato.losses.Huber(0.5))).delta
    0.5
    """
    return registry.resolve("losses", config, custom_objects)


def resolve_loss(identifier: Any, y_true_shape: Sequence[int], y_pred_shape: Sequence[int]) -> Loss | None:
    """The `Loss` that `compile(loss=identifier)` means for targets and predictions of these shapes.

    Args:
        identifier: as for `get`; or "crossentropy" or "ce", which is binary for predictions of one number, sparse for
            targets of a lower rank or of one number, and categorical else.
        y_true_shape, y_pred_shape: with the batch.

    Returns:
        A `Loss`, a function's named as it was asked for; None for None.

    Raises:
        ValueError: as `get`.

    Source:
        Keras, `trainers/compile_utils.py`, `get_loss`.

    Example:
        >>> from ostinato.training.losses.named import resolve_loss
        >>> loss = resolve_loss("crossentropy", (32,), (32, 10))
        >>> loss, loss.fn.__name__
        (<LossFunctionWrapper 'crossentropy'>, 'sparse_categorical_crossentropy')
    """
    if isinstance(identifier, str) and identifier.lower() in ("crossentropy", "ce"):
        found: Any = registry.find("losses", f"{task_of(y_true_shape, y_pred_shape)}_crossentropy")
    else:
        found = get(identifier)
    if found is None or isinstance(found, Loss):
        return found
    named: dict[str, Any] = {"name": identifier} if isinstance(identifier, str) else {}
    return LossFunctionWrapper(found, **named)
