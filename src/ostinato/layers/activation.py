"""`Activation`, `ReLU`, `LeakyReLU`, `Softmax`: activations as layers of their own."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from ostinato.core import activations
from ostinato.core.layer import IMPLICIT, Layer
from ostinato.core.masks import mask_of
from ostinato.core.registry import builtin
from ostinato.core.shapes import spares_time
from ostinato.layers.masked import activated, finite, over


class Elementary(Layer):
    """A layer without weights that keeps the shape and passes the mask on; a subclass defines `apply_to`.

    What is not finite in a masked step counts as 0, so that no gradient becomes NaN there.
    """

    supports_masking = True
    steps_independent = True

    def apply_to(self, x: Tensor) -> Tensor:
        """The function of the layer."""
        raise NotImplementedError(f"{type(self).__name__} must define apply_to(x).")

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.apply_to(finite(inputs, None if mask is None else over(mask, inputs, self.described)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return tuple(input_shape)

    def _output_dtype(self, inputs: Any) -> torch.dtype:
        return inputs.dtype


@builtin("layers")
class Activation(Elementary):
    """An activation function as a layer.

    activation: name or function; None is linear.

    Called with any shape; returns the same. The mask is passed on.
    Raises ValueError for a name that is not known.
    Source: keras/src/layers/activations/activation.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Activation("relu")(torch.tensor([-3.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        return activated(self.activation, inputs, None if mask is None else over(mask, inputs, self.described))


@builtin("layers")
class ReLU(Elementary):
    """The rectifier, with a slope below a threshold and a ceiling.

    ::

        y = min(x, max_value)                    where x > threshold
        y = negative_slope * (x - threshold)     elsewhere

    max_value: at least 0; None for no ceiling. negative_slope, threshold: at least 0.

    Called with any shape; returns the same. The mask is passed on.
    Raises ValueError for a number below 0.
    Source: keras/src/layers/activations/relu.py.

    >>> import torch, ostinato
    >>> ostinato.layers.ReLU(max_value=10, negative_slope=0.5)(torch.tensor([-10.0, -5.0, 5.0, 15.0]))
    tensor([-5.0000, -2.5000,  5.0000, 10.0000])
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if max_value is not None:
            _refuse_negative("ReLU", "max_value", max_value)
        _refuse_negative("ReLU", "negative_slope", negative_slope)
        _refuse_negative("ReLU", "threshold", threshold)
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def apply_to(self, x: Tensor) -> Tensor:
        if self.threshold == 0:
            above = torch.relu(x)
        else:
            above = torch.where(x > self.threshold, x, 0)
        if self.max_value is not None:
            above = above.clamp(max=self.max_value)
        if self.negative_slope == 0:
            return above
        return above - self.negative_slope * torch.relu(self.threshold - x)


@builtin("layers")
class LeakyReLU(Elementary):
    """`x` above 0, `negative_slope * x` below (Maas, Hannun & Ng, 2013).

    negative_slope: at least 0. Keras 2's name for it, alpha, is taken with a warning.

    Called with any shape; returns the same. The mask is passed on.
    Raises ValueError for a slope below 0.
    Source: keras/src/layers/activations/leaky_relu.py.

    >>> import torch, ostinato
    >>> ostinato.layers.LeakyReLU(negative_slope=0.5)(torch.tensor([-10.0, 0.0, 5.0]))
    tensor([-5.,  0.,  5.])
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            warnings.warn("LeakyReLU: alpha is Keras 2's name; pass negative_slope.", stacklevel=2)
        super().__init__(**kwargs)
        _refuse_negative("LeakyReLU", "negative_slope", negative_slope)
        self.negative_slope = negative_slope

    def apply_to(self, x: Tensor) -> Tensor:
        return torch.nn.functional.leaky_relu(x, self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, the slope under its one name."""
        config = {**super().get_config(), "negative_slope": self.negative_slope}
        config.pop("alpha", None)
        return config


@builtin("layers")
class Softmax(Elementary):
    """`exp(x) / sum(exp(x))` along an axis, over what is not masked.

    axis: whole number, or list of them to sum over together.

    Called with any shape, and a mask that broadcasts over it from the last axis on: not one of steps, but of the
    entries. Returns the same shape, 0 where it is masked, all zeros where nothing is used. What stands in masked places
    reaches neither the output nor a gradient. The mask is passed on, in the input's shape. A mask of steps that comes
    with the input, from an `Embedding` or `Masking`, masks all entries of a step, and is passed on (Keras refuses it).
    Raises ValueError for a mask that does not broadcast over the input.
    Source: keras/src/layers/activations/softmax.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Softmax()(torch.tensor([1.0, 1.0, 9.0]), mask=torch.tensor([True, True, False]))
    tensor([0.5000, 0.5000, 0.0000])
    """

    _makes_mask = False

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = list(axis) if isinstance(axis, (list, tuple)) else axis

    @property
    def steps_independent(self) -> bool:  # type: ignore[override]
        """Whether no step sees another one: not where it is divided over the steps."""
        return spares_time(self.axis)

    def call_masked(self, args: tuple[Any, ...], kwargs: dict[str, Any], mask: Any = IMPLICIT) -> tuple[Any, Any]:
        args, kwargs = self._call_signature.normalise(args, kwargs)
        steps = (mask_of(args[0]) if mask is IMPLICIT else mask) if args and kwargs.get("mask") is None else None
        if steps is None or steps.dim() >= args[0].dim():
            return super().call_masked(args, kwargs, mask)
        entries = over(steps, args[0], self.described)
        return super().call_masked(args, {**kwargs, "mask": entries})[0], steps

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return self.apply_to(inputs)
        used = self._used(inputs, mask)
        lowest = torch.finfo(inputs.dtype).min  # and not -inf, of which a whole row would be NaN
        return self.apply_to(inputs.masked_fill(~used, lowest)).masked_fill(~used, 0)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """The mask, over the whole input: one of the last axes would be taken for one of steps by what follows."""
        return None if mask is None else self._used(inputs, mask)

    def _used(self, inputs: Tensor, mask: Tensor) -> Tensor:
        fits = zip(reversed(mask.shape), reversed(inputs.shape), strict=False)
        if mask.dim() > inputs.dim() or any(m != 1 and m != n for m, n in fits):
            raise ValueError(
                f"{self.described}: the mask must broadcast over the input, its last axis being the input's last; got "
                f"{tuple(mask.shape)} for an input of shape {tuple(inputs.shape)}."
            )
        used = mask if mask.dtype is torch.bool else mask > 0.5
        return used.expand(inputs.shape)

    def apply_to(self, x: Tensor) -> Tensor:
        if not isinstance(self.axis, list):
            return torch.softmax(x, self.axis)
        if len(self.axis) == 1:
            return torch.softmax(x, self.axis[0])
        return torch.exp(x - torch.logsumexp(x, self.axis, keepdim=True))


def _refuse_negative(who: str, what: str, value: Any) -> None:
    if value is None or value < 0:
        raise ValueError(f"{who}: {what} must be at least 0, got {value!r}.")
