"""Intersection over union of classes: how well the places predicted for a class are its places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.core.dtypes import as_dtype
from ostinato.training.metrics.unweighted import Unweighted
from ostinato.training.tensors import fitted, same_shape

_EPSILON = 1e-7


@registry.builtin("metrics", "io_u")
class IoU(Unweighted):
    """The mean over some classes of `tp / (tp + fp + fn)`; a class that is neither target nor prediction is left out.

    Args:
        num_classes: how many there are; a number outside of them is left out, as target or prediction.
        target_class_ids: the classes whose values are averaged.
        name: of the metric.
        dtype: Keras's dtype of the counts, kept for the config: they are whole numbers here, never rounded.
        ignore_class: a target that does not count.
        sparse_y_true, sparse_y_pred: whether targets and predictions are numbers of classes, not a value for each.
        axis: of the classes, where they are not.

    Raises:
        ValueError: for a target class that there is not; in `update_state` for sample weights, and shapes that differ.

    Source:
        Keras, `metrics/iou_metrics.py`. There sample weights are taken, and masks are lost.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.IoU(num_classes=2, target_class_ids=[0])
        >>> metric.update_state([0, 0, 1, 1], [0, 1, 0, 1])
        >>> metric.result()
        tensor(0.3333)
    """

    higher_is_better = True
    _arguments: tuple[str, ...] = (
        "num_classes",
        "target_class_ids",
        "ignore_class",
        "sparse_y_true",
        "sparse_y_pred",
        "axis",
    )
    confusion: Tensor

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        wrong = [each for each in target_class_ids if not 0 <= each < num_classes]
        if wrong:
            raise ValueError(
                f"{type(self).__name__}: target class {wrong[0]} is not one of the {num_classes} classes, which are "
                f"from 0 to {num_classes - 1}."
            )
        super().__init__(name)
        self._dtype = torch.int32 if dtype in (None, "int") else as_dtype(dtype)
        self.num_classes, self.target_class_ids, self.ignore_class = num_classes, list(target_class_ids), ignore_class
        self.sparse_y_true, self.sparse_y_pred, self.axis = sparse_y_true, sparse_y_pred, axis
        zeros = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion", zeros, dist_reduce_fx="sum")  # a row for each target, a column for each prediction

    def _enter(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None) -> None:
        y_true = y_true if self.sparse_y_true else y_true.argmax(self.axis)
        y_true, y_pred = same_shape(y_true, self._predicted(y_pred), str(self))
        true, pred = y_true.long(), y_pred.long()
        valid = (true >= 0) & (true < self.num_classes) & (pred >= 0) & (pred < self.num_classes)
        if self.ignore_class is not None:
            valid = valid & (true != self.ignore_class)
        if mask is not None:
            mask, valid = fitted(mask, valid, str(self), "mask")
            valid = valid & mask
        cells = torch.where(valid.flatten(), (true * self.num_classes + pred).flatten(), self.confusion.numel())
        found = self.confusion.new_zeros(self.confusion.numel() + 1)  # the last cell is thrown away
        found.scatter_add_(0, cells, torch.ones_like(cells))
        self.confusion = self.confusion + found[:-1].view_as(self.confusion)

    def _predicted(self, y_pred: Tensor) -> Tensor:
        """The number of the class that is predicted."""
        return y_pred if self.sparse_y_pred else y_pred.argmax(self.axis)

    def _value(self) -> Tensor:
        both = self.confusion.diagonal()
        either = self.confusion.sum(0) + self.confusion.sum(1) - both
        both, either = both[self.target_class_ids].to(self._wide), either[self.target_class_ids].to(self._wide)
        values = torch.where(either > 0, both / (either + _EPSILON), 0)
        return values.sum() / ((either > 0).sum() + _EPSILON)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **{each: getattr(self, each) for each in self._arguments}}


@registry.builtin("metrics", "binary_io_u")
class BinaryIoU(IoU):
    """`IoU` of two classes, where a prediction from `threshold` on is class 1.

    Args:
        target_class_ids: [0] or [1] for the value of one of the classes, both for their mean.
        threshold: from it on a prediction is class 1.
        name, dtype: as for `IoU`.

    Raises:
        ValueError: as for `IoU`.

    Source:
        Keras, `metrics/iou_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.BinaryIoU(target_class_ids=[0, 1], threshold=0.3)
        >>> metric.update_state([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7])
        >>> metric.result()
        tensor(0.3333)
    """

    _arguments = ("target_class_ids", "threshold")

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def _predicted(self, y_pred: Tensor) -> Tensor:
        return y_pred >= self.threshold


@registry.builtin("metrics", "mean_io_u")
class MeanIoU(IoU):
    """`IoU` of all classes.

    Args:
        num_classes, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis: as for `IoU`.

    Raises:
        ValueError: as for `IoU`.

    Source:
        Keras, `metrics/iou_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.MeanIoU(num_classes=2)
        >>> metric.update_state([0, 0, 1, 1], [0, 1, 0, 1])
        >>> metric.result()
        tensor(0.3333)
    """

    _arguments: tuple[str, ...] = ("num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        everything = list(range(num_classes))
        super().__init__(num_classes, everything, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


@registry.builtin("metrics", "one_hot_io_u")
class OneHotIoU(IoU):
    """`IoU` for one-hot targets, and predictions of one value for each class.

    Args:
        num_classes, target_class_ids, name, dtype, ignore_class, axis: as for `IoU`.
        sparse_y_pred: whether predictions are numbers of classes.

    Raises:
        ValueError: as for `IoU`.

    Source:
        Keras, `metrics/iou_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.OneHotIoU(num_classes=2, target_class_ids=[0])
        >>> metric.update_state([[1, 0], [1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
        >>> metric.result()
        tensor(0.5000)
    """

    _arguments = ("num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis")

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


@registry.builtin("metrics", "one_hot_mean_io_u")
class OneHotMeanIoU(MeanIoU):
    """`IoU` of all classes for one-hot targets, and predictions of one value for each class.

    Args:
        num_classes, name, dtype, ignore_class, sparse_y_pred, axis: as for `OneHotIoU`.

    Raises:
        ValueError: as for `IoU`.

    Source:
        Keras, `metrics/iou_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.OneHotMeanIoU(num_classes=2)
        >>> metric.update_state([[1, 0], [1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
        >>> metric.result()
        tensor(0.5000)
    """

    _arguments = ("num_classes", "ignore_class", "sparse_y_pred", "axis")

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)
