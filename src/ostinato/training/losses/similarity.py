"""Losses of directions: how far two vectors point apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.core import registry
from ostinato.training.losses.base import EPSILON, FunctionLoss
from ostinato.training.losses.traits import by_element, has
from ostinato.training.tensors import as_floating, as_targets, as_tensor, paired


def _pairs(y_true: Tensor, ref_labels: Tensor, remove_diagonal: bool) -> tuple[Tensor, Tensor]:
    """`(batch, references)` bool, twice: which references have a sample's label, itself left out, and which do not."""
    same = y_true.reshape(-1, 1) == ref_labels.reshape(1, -1)
    itself = torch.eye(*same.shape, dtype=torch.bool, device=same.device) if remove_diagonal else torch.zeros_like(same)
    return same & ~itself, ~same


def _paired_both_ways(y_true: Tensor, y_pred: Tensor, *, remove_diagonal: bool = True, **options: Any) -> Tensor:
    """`Traits.counted`: a sample without a pair of both kinds does not count."""
    positive, negative = _pairs(y_true, y_true, remove_diagonal)
    return positive.any(1) & negative.any(1)


@registry.builtin("losses")
@by_element
def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """`-sum(y_true y_pred) / (norm(y_true) norm(y_pred))` along `axis`: -1 for the same direction, 0 for a right angle.

    Args:
        y_true, y_pred: as for `mean_squared_error`.
        axis: of the vectors.

    Returns:
        `(batch, ...)`, in the dtype of `y_pred`; float32 for whole numbers and lists. 0 for a vector of zeros.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Keras, `losses/losses.py`; a norm below 1e-7 counts as 1e-7. There the gradient at a vector of zeros is NaN.

    Example:
        >>> import ostinato
        >>> ostinato.losses.cosine_similarity([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]])
        tensor([-0.0000, -1.0000])
    """
    y_true, y_pred = paired(y_true, y_pred, "cosine_similarity")
    wanted, found = (functional.normalize(each, dim=axis, eps=EPSILON) for each in (y_true, y_pred))
    return -(wanted * found).sum(axis)


@registry.builtin("losses")
@has(counted=_paired_both_ways)
def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
) -> Tensor:
    """The circle loss of embeddings: those of one label are drawn together, others pushed apart.

    ::

        softplus(logsumexp(gamma (d + m) (d - m)) + logsumexp(gamma max(1 + m - d, 0) (1 - m - d)))

    the first sum over references with the sample's label, the second over all others; d = 1 - cosine, at least 0, and
    m the margin.

    Args:
        y_true: whole numbers `(batch,)` or `(batch, 1)`.
        y_pred: tensor or array `(batch, features)`: embeddings of length 1.
        ref_labels, ref_embeddings: of the references, `(references,)` and `(references, features)`; the batch itself
            by default.
        remove_diagonal: whether reference i is sample i, and no pair with it.
        gamma: scale.
        margin: m, from 0 to 1.

    Returns:
        `(batch,)`, in the dtype of `y_pred`; 0 for a sample without a reference of its label or of another.

    Raises:
        ValueError: if the shapes do not fit.

    Source:
        Keras, `losses/losses.py`; Sun and others, arXiv:2002.10857.

    Example:
        >>> import ostinato, torch
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
        >>> ostinato.losses.circle([0, 0, 1], embeddings, gamma=10)
        tensor([0.9130, 0.9130, 0.0000])
    """
    y_pred = as_floating(y_pred)
    y_true = as_targets(y_true, y_pred).long()
    references = y_pred if ref_embeddings is None else as_tensor(ref_embeddings).to(y_pred)
    ref_labels = y_true if ref_labels is None else as_targets(ref_labels, y_pred).long()
    for given, embeddings in ((y_true, y_pred), (ref_labels, references)):
        if embeddings.dim() != 2 or tuple(given.shape) not in ((len(embeddings),), (len(embeddings), 1)):
            raise ValueError(
                f"circle: labels have shape {tuple(given.shape)} and embeddings {tuple(embeddings.shape)}; they must "
                f"be (batch,) and (batch, features)."
            )
    positive, negative = _pairs(y_true, ref_labels, remove_diagonal)
    counted = positive.any(1) & negative.any(1)
    distance = (1 - y_pred @ references.T).clamp(min=0)
    pulled = gamma * (distance + margin) * (distance - margin)
    pushed = gamma * (1 + margin - distance).clamp(min=0) * (1 - margin - distance)
    # Without a single pair a logsumexp has no gradient but NaN: there all of them stand in.
    apart = counted[:, None]
    drawn = torch.logsumexp(pulled.masked_fill(~positive & apart, -torch.inf), 1)
    driven = torch.logsumexp(pushed.masked_fill(~negative & apart, -torch.inf), 1)
    return functional.softplus(drawn + driven).masked_fill(~counted, 0)


@registry.builtin("losses")
class CosineSimilarity(FunctionLoss):
    """The loss of `cosine_similarity`.

    Args:
        axis: of the vectors.
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> ostinato.losses.CosineSimilarity()(torch.ones(1, 2), torch.full((1, 2), 3.0))
        tensor(-1.)
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(cosine_similarity, reduction, name, dtype, axis=axis)


@registry.builtin("losses")
class Circle(FunctionLoss):
    """The loss of `circle`, of embeddings of length 1.

    Samples without a pair of both kinds do not count. One that is masked does not either, but stays a reference for
    the others.

    Args:
        gamma, margin, remove_diagonal: as for `circle`.
        reduction, name, dtype: as for `Loss`.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
        >>> ostinato.losses.Circle(gamma=10)(torch.tensor([0, 0, 1]), embeddings)
        tensor(0.9130)
    """

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "circle",
        dtype: Any = None,
    ) -> None:
        options = {"gamma": gamma, "margin": margin, "remove_diagonal": remove_diagonal}
        super().__init__(circle, reduction, name, dtype, **options)
