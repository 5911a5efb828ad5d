"""Focal crossentropies, which count what is predicted well for little, and one that bears wrong labels."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from ostinato.core import registry
from ostinato.training.losses.base import EPSILON, FunctionLoss
from ostinato.training.losses.crossentropy import (
    FOR_WHOLE_NUMBERS,
    axis_last,
    check_smoothing,
    labels,
    probability,
    warn_of_one_class,
)
from ostinato.training.losses.traits import by_element
from ostinato.training.tensors import as_floating, as_targets, as_tensor, paired


@registry.builtin("losses")
@by_element
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """`mean(-(1 - q)**gamma (y log(p) + (1 - y) log(1 - p)))` along `axis`, q = `y p + (1 - y) (1 - p)`.

    Args:
        y_true, y_pred, from_logits, label_smoothing, axis: as for `binary_crossentropy`.
        apply_class_balancing: whether values are multiplied with `alpha` for label 1 and `1 - alpha` for label 0.
        alpha: from 0 to 1.
        gamma: how much less a label counts that is predicted well; 0 is the plain crossentropy.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ, or `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`; Lin and others, arXiv:1708.02002. Probabilities are kept 1e-7 away from 0 and 1.

    Example:
        >>> import ostinato
        >>> ostinato.losses.binary_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.9]])
        tensor([0.0872])
    """
    check_smoothing(label_smoothing, "binary_focal_crossentropy")
    y_true, y_pred = paired(y_true, y_pred, "binary_focal_crossentropy")
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / 2
    share = y_pred.sigmoid() if from_logits else y_pred
    values = functional.binary_cross_entropy(share.clamp(EPSILON, 1 - EPSILON), y_true, reduction="none")
    values = values * (1 - y_true * share - (1 - y_true) * (1 - share)) ** gamma
    if apply_class_balancing:
        values = values * (y_true * alpha + (1 - y_true) * (1 - alpha))
    return values.mean(axis)


@registry.builtin("losses")
@by_element
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """`-sum(alpha (1 - p)**gamma y log(p))` along `axis`, p the predicted probabilities of the classes.

    Args:
        y_true, y_pred, from_logits, label_smoothing, axis: as for `categorical_crossentropy`.
        alpha: weight of the classes, one for all or one for each.
        gamma: how much less a class counts that is predicted well; 0 is the plain crossentropy.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ, or `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`; Lin and others, arXiv:1708.02002. Probabilities are kept 1e-7 away from 0 and 1.

    Example:
        >>> import ostinato
        >>> ostinato.losses.categorical_focal_crossentropy([[0, 1], [1, 0]], [[0.1, 0.9], [0.5, 0.5]])
        tensor([0.0003, 0.0433])
    """
    who = "categorical_focal_crossentropy"
    check_smoothing(label_smoothing, who)
    y_true, y_pred = (axis_last(each, axis) for each in paired(y_true, y_pred, who, FOR_WHOLE_NUMBERS))
    warn_of_one_class(y_pred, who)
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / y_pred.shape[-1]
    share = y_pred.softmax(-1) if from_logits else y_pred
    share = (share / share.sum(-1, keepdim=True)).clamp(EPSILON, 1 - EPSILON)
    weight = alpha if isinstance(alpha, (int, float)) else as_tensor(alpha).to(y_pred)
    return -(weight * (1 - share) ** gamma * y_true * share.log()).sum(-1)


@registry.builtin("losses")
@by_element
def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Tensor:
    """`(1 - p[y]**q) / q`, p the predicted probabilities of the classes and y the number of the right one.

    Near q = 0 it is the crossentropy, near 1 the distance `1 - p[y]`, which a wrong label pulls at less.

    Args:
        y_true: whole numbers from 0 to classes - 1, of any dtype: `(batch, ...)`, or with a last axis of size 1.
        y_pred: tensor or array `(batch, ..., classes)`: probabilities.
        q: between 0 and 1.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: as `sparse_categorical_crossentropy`; or if `q` is not between 0 and 1.

    Source:
        Keras, `losses/losses.py`; Zhang and Sabuncu, arXiv:1805.07836.

    Example:
        >>> import ostinato
        >>> ostinato.losses.categorical_generalized_cross_entropy([1, 0], [[0.19, 0.81], [0.75, 0.25]], q=0.5)
        tensor([0.2000, 0.2679])
    """
    who = "categorical_generalized_cross_entropy"
    check_q(q, who)
    y_pred = as_floating(y_pred)
    wanted, y_pred = labels(as_targets(y_true, y_pred), y_pred, -1, who)
    return (1 - probability(wanted, y_pred, who) ** q) / q


def check_q(q: float, who: str) -> None:
    """Raise ValueError unless `q` is between 0 and 1."""
    if not 0 < q < 1:
        raise ValueError(f"{who}: q must be between 0 and 1, got {q!r}.")


@registry.builtin("losses")
class BinaryFocalCrossentropy(FunctionLoss):
    """The loss of `binary_focal_crossentropy`.

    Args:
        apply_class_balancing, alpha, gamma, from_logits, label_smoothing, axis: as for `binary_focal_crossentropy`.
        reduction, name, dtype: as for `Loss`.

    Raises:
        ValueError: if `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.BinaryFocalCrossentropy(from_logits=True)(torch.tensor([0, 1]), torch.zeros(2, 1))
        tensor(0.1733)
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        check_smoothing(label_smoothing, f"{type(self).__name__} {name!r}")
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        balance = {"apply_class_balancing": apply_class_balancing, "alpha": alpha, "gamma": gamma}
        super().__init__(binary_focal_crossentropy, reduction, name, dtype, **balance, **options)


@registry.builtin("losses")
class CategoricalFocalCrossentropy(FunctionLoss):
    """The loss of `categorical_focal_crossentropy`, for one-hot labels.

    Args:
        alpha, gamma, from_logits, label_smoothing, axis: as for `categorical_focal_crossentropy`.
        reduction, name, dtype: as for `Loss`.

    Raises:
        ValueError: if `label_smoothing` is outside [0, 1].

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.CategoricalFocalCrossentropy(from_logits=True)(torch.eye(2), torch.zeros(2, 2))
        tensor(0.0433)
    """

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        check_smoothing(label_smoothing, f"{type(self).__name__} {name!r}")
        alpha = alpha.tolist() if isinstance(alpha, Tensor) else alpha
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(categorical_focal_crossentropy, reduction, name, dtype, alpha=alpha, gamma=gamma, **options)


@registry.builtin("losses")
class CategoricalGeneralizedCrossEntropy(FunctionLoss):
    """The loss of `categorical_generalized_cross_entropy`, for whole numbers as labels.

    Args:
        q: between 0 and 1.
        reduction, name, dtype: as for `Loss`.

    Raises:
        ValueError: if `q` is not between 0 and 1.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.CategoricalGeneralizedCrossEntropy()(torch.tensor([1]), torch.tensor([[0.19, 0.81]]))
        tensor(0.2000)
    """

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:
        check_q(q, f"{type(self).__name__} {name!r}")
        super().__init__(categorical_generalized_cross_entropy, reduction, name, dtype, q=q)
