"""`Flatten`, `Reshape`, `Permute`, `RepeatVector`: the same values in another shape.

The output has no mask: its axes need not be the steps any more. As in Keras, a mask of the input ends here, with a
warning.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ostinato.core.input_spec import InputSpec
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin
from ostinato.layers.global_pooling import check_data_format


class Rearranged(Layer):
    """A layer that moves values and changes none: the dtype is that of the input, whole numbers too."""

    def _output_dtype(self, inputs: Any) -> torch.dtype:
        return inputs.dtype


@builtin("layers")
class Flatten(Rearranged):
    """All axes but the batch as one.

    data_format: "channels_first" for an input `(batch, features, ...)` whose features are to come last in each step, as
    they do with "channels_last", the default.

    Called with `(batch, ...)`; returns `(batch, product of the sizes)`, `(batch, 1)` for `(batch,)`.
    Raises ValueError for another data format, or an input without a batch.
    Source: keras/src/layers/reshaping/flatten.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Flatten()(torch.zeros(2, 3, 4)).shape
    torch.Size([2, 12])
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = check_data_format("Flatten", data_format)
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: Tensor) -> Tensor:
        if self.data_format == "channels_first" and inputs.dim() > 1:
            inputs = inputs.movedim(1, -1)
        return inputs.reshape(self.compute_output_shape(inputs.shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(batch, product of the sizes)`."""
        batch, *sizes = input_shape
        return (batch, None if None in sizes else math.prod(sizes))


@builtin("layers")
class Reshape(Rearranged):
    """The values of each sample in another shape.

    target_shape: the shape without the batch; one size may be -1 (or None), for what is left.

    Called with `(batch, ...)`; returns `(batch, *target_shape)`.
    Raises ValueError for sizes below -1, more than one that is open, or a target that does not fit the input.
    Source: keras/src/layers/reshaping/reshape.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Reshape((-1, 2))(torch.zeros(3, 8)).shape
    torch.Size([3, 4, 2])
    """

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        target = (target_shape,) if isinstance(target_shape, int) else tuple(target_shape)
        target = tuple(-1 if size is None else size for size in target)
        if any(isinstance(size, bool) or not hasattr(size, "__index__") or size < -1 for size in target):
            raise ValueError(f"Reshape: target_shape must be sizes, or one -1 among them, got {target_shape!r}.")
        if target.count(-1) > 1:
            raise ValueError(f"Reshape: target_shape may have one open size (-1 or None), got {target_shape!r}.")
        self.target_shape = tuple(int(size) for size in target)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(self.compute_output_shape(tuple(inputs.shape)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(batch, *target_shape)`. Raises ValueError if the target does not fit."""
        batch, *sizes = input_shape
        if None in sizes:
            return (batch, *(None if size == -1 else size for size in self.target_shape))
        count, known = math.prod(sizes), math.prod([size for size in self.target_shape if size != -1])
        fits = count == known if -1 not in self.target_shape else known and count % known == 0
        if not fits:
            raise ValueError(
                f"{self.described}: the {count} values of a sample of shape {tuple(sizes)} cannot be laid out as "
                f"target_shape {self.target_shape}."
            )
        return (batch, *(count // known if size == -1 else size for size in self.target_shape))


@builtin("layers")
class Permute(Rearranged):
    """The axes of each sample in another order.

    dims: for each axis of the output the axis of the input, counted from 1, after the batch.

    Called with `(batch, ...)` of as many axes; returns them permuted.
    Raises ValueError unless dims are the numbers 1, 2, ... in some order, or if the input has other axes.
    Source: keras/src/layers/reshaping/permute.py.

    >>> import torch, ostinato
    >>> ostinato.layers.Permute((2, 1))(torch.zeros(3, 10, 4)).shape
    torch.Size([3, 4, 10])
    """

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"Permute: dims must be the numbers from 1 to the number of axes, each once, got {dims!r}."
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.permute(0, *self.dims)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The sizes permuted."""
        return (input_shape[0], *(input_shape[axis] for axis in self.dims))


@builtin("layers")
class RepeatVector(Rearranged):
    """A vector at each of n steps, for a decoder to begin with.

    n: the number of steps.

    Called with `(batch, features)`; returns `(batch, n, features)`.
    Raises TypeError for an n that is no whole number, ValueError for one below 1, or an input of another rank.
    Source: keras/src/layers/reshaping/repeat_vector.py.

    >>> import torch, ostinato
    >>> ostinato.layers.RepeatVector(3)(torch.zeros(2, 4)).shape
    torch.Size([2, 3, 4])
    """

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(f"RepeatVector: n must be a whole number, got {n!r}.")
        if n < 1:
            raise ValueError(f"RepeatVector: n must be at least 1, got {n!r}.")
        self.n = int(n)
        self.input_spec = InputSpec(ndim=2, layout="(batch, features)")

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.unsqueeze(1).repeat(1, self.n, 1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(batch, n, features)`."""
        return (input_shape[0], self.n, input_shape[1])
