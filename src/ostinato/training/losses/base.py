"""What every loss shares: from a value for each sample to one number, under weights and a mask."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.training.losses.traits import traits_of
from ostinato.training.tensors import (
    as_float_dtype,
    as_mask,
    as_predictions,
    as_targets,
    as_tensor,
    cleared,
    fitted,
    same_rank,
    snake_case,
)

EPSILON = 1e-7  # Keras's: probabilities are kept this far from 0, and what is divided by too

_MEANS = ("sum_over_batch_size", "mean")
_REDUCTIONS = (*_MEANS, "sum", "mean_with_sample_weight", "none", None)


class Loss:
    """Base of all losses: `call` gives a value for each sample, and calling the loss reduces them to one number.

    ::

        "sum_over_batch_size", "mean"   sum(w * values) / N,  N the number of values that the mask lets count
        "sum"                           sum(w * values)
        "mean_with_sample_weight"       sum(w * values) / sum(w)
        "none", None                    w * values, one for each sample

    with w the sample weights, 0 wherever the mask is False. Without any value that counts a mean is 0.

    Args:
        name: of the loss; by default its class's, in snake case.
        reduction: one of the above.
        dtype: floating dtype to compute in; by default float64 predictions stay so, and all else is float32.

    Raises:
        ValueError: for an unknown reduction, or a dtype that is not floating.

    Source:
        Keras, `losses/loss.py`. There the mask hangs on the predictions, here it is an argument; and sample weights
        are aligned with the values from the batch on, so that `(batch,)` fits values `(batch, time)`.

    Example:
        >>> import ostinato, torch
        >>> class Distance(ostinato.losses.Loss):
        ...     def call(self, y_true, y_pred):
        ...         return (y_true - y_pred).abs().mean(-1)
        >>> Distance()(torch.zeros(2, 3), torch.ones(2, 3), sample_weight=torch.tensor([1.0, 3.0]))
        tensor(2.)
    """

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        self.name = name or snake_case(type(self).__name__)
        if reduction not in _REDUCTIONS:
            hint = registry.nearest(str(reduction), [each for each in _REDUCTIONS if each])
            raise ValueError(f"{self}: reduction {reduction!r} is not one of {_REDUCTIONS}.{hint}")
        self.reduction = reduction
        self.dtype = None if dtype is None else as_float_dtype(dtype, str(self))

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The values, one for each sample: of shape `(batch,)`, or `(batch, time)` for a sequence.

        Raises NotImplementedError unless a subclass defines it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred).")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> Tensor:
        """The reduced loss.

        y_true, y_pred: tensors or arrays `(batch, ...)`. sample_weight: scalar, `(batch,)`, or the leading axes of the
        values; one for each. mask: boolean, of the same shapes; True is a value that counts.
        Returns a scalar, or the values if the reduction is "none"; float32, or float64 for float64 predictions.
        Raises ValueError if shapes do not fit each other.
        """
        y_true, y_pred, mask = self.prepare(y_true, y_pred, sample_weight, mask)
        if sample_weight is None and mask is None and self.reduction in _MEANS and y_pred.numel():
            return self.mean(y_true, y_pred)
        return self._reduced(self.call(y_true, y_pred), sample_weight, mask)

    def prepare(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """(y_true, y_pred, mask) as `call` wants them: tensors on one device, predictions in the loss's dtype.

        What is not finite in masked steps is 0: its value will not count, but its gradient would be NaN.
        """
        y_true, y_pred, mask = self._tensors(y_true, y_pred, mask)
        return (y_true, y_pred, mask) if mask is None else (cleared(y_true, mask), cleared(y_pred, mask), mask)

    def _tensors(self, y_true: Any, y_pred: Any, mask: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        y_pred = as_predictions(y_pred, self.dtype)
        mask = None if mask is None else as_mask(mask, y_pred.device)
        return as_targets(y_true, y_pred), y_pred, mask

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The mean of all values; a subclass may know a quicker way."""
        return self.call(y_true, y_pred).mean()

    def _reduced(self, values: Tensor, sample_weight: Any, mask: Tensor | None) -> Tensor:
        weights = None if sample_weight is None else as_tensor(sample_weight).to(values)
        if weights is not None:
            weights, values = fitted(weights, values, str(self), "sample_weight")
        if not values.dim():
            # The function has reduced them itself, and has done its own masking, as in Keras.
            values = values if mask is None or mask.dim() else values.masked_fill(~mask, 0)
            return values if weights is None else values * weights
        if mask is not None:
            mask, values = fitted(mask, values, str(self), "mask")
            values = values.masked_fill(~mask, 0)  # not a product: NaN * 0 is NaN
        if weights is not None:
            values = values * weights
        if self.reduction in ("none", None):
            return values
        total = values.sum()
        if self.reduction == "sum":
            return total
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            weights = weights if mask is None else weights * mask
            weight = weights.expand_as(values).sum()
            return torch.where(weight == 0, 0, total / torch.where(weight == 0, 1, weight))
        if mask is None:
            return total / max(values.numel(), 1)
        return total / mask.expand_as(values).sum().clamp(min=1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config: dict[str, Any] = {"name": self.name, "reduction": self.reduction}
        return config if self.dtype is None else {**config, "dtype": registry.serialize_keras_object(self.dtype)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The loss that `get_config` described."""
        return cls(**config)


@registry.builtin("losses")
class LossFunctionWrapper(Loss):
    """A loss from a function `fn(y_true, y_pred, **kwargs)` that gives a value for each sample.

    Args:
        fn: the function, or the name of one that is known. It is called with tensors of the same rank, where a last
            axis of size 1 was all that was missing. If it gives a scalar, that is the loss.
        reduction, name, dtype: as for `Loss`; the name is the function's by default.
        **kwargs: passed on to the function.

    Raises:
        ValueError: for an unknown name.
        TypeError: if `fn` is no function, or gives something that is not a tensor.

    Source:
        Keras, `losses/losses.py`.

    Example:
        >>> import ostinato, torch
        >>> def distance(y_true, y_pred, power):
        ...     return ((y_true - y_pred).abs() ** power).mean(-1)
        >>> loss = ostinato.losses.LossFunctionWrapper(distance, power=3)
        >>> loss(torch.zeros(2, 1), torch.tensor([[1.0], [2.0]])), loss.name
        (tensor(4.5000), 'distance')
    """

    def __init__(
        self,
        fn: Any,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        self.fn = registry.find("losses", fn) if isinstance(fn, str) else fn
        if not callable(self.fn):
            raise TypeError(f"{type(self).__name__}: fn must be a function of (y_true, y_pred), got {fn!r}.")
        if isinstance(fn, torch.nn.modules.loss._Loss):
            raise TypeError(
                f"{type(self).__name__}: torch.nn.{type(fn).__name__} takes (input, target), the other way round. Pass "
                f"lambda y_true, y_pred: loss(y_pred, y_true)."
            )
        super().__init__(name or snake_case(getattr(self.fn, "__name__", type(self.fn).__name__)), reduction, dtype)
        self._fn_kwargs = kwargs
        self._known = traits_of(self.fn)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """What the function gives."""
        values = self.fn(*same_rank(y_true, y_pred), **self._fn_kwargs)
        if not isinstance(values, Tensor):
            raise TypeError(f"{self}: the function must return a tensor, and returned {type(values).__name__}.")
        return values

    def prepare(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """As in `Loss`; and what is masked counts for nothing, where the function's `Traits` know how."""
        y_true, y_pred, mask = self._tensors(y_true, y_pred, mask)
        known, options = self._known, self._fn_kwargs
        counted = None if known.counted is None else known.counted(y_true, y_pred, **options)
        if counted is not None:
            mask = counted if mask is None else fitted(mask, counted, str(self), "mask")[0] & counted
        if mask is None and sample_weight is None:
            return y_true, y_pred, None
        if y_pred.shape[-1:] == (1,) and y_true.shape == y_pred.shape[:-1]:
            # Weights or a mask for each step need a value for each step: the targets gain the axis that Keras takes
            # from the predictions.
            given = [as_tensor(each) for each in (sample_weight, mask) if each is not None]
            if any(each.dim() > 1 and each.shape[1] > 1 for each in given):
                y_true = y_true.unsqueeze(-1)
        if mask is None:
            return y_true, y_pred, mask
        if known.absent is None:
            return cleared(y_true, mask), cleared(y_pred, mask), mask
        return known.absent(y_true, y_pred, mask, str(self), **options)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """As in `Loss`, in fewer operations where the function has them."""
        if self._known.mean is None:
            return super().mean(y_true, y_pred)
        return self._known.mean(y_true, y_pred, **self._fn_kwargs)

    def _reduced(self, values: Tensor, sample_weight: Any, mask: Tensor | None) -> Tensor:
        if self._known.whole and sample_weight is not None and not values.dim():
            values = values.expand(as_tensor(sample_weight).shape)
        return super()._reduced(values, sample_weight, mask)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {**super().get_config(), "fn": registry.serialize_keras_object(self.fn)}
        return {**config, **registry.serialize_keras_object(self._fn_kwargs)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The loss that `get_config` described."""
        options = registry.deserialize_keras_object({key: each for key, each in config.items() if key != "fn"})
        if "fn" in config:
            fn = config["fn"]
            options["fn"] = registry.resolve("losses", fn) if isinstance(fn, dict) else fn
        return cls(**options)


class FunctionLoss(LossFunctionWrapper):
    """A loss of the library: a function of its own, whose options are the constructor's, attributes, and its config."""

    def __init__(self, fn: Any, reduction: str | None, name: str, dtype: Any, **options: Any) -> None:
        super().__init__(fn, reduction, name, dtype, **options)
        vars(self).update(options)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = Loss.get_config(self)
        for key, each in self._fn_kwargs.items():  # a tuple stays one: JSON makes a list of it, which is taken too
            config[key] = each if isinstance(each, tuple) else registry.serialize_keras_object(each)
        return config
