"""`Conv1D` and `Conv2D`: weighted sums under a window that moves over time or space."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ostinato.core import activations, constraints, initializers, regularizers
from ostinato.core.input_spec import InputSpec
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin, nearest
from ostinato.recurrence.convolution import Convolution

AXES = {1: ("steps",), 2: ("height", "width"), 3: ("depth", "height", "width")}
"""What the axes that a window of this rank moves over are called, in messages."""


def convolution(
    who: str, rank: int, kernel_size: Any, strides: Any, padding: Any, data_format: Any, dilation_rate: Any
) -> Convolution:
    """Keras's options of a convolution, checked, as what can be computed.

    A size is a positive whole number, or `rank` of them. padding: "valid" or "same", for one axis "causal" too.
    data_format: "channels_last", the default, or "channels_first". Raises ValueError for anything else, and for strides
    together with a dilation, as Keras does.

    >>> convolution("Conv1D", 1, 3, 1, "same", None, 2).kernel_size
    (3,)
    """
    sizes = whole_numbers(who, "kernel_size", kernel_size, rank)
    steps = whole_numbers(who, "strides", strides, rank)
    rates = whole_numbers(who, "dilation_rate", dilation_rate, rank)
    if max(steps) > 1 and max(rates) > 1:
        raise ValueError(
            f"{who}: Specifying `strides > 1` is not compatible with `dilation_rate > 1`; one of the two must be 1. "
            f"Got strides {steps} and dilation_rate {rates}."
        )
    known = ("valid", "same", "causal") if rank == 1 else ("valid", "same")
    chosen = padding.lower() if isinstance(padding, str) else padding
    if chosen not in known:
        raise ValueError(f"{who}: padding must be one of {known}, got {padding!r}.{nearest(str(padding), known)}")
    formats = ("channels_last", "channels_first")
    layout = "channels_last" if data_format is None else str(data_format).lower()
    if layout not in formats:
        hint = nearest(str(data_format), formats)
        raise ValueError(f"{who}: data_format must be one of {formats}, got {data_format!r}.{hint}")
    return Convolution(sizes, steps, rates, chosen, layout == "channels_last")


def whole_numbers(who: str, what: str, value: Any, count: int) -> tuple[int, ...]:
    """`count` positive whole numbers, from one or from as many. Raises ValueError for anything else.

    >>> whole_numbers("Conv2D", "strides", 2, 2)
    (2, 2)
    """
    single = isinstance(value, bool) or hasattr(value, "__index__") or not hasattr(value, "__iter__")
    given = (value,) * count if single else tuple(value)
    if len(given) != count or any(isinstance(n, bool) or not hasattr(n, "__index__") or n < 1 for n in given):
        many = f", or {count} of them" if count > 1 else ""
        raise ValueError(f"{who}: `{what}` must be a positive integer{many}, got {value!r}.")
    return tuple(int(n) for n in given)


class BaseConv(Layer):
    """What convolutional layers of all ranks share: options, kernel and bias; a subclass says its `rank`.

    ::

        y[p, f] = activation(b[f] + sum over points j of the window and channels c: x[p s + j d, c] W[j, c, f])

    with strides s and dilation rate d.
    """

    rank: int

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        who = type(self).__name__
        (self.filters,) = whole_numbers(who, "filters", filters, 1)
        (self.groups,) = whole_numbers(who, "groups", groups, 1)
        if self.filters % self.groups:
            raise ValueError(f"{who}: filters must be a multiple of groups, got {self.filters} and {self.groups}.")
        self.convolution = convolution(who, self.rank, kernel_size, strides, padding, data_format, dilation_rate)
        self.kernel_size, self.strides = self.convolution.kernel_size, self.convolution.strides
        self.dilation_rate, self.padding = self.convolution.dilation, self.convolution.padding
        self.data_format = "channels_last" if self.convolution.channels_last else "channels_first"
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    @property
    def _channel_axis(self) -> int:
        return -1 if self.convolution.channels_last else 1

    def build(self, input_shape: Any) -> None:
        names = ["batch", *AXES[self.rank]]
        names.insert(len(names) if self.convolution.channels_last else 1, "channels")
        layout = f"({', '.join(names)})"
        if len(input_shape) != self.rank + 2 or input_shape[self._channel_axis] is None:
            got = tuple(input_shape)
            raise ValueError(f"{self.described}: expected input {layout} with channels known, got {got}.")
        channels = input_shape[self._channel_axis]
        if not channels or channels % self.groups:
            raise ValueError(
                f"{self.described}: the input's channels must be a multiple of groups, got {channels} channels and "
                f"{self.groups} groups."
            )
        self.compute_output_shape(input_shape)  # refuses an input that is smaller than the window
        self.kernel = self.add_weight(
            shape=(*self.kernel_size, channels // self.groups, self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        self.bias: Tensor | None = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={self._channel_axis: channels}, layout=layout)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        if not inputs.is_floating_point():
            inputs = inputs.to(self._dtype)
        outputs = self.convolution(inputs, self.kernel, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output. Raises ValueError for an input that is smaller than the window."""
        sizes = self.convolution.spatial(input_shape)
        positions = self.convolution.positions(sizes)
        for axis, count in zip(AXES[self.rank], positions, strict=True):
            if count is not None and count < 1:
                raise ValueError(
                    f"{self.described}: a window of {self.kernel_size} with dilation_rate {self.dilation_rate} does "
                    f"not fit into an input of {tuple(sizes)} ({axis}). Make kernel_size smaller, or pad the input, "
                    f"with padding='same' if it is not empty."
                )
        return (
            (input_shape[0], *positions, self.filters)
            if self.convolution.channels_last
            else (input_shape[0], self.filters, *positions)
        )


@builtin("layers")
class Conv1D(BaseConv):
    """A window moved over time: `activation(x * W + b)`, where `*` correlates, as in all of deep learning.

    filters: size of the output. kernel_size: length of the window, in steps. strides: steps from one position to the
    next. padding: "valid" (only where the whole window fits), "same" (zeros on both sides, so that with strides 1
    there are as many steps after as before), "causal" (the zeros all before the first step: an output depends on no
    later input). data_format: "channels_last" for `(batch, steps, channels)`, the default, or "channels_first" for
    `(batch, channels, steps)`. dilation_rate: steps from one point of the window to the next; strides or it must be 1.
    groups: channels and filters are split into so many groups, which do not see each other. activation: name or
    function, none by default. use_bias: whether there is a bias. *_initializer, *_regularizer, *_constraint: of kernel
    `(kernel_size, channels / groups, filters)` and bias `(filters,)`.

    Called with `(batch, steps, channels)`; returns `(batch, positions, filters)`. As in Keras, the mask of the input
    ends here. Raises ValueError for options that do not go together, and for an input shorter than the window.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.Conv1D(4, 3, padding="causal", dilation_rate=2)
    >>> layer(torch.zeros(2, 10, 8)).shape, layer.kernel.shape
    (torch.Size([2, 10, 4]), torch.Size([3, 8, 4]))
    """

    rank = 1


@builtin("layers")
class Conv2D(BaseConv):
    """A window moved over height and width: `activation(x * W + b)`, where `*` correlates.

    kernel_size, strides, dilation_rate: a number, or a pair (height, width). padding: "valid" (only where the whole
    window fits) or "same" (zeros on all sides, so that with strides 1 the size stays). data_format: "channels_last"
    for `(batch, height, width, channels)`, the default, or "channels_first" for `(batch, channels, height, width)`.
    All else is as in `Conv1D`; the kernel is `(*kernel_size, channels / groups, filters)`.

    Called with `(batch, height, width, channels)`; returns `(batch, rows, columns, filters)`.

    >>> import torch, ostinato
    >>> ostinato.layers.Conv2D(4, (3, 3), strides=2, padding="same")(torch.zeros(2, 28, 28, 1)).shape
    torch.Size([2, 14, 14, 4])
    """

    rank = 2
