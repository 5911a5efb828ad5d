"""Losses by Keras's names: how far predictions are from what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ostinato.core import registry
from ostinato.training import loss_functions as functions
from ostinato.training.loss_base import Loss, LossFunctionWrapper
from ostinato.training.loss_functions import (
    binary_crossentropy,
    categorical_crossentropy,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from ostinato.training.tensors import fitted, task_of


@registry.builtin("losses")
class MeanSquaredError(LossFunctionWrapper):
    """The loss of `mean_squared_error`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.MeanSquaredError()(torch.zeros(2, 3), torch.full((2, 3), 2.0))
        tensor(4.)
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "mean_squared_error", dtype: Any = None
    ) -> None:
        super().__init__(mean_squared_error, reduction, name, dtype)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """As in `Loss`, in one operation."""
        return functions.squared_error(y_true, y_pred, "mean")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return Loss.get_config(self)


class _Crossentropy(LossFunctionWrapper):
    """A crossentropy with Keras's options of one for dense labels."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**Loss.get_config(self), **self._fn_kwargs}


@registry.builtin("losses")
class BinaryCrossentropy(_Crossentropy):
    """The loss of `binary_crossentropy`.

    Args:
        from_logits, label_smoothing, axis: as for `binary_crossentropy`.
        reduction, name, dtype: as for `Loss`.

    Raises:
        ValueError: if `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.BinaryCrossentropy(from_logits=True)(torch.tensor([0, 1]), torch.zeros(2, 1))
        tensor(0.6931)
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        functions.check_smoothing(label_smoothing, f"{type(self).__name__} {name!r}")
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(binary_crossentropy, reduction, name, dtype, **options)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """As in `Loss`, in one operation."""
        return functions.binary(y_true, y_pred, self.from_logits, self.label_smoothing, "mean")


@registry.builtin("losses")
class CategoricalCrossentropy(_Crossentropy):
    """The loss of `categorical_crossentropy`, for one-hot labels.

    Args:
        from_logits, label_smoothing, axis: as for `categorical_crossentropy`.
        reduction, name, dtype: as for `Loss`.

    Raises:
        ValueError: if `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.CategoricalCrossentropy(from_logits=True)(torch.eye(2), torch.zeros(2, 2))
        tensor(0.6931)
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        functions.check_smoothing(label_smoothing, f"{type(self).__name__} {name!r}")
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(categorical_crossentropy, reduction, name, dtype, **options)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """As in `Loss`, in one operation."""
        return functions.categorical(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis, "mean")


@registry.builtin("losses")
class SparseCategoricalCrossentropy(_Crossentropy):
    """The loss of `sparse_categorical_crossentropy`, for whole numbers as labels.

    Args:
        from_logits, axis: as for `sparse_categorical_crossentropy`.
        ignore_class: a label, one out of range too, that does not count: as if it were masked.
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> loss = ostinato.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> loss(torch.tensor([1, 0]), torch.zeros(2, 10))
        tensor(2.3026)
        >>> loss(torch.tensor([[1, 0]]), torch.zeros(1, 2, 10), mask=torch.tensor([[True, False]]))
        tensor(2.3026)
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(sparse_categorical_crossentropy, reduction, name, dtype, **options)
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis

    def prepare(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """As in `LossFunctionWrapper`; what `ignore_class` leaves out is masked."""
        if self.ignore_class is not None:
            y_true, y_pred, mask = Loss.prepare(self, y_true, y_pred, sample_weight, mask)
            kept = functions.labels(y_true, y_pred, self.axis)[0] != self.ignore_class
            mask = kept if mask is None else fitted(mask, kept, str(self), "mask")[0] & kept
        return super().prepare(y_true, y_pred, sample_weight, mask)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """As in `Loss`, in one operation for logits."""
        return functions.sparse(y_true, y_pred, self.from_logits, None, self.axis, "mean")


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
    """The config of a loss: of a function of the library, its name."""
    return registry.serialize_keras_object(loss)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The loss that `serialize` described. Raises ValueError for an unknown name."""
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
        >>> from ostinato.training.losses import resolve_loss
        >>> resolve_loss("crossentropy", (32,), (32, 10))
        <SparseCategoricalCrossentropy 'crossentropy'>
    """
    if isinstance(identifier, str) and identifier.lower() in ("crossentropy", "ce"):
        found: Any = registry.find("losses", f"{task_of(y_true_shape, y_pred_shape)}_crossentropy")
    else:
        found = get(identifier)
    if found is None or isinstance(found, Loss):
        return found
    named: dict[str, Any] = {"name": identifier} if isinstance(identifier, str) else {}
    for quicker in (MeanSquaredError, BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy):
        whole = quicker(**named)
        if whole.fn is found:
            return whole
    return LossFunctionWrapper(found, **named)


__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "LossFunctionWrapper",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "mean_squared_error",
    "resolve_loss",
    "serialize",
    "sparse_categorical_crossentropy",
]
