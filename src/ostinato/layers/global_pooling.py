"""`GlobalAveragePooling1D`, `GlobalMaxPooling1D`: a sequence as one vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core.input_spec import InputSpec
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin

LAYOUTS = {"channels_last": "(batch, time, features)", "channels_first": "(batch, features, time)"}


def check_data_format(who: str, data_format: str | None) -> str:
    """The data format, channels_last for None. Raises ValueError for one that is not known.

    >>> check_data_format("Flatten", None)
    'channels_last'
    """
    if data_format is None:
        return "channels_last"
    if data_format not in LAYOUTS:
        raise ValueError(f"{who}: data_format must be 'channels_last' or 'channels_first', got {data_format!r}.")
    return data_format


class GlobalPooling1D(Layer):
    """A layer that pools all steps of a sequence that are not masked; a subclass says how, in `pool`."""

    supports_masking = True
    _makes_mask = False

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = check_data_format(type(self).__name__, data_format)
        self.keepdims = keepdims
        self.input_spec = InputSpec(ndim=3, layout=LAYOUTS[self.data_format])

    @property
    def _steps(self) -> int:
        return 1 if self.data_format == "channels_last" else 2

    def pool(self, x: Tensor, used: Tensor | None, axis: int) -> Tensor:
        """The used steps of `x` as one, along axis, which is kept.

        used: booleans that broadcast over x; None for all.
        """
        raise NotImplementedError(f"{type(self).__name__} must define pool(x, used, axis).")

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        axis = self._steps
        used = None
        if mask is not None:
            expected = (inputs.shape[0], inputs.shape[axis])
            if tuple(mask.shape) != expected:
                raise ValueError(
                    f"{self.described}: mask must have shape (batch, time) = {expected}, got {tuple(mask.shape)}."
                )
            used = (mask != 0).unsqueeze(3 - axis)
        pooled = self.pool(inputs, used, axis)
        return pooled if self.keepdims else pooled.squeeze(axis)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None: there are no steps any more."""
        return

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(batch, features)`, with a 1 in the place of the steps with keepdims."""
        kept = (1,) if self.keepdims else ()
        return (*input_shape[: self._steps], *kept, *input_shape[self._steps + 1 :])


@builtin("layers")
class GlobalAveragePooling1D(GlobalPooling1D):
    """The mean of a sequence over its steps, of those that are not masked.

    ::

        y = sum_t mask[t] x[t] / sum_t mask[t]

    data_format: "channels_last" (default) for `(batch, time, features)`, or "channels_first" for
    `(batch, features, time)`. keepdims: whether the axis of the steps stays, with size 1.

    Called with such a sequence, and a mask `(batch, time)`; returns `(batch, features)`, without a mask. What stands in
    masked steps reaches neither the output nor a gradient. A row without steps gives zeros (Keras: NaN).
    Raises ValueError for another data format, rank or shape of the mask.
    Source: keras/src/layers/pooling/global_average_pooling1d.py.

    >>> import torch, ostinato
    >>> x = torch.tensor([[[1.0], [3.0], [torch.nan]]])
    >>> ostinato.layers.GlobalAveragePooling1D()(x, mask=torch.tensor([[True, True, False]]))
    tensor([[2.]])
    """

    def pool(self, x: Tensor, used: Tensor | None, axis: int) -> Tensor:
        x = x if x.is_floating_point() else x.to(self._dtype)
        wide = torch.promote_types(x.dtype, torch.float32)  # a sum over many steps is beyond half precision
        if used is None:
            return (x.sum(axis, keepdim=True, dtype=wide) / max(1, x.shape[axis])).to(x.dtype)
        total = x.masked_fill(~used, 0).sum(axis, keepdim=True, dtype=wide)
        return (total / used.sum(axis, keepdim=True).clamp(min=1)).to(x.dtype)

    def _output_dtype(self, inputs: Any) -> torch.dtype:
        return inputs.dtype if inputs.dtype is None or inputs.dtype.is_floating_point else self._dtype


@builtin("layers")
class GlobalMaxPooling1D(GlobalPooling1D):
    """The largest value of each feature over the steps of a sequence, of those that are not masked.

    data_format: "channels_last" (default) for `(batch, time, features)`, or "channels_first" for
    `(batch, features, time)`. keepdims: whether the axis of the steps stays, with size 1.

    Called with such a sequence, and a mask `(batch, time)`; returns `(batch, features)`, without a mask. What stands in
    masked steps reaches neither the output nor a gradient. A row without steps gives zeros. Keras ignores the mask
    here, with a warning, so that padding wins wherever it is larger than the sequence; here it does not.
    Raises ValueError for another data format, rank or shape of the mask.
    Source: keras/src/layers/pooling/global_max_pooling1d.py, for all but masks.

    >>> import torch, ostinato
    >>> x = torch.tensor([[[-1.0], [-3.0], [0.0]]])
    >>> ostinato.layers.GlobalMaxPooling1D()(x, mask=torch.tensor([[True, True, False]]))
    tensor([[-1.]])
    """

    def pool(self, x: Tensor, used: Tensor | None, axis: int) -> Tensor:
        if not x.shape[axis]:
            return x.new_zeros([1 if each == axis else size for each, size in enumerate(x.shape)])
        if used is None:
            return x.amax(axis, keepdim=True)
        lowest = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
        return x.masked_fill(~used, lowest).amax(axis, keepdim=True).masked_fill(~used.any(axis, keepdim=True), 0)

    def _output_dtype(self, inputs: Any) -> torch.dtype:
        return inputs.dtype
