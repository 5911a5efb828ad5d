"""Losses between distributions: how far what was predicted is from what came."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from ostinato.core import registry
from ostinato.training.losses.base import EPSILON, FunctionLoss
from ostinato.training.losses.traits import by_element, has, steps_apart
from ostinato.training.tensors import paired, same_shape


def _poisson_mean(y_true: Tensor, y_pred: Tensor) -> Tensor:
    y_true, y_pred = same_shape(y_true, y_pred, "poisson")
    return functional.poisson_nll_loss(y_pred, y_true, log_input=False, eps=EPSILON)


@registry.builtin("losses", "kl_divergence", "kld", "KLD", "kullback_leibler_divergence")
@by_element
def kl_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """The Kullback-Leibler divergence `sum(p log(p / q))` along the last axis, p of the targets, q of the predictions.

    Args:
        y_true, y_pred: tensors or arrays of one shape `(batch, ..., classes)`, probabilities; either may lack a last
            axis of size 1.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`; probabilities are kept between 1e-7 and 1, and are not divided by their sum.

    Example:
        >>> import ostinato
        >>> ostinato.losses.kl_divergence([[0.5, 0.5]], [[0.25, 0.75]])
        tensor([0.1438])
    """
    y_true, y_pred = paired(y_true, y_pred, "kl_divergence")
    wanted, share = y_true.clamp(EPSILON, 1), y_pred.clamp(EPSILON, 1)
    return (wanted * (wanted / share).log()).sum(-1)


@registry.builtin("losses")
@has(absent=steps_apart, mean=_poisson_mean)
def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """`mean(rate - y log(rate + 1e-7))` along the last axis: how unlikely counts y are at the predicted rates.

    Args:
        y_true: counts, of the shape of `y_pred`; either may lack a last axis of size 1.
        y_pred: tensor or array `(batch, ..., features)`: rates, above 0.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`. What depends on the counts alone is left out.

    Example:
        >>> import ostinato
        >>> ostinato.losses.poisson([[2.0, 0.0]], [[1.0, 3.0]])
        tensor([2.0000])
    """
    y_true, y_pred = paired(y_true, y_pred, "poisson")
    return functional.poisson_nll_loss(y_pred, y_true, log_input=False, eps=EPSILON, reduction="none").mean(-1)


@registry.builtin("losses")
class KLDivergence(FunctionLoss):
    """The loss of `kl_divergence`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.KLDivergence()(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]]))
        tensor(0.1438)
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "kl_divergence", dtype: Any = None
    ) -> None:
        super().__init__(kl_divergence, reduction, name, dtype)


@registry.builtin("losses")
class Poisson(FunctionLoss):
    """The loss of `poisson`.

    Args:
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.Poisson()(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 3.0]]))
        tensor(2.0000)
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(poisson, reduction, name, dtype)
