"""The coefficient of determination."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.metrics.unweighted import Unweighted
from ostinato.training.tensors import same_rank

_AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")
_STATES = ("squared_sum", "sum", "total_mse", "count")


@registry.builtin("metrics", "r2_score")
class R2Score(Unweighted):
    """`1 - sum (y_true - y_pred)^2 / sum (y_true - mean(y_true))^2`: 1 is perfect, 0 as good as the mean.

    Args:
        class_aggregation: "uniform_average" for the mean over the outputs, "variance_weighted_average" for their mean
            weighted by the variance of their targets, None for a value of each output.
        num_regressors: how many regressors the model has, for the adjusted score `1 - (1 - R2) (n - 1) / (n - p - 1)`;
            0 for the plain one. `n` counts each number, not each sample, as in Keras.
        name, dtype: as for `Metric`.

    Raises:
        ValueError: for another aggregation or a `num_regressors` below 0; in `update_state` for sample weights, and for
            shapes that are not the same `(batch, ..., outputs)`, `(batch,)` counting as one output.

    Source:
        Keras, `metrics/regression_metrics.py`. There sample weights are taken, masks are lost, and shapes are `(batch,
        outputs)`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.R2Score()
        >>> metric.update_state([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])
        >>> metric.result()
        tensor(0.5714)
    """

    higher_is_better = True

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: Any = None,
    ) -> None:
        if class_aggregation not in _AGGREGATIONS:
            hint = registry.nearest(str(class_aggregation), [each for each in _AGGREGATIONS if each])
            raise ValueError(f"R2Score: class_aggregation {class_aggregation!r} is not one of {_AGGREGATIONS}.{hint}")
        if num_regressors < 0:
            raise ValueError(f"R2Score: num_regressors must be 0 or more, got {num_regressors!r}.")
        super().__init__(name, dtype)
        self.class_aggregation, self.num_regressors = class_aggregation, num_regressors

    def _enter(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None) -> None:
        y_true, y_pred = same_rank(y_true.to(y_pred.dtype), y_pred)
        if y_true.dim() == y_pred.dim() == 1:
            y_true, y_pred = y_true.unsqueeze(-1), y_pred.unsqueeze(-1)
        y_true, y_pred, mask = self._rows(y_true, y_pred, mask)
        self._begin(y_pred)
        kept = torch.ones_like(y_true) if mask is None else mask.to(y_true.dtype).expand_as(y_true)
        if mask is not None:
            y_true, y_pred = y_true.masked_fill(~mask, 0), y_pred.masked_fill(~mask, 0)
        found = (y_true.square(), y_true, (y_true - y_pred).square(), kept)
        for name, values in zip(_STATES, found, strict=True):
            setattr(self, name, getattr(self, name) + values.sum(0))

    def _begin(self, y_pred: Tensor) -> None:
        """Make the states at the first batch; later ones must have as many outputs."""
        outputs = y_pred.shape[-1]
        if "count" not in self._defaults:
            for name in _STATES:
                self.add_state(name, y_pred.new_zeros(outputs), dist_reduce_fx="sum")
            self._outputs = outputs
        if outputs != self._outputs:
            raise ValueError(f"{self}: y_pred has {outputs} outputs, and those before had {self._outputs}.")

    def _value(self) -> Tensor:
        if "count" not in self._defaults:  # no batch yet to tell how many outputs there are
            return torch.zeros((), dtype=self._wide, device=self.device)
        squares, sums, residual, count = (getattr(self, name) for name in _STATES)
        total = squares - sums * (sums / count)
        scores = 1 - residual / total
        scores = torch.where(scores.isinf(), 0, scores)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation == "variance_weighted_average":
            scores = (total * scores).sum() / total.sum()
        return self._adjusted(scores, count.sum()) if self.num_regressors else scores

    def _adjusted(self, scores: Tensor, count: Tensor) -> Tensor:
        """The score with the number of regressors held against it."""
        if count - self.num_regressors - 1 <= 0:
            warnings.warn(
                f"{self}: {self.num_regressors} regressors for {int(count)} values leave nothing to adjust for; this "
                f"is the plain score.",
                stacklevel=2,
            )
            return scores
        return 1 - (1 - scores) * (count - 1) / (count - self.num_regressors - 1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
        return {**super().get_config(), **own}
