"""Any metric of torchmetrics, as it is."""

from __future__ import annotations

import inspect
import weakref
from typing import Any

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.aggregation import BaseAggregator

from ostinato.training.metrics.base import Metric
from ostinato.training.metrics.unweighted import refuse_weights
from ostinato.training.tensors import as_mask, as_tensor, fitted, same_rank, snake_case


class TorchMetric(Metric):
    """A metric of torchmetrics with Keras's manners; `compile` makes one of any that it is given.

    The metric itself is used, not a copy, and gets what the model gives: `update(preds, target)`. Under a mask the
    leading axes that it covers become one, and what is masked is left out: `(batch, time, classes)` becomes
    `(steps, classes)`. Without a mask nothing changes but a last axis of size 1 that only one of the two has. Labels
    and the place of the classes are the metric's affair.

    Args:
        metric: of torchmetrics, updated with predictions and targets.
        name: by default the metric's attribute `name` if it has one, else its class's in snake case.

    Raises:
        TypeError: if it is no metric of torchmetrics, or one that takes something other than predictions and targets.

    Source:
        torchmetrics, `metric.py`.

    Example:
        >>> import ostinato, torch, torchmetrics
        >>> metric = ostinato.metrics.TorchMetric(torchmetrics.MeanSquaredError())
        >>> metric.update_state(torch.zeros(2, 1), torch.tensor([[1.0], [3.0]]), mask=torch.tensor([True, False]))
        >>> metric.result(), metric.name
        (tensor(1.), 'mean_squared_error')
    """

    def __init__(self, metric: torchmetrics.Metric, name: str | None = None) -> None:
        if not isinstance(metric, torchmetrics.Metric) or isinstance(metric, Metric):
            raise TypeError(f"TorchMetric: expected a metric of torchmetrics, got {type(metric).__name__}.")
        _check_arguments(metric)
        super().__init__(name or getattr(metric, "name", None) or snake_case(type(metric).__name__))
        self.metric = metric
        self._begun = False  # wrappers of torchmetrics do not count their updates

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """What the metric says of itself."""
        return self.metric.higher_is_better

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        """Take in a batch.

        y_true, y_pred: tensors or arrays, of shapes and dtypes that the metric takes. sample_weight: must be None.
        mask: boolean, of the leading axes of both.
        Raises ValueError for sample weights, for a mask that does not fit, and as the metric does.
        """
        refuse_weights(self, sample_weight)
        y_pred = as_tensor(y_pred).detach()
        y_true, y_pred = same_rank(as_tensor(y_true).to(y_pred.device), y_pred)
        if mask is not None:
            y_true, y_pred = self._kept(y_true, y_pred, as_mask(mask, y_pred.device))
            if not len(y_pred):
                return  # few metrics take a batch of nothing
        if self.metric.device != y_pred.device:
            self.to(y_pred.device)
        self.metric.update(y_pred, y_true)
        self._begun = True

    def _kept(self, y_true: Tensor, y_pred: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What the mask lets count, its axes made one."""
        if mask.dim() > y_pred.dim() and mask.shape[-1] == 1:
            mask = mask.squeeze(-1)
        axes = min(mask.dim(), y_true.dim())
        leading = y_pred if y_pred.dim() <= axes else y_pred.flatten(axes)[..., 0]
        mask = fitted(mask, leading, str(self), "mask")[0].expand(leading.shape)
        if y_true.shape[:axes] != mask.shape:
            raise ValueError(
                f"{self}: y_true has shape {tuple(y_true.shape)} and y_pred {tuple(y_pred.shape)}; under a mask of "
                f"shape {tuple(mask.shape)} both must begin with it."
            )
        return y_true[mask], y_pred[mask]

    def result(self) -> Tensor:
        """The value so far, a scalar tensor; over all processes if there are several; 0 before the first batch.

        Raises ValueError if the metric gives more than one number.
        """
        alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
        if alone and not self._begun and not self.metric.update_called:
            return torch.zeros((), device=self.metric.device)
        value = self.metric.compute()
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"{self}: compute of {type(self.metric).__name__} gave {got}, and one number is reported. Make it one "
                f"with its own options (such as average='macro'), or in a subclass of ostinato.metrics.Metric."
            )
        return value.reshape(())

    def reset(self) -> None:
        """Torchmetrics' name for `reset_state`."""
        super().reset()
        self._begun = False

    def get_config(self) -> dict[str, Any]:
        """Raise TypeError: what made the metric is not known."""
        raise TypeError(f"{self}: metrics of torchmetrics have no config.")


_KNOWN: weakref.WeakValueDictionary[int, TorchMetric] = weakref.WeakValueDictionary()


def torch_metric(metric: torchmetrics.Metric) -> TorchMetric:
    """The `TorchMetric` around a metric: the same one for as long as there is one.

    So a metric that is given for two outputs is seen to be one, as one of ours is.
    """
    found = _KNOWN.get(id(metric))
    if found is None or found.metric is not metric:
        found = _KNOWN[id(metric)] = TorchMetric(metric)
    return found


def _check_arguments(metric: torchmetrics.Metric) -> None:
    """Raise TypeError if a metric's `update` is not for predictions and targets."""
    parameters = inspect.signature(metric.update).parameters.values()
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    needed = [each.name for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    spread = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    if isinstance(metric, BaseAggregator) or (len(positional) < 2 and not spread) or (len(needed) > 2):
        names = ", ".join(each.name for each in parameters)
        raise TypeError(
            f"{type(metric).__name__} is a metric of torchmetrics that takes ({names}); a model's metrics get (preds, "
            f"target). Put it inside a subclass of ostinato.metrics.Metric."
        )
