"""Losses by Keras's names: how far predictions are from what they should be."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ostinato.core import registry
from ostinato.training.losses import functions
from ostinato.training.losses.base import Loss, LossFunctionWrapper
from ostinato.training.losses.functions import (
    binary_crossentropy,
    categorical_crossentropy,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from ostinato.training.tensors import fitted


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
