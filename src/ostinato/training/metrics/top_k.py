"""Top-k accuracies: the share of targets among the k most probable classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.metrics.reduction import FunctionMetric
from ostinato.training.tensors import as_tensor


@registry.builtin("metric_functions")
def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """1 where `argmax(y_true)` is among the k highest predictions, else 0; ties with the k-th count as among them.

    Args:
        y_true, y_pred: tensors or arrays of one shape `(batch, ..., classes)`.
        k: how many predictions are looked at.

    Returns:
        `(batch, ...)`, float32.

    Raises:
        ValueError: if the shapes differ, or `k` is not between 1 and the number of classes.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato
        >>> y_true, y_pred = [[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.01, 0.94]]
        >>> ostinato.metrics.top_k_categorical_accuracy(y_true, y_pred, k=2)
        tensor([1., 0.])
    """
    y_pred = as_tensor(y_pred)
    y_true = as_tensor(y_true).to(y_pred.device)
    if y_true.shape != y_pred.shape or not y_pred.dim():
        raise ValueError(
            f"top_k_categorical_accuracy: y_true has shape {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}; they "
            f"must be the same, (batch, ..., classes). For whole numbers there is sparse_top_k_categorical_accuracy."
        )
    return _among(y_true.argmax(-1), y_pred, k, "top_k_categorical_accuracy")


@registry.builtin("metric_functions")
def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Tensor:
    """1 where `y_true` is among the k highest predictions, else 0; ties with the k-th count as among them.

    Args:
        y_true: numbers of classes: `(batch, ...)`, or with a last axis of size 1; one out of range is never right.
        y_pred: tensor or array `(batch, ..., classes)`; or the numbers of the classes, the most probable first.
        k: how many predictions are looked at.
        from_sorted_ids: whether `y_pred` are numbers of classes and not probabilities.

    Returns:
        The shape of `y_true`, float32.

    Raises:
        ValueError: if the shapes do not fit, or `k` is not between 1 and the number of classes.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato
        >>> ostinato.metrics.sparse_top_k_categorical_accuracy([2, 1], [[0.1, 0.9, 0.8], [0.05, 0.01, 0.94]], k=2)
        tensor([1., 0.])
        >>> ostinato.metrics.sparse_top_k_categorical_accuracy([2, 1], [[1, 2, 0], [2, 0, 1]], 2, from_sorted_ids=True)
        tensor([1., 0.])
    """
    who = "sparse_top_k_categorical_accuracy"
    y_pred = as_tensor(y_pred)
    y_true = as_tensor(y_true).to(y_pred.device)
    shape = y_true.shape
    labels = y_true.squeeze(-1) if y_true.dim() == y_pred.dim() and shape[-1:] == (1,) else y_true
    if not y_pred.dim() or labels.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"{who}: y_true has shape {tuple(shape)} and y_pred {tuple(y_pred.shape)}; each prediction needs one whole "
            f"number, so y_true must have shape {tuple(y_pred.shape[:-1])}. For one-hot labels there is "
            f"top_k_categorical_accuracy."
        )
    if not from_sorted_ids:
        return _among(labels.long(), y_pred, k, who).reshape(shape)
    _check_k(k, y_pred, who)
    matches = labels.to(y_pred.dtype).unsqueeze(-1) == y_pred[..., :k]
    return matches.any(-1).to(torch.get_default_dtype()).reshape(shape)


def _check_k(k: int, y_pred: Tensor, who: str) -> None:
    if isinstance(k, bool) or not hasattr(k, "__index__") or not 1 <= k <= y_pred.shape[-1]:
        raise ValueError(
            f"{who}: k must be a whole number from 1 to the number of classes, which is {y_pred.shape[-1]}, got {k!r}."
        )


def _among(labels: Tensor, y_pred: Tensor, k: int, who: str) -> Tensor:
    """Whether the prediction for a label is at least the k-th highest."""
    _check_k(k, y_pred, who)
    classes = y_pred.shape[-1]
    known = (labels >= 0) & (labels < classes)
    own = y_pred.gather(-1, labels.clamp(0, classes - 1).unsqueeze(-1)).squeeze(-1)
    return ((own >= y_pred.topk(k).values[..., -1]) & known).to(torch.get_default_dtype())


@registry.builtin("metrics", "top_k_categorical_accuracy")
class TopKCategoricalAccuracy(FunctionMetric):
    """The share of targets among the k most probable classes, as `top_k_categorical_accuracy` has it.

    Args:
        k: how many predictions are looked at.
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.TopKCategoricalAccuracy(k=1)
        >>> metric.update_state([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
        >>> metric.result()
        tensor(0.5000)
    """

    higher_is_better = True
    k: int

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)


@registry.builtin("metrics", "sparse_top_k_categorical_accuracy")
class SparseTopKCategoricalAccuracy(FunctionMetric):
    """The share of targets among the k most probable classes, as `sparse_top_k_categorical_accuracy` has it.

    Args:
        k: how many predictions are looked at.
        name, dtype: as for `Metric`.
        from_sorted_ids: whether predictions are numbers of classes, the most probable first.

    Source:
        Keras, `metrics/accuracy_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.SparseTopKCategoricalAccuracy(k=1)
        >>> metric.update_state([2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
        >>> metric.result()
        tensor(0.5000)
    """

    higher_is_better = True
    k: int
    from_sorted_ids: bool

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k, from_sorted_ids=from_sorted_ids)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; `from_sorted_ids` if it is set, as in Keras."""
        config = super().get_config()
        return config if self.from_sorted_ids else {k: v for k, v in config.items() if k != "from_sorted_ids"}
