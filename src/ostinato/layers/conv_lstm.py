"""`ConvLSTM1D`, `ConvLSTM2D`, `ConvLSTM3D` and their cell: a long short-term memory at each place in space."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import torch

from ostinato.core import activations, constraints, initializers, regularizers
from ostinato.core.cell import KernelCell
from ostinato.core.input_spec import InputSpec
from ostinato.core.registry import builtin
from ostinato.core.shapes import Shape, is_shape, normalise
from ostinato.layers.aliases import of_cell
from ostinato.layers.convolution import convolution, whole_numbers
from ostinato.layers.lstm import forget_ones
from ostinato.layers.rnn import RNN
from ostinato.recurrence.activations import plain
from ostinato.recurrence.conv_lstm import ConvLSTM as RecurrenceConvLSTM

AXES = {1: ("rows",), 2: ("rows", "columns"), 3: ("depth", "rows", "columns")}
"""What the axes of space are called, in messages."""


@builtin("layers")
class ConvLSTMCell(KernelCell):
    """A long short-term memory cell whose products are convolutions: the inside of the loop of `ConvLSTM2D`.

    ::

        i, f, g, o = split(x * W + b + h * U)
        c' = s(f) c + s(i) a(g)
        h' = s(o) a(c')

    with `*` for convolution, a the activation and s the recurrent activation (Shi et al., 2015, arXiv:1506.04214).
    rank: number of axes of space, 1 to 3. The other options are those of `ConvLSTM2D`.

    Called with `(inputs, states, training=None)`, inputs `(batch, *sizes, channels)` and states [h, c], each
    `(batch, *places, filters)`; returns (output, new states), the output of that shape too. How many places there are
    follows from the sizes: `state_size` has -1 for them until the cell is built. Raises ValueError for other inputs.

    >>> import torch, ostinato
    >>> cell = ostinato.layers.ConvLSTM2D(4, 3).cell
    >>> cell.build((None, 8, 8, 1))
    >>> output, states = cell(torch.ones(2, 8, 8, 1), cell.get_initial_state(batch_size=2))
    >>> output.shape, cell.state_size[0]
    (torch.Size([2, 6, 6, 4]), torch.Size([6, 6, 4]))
    """

    gates = 4

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        who = type(self).__name__
        if rank not in AXES:
            raise ValueError(f"{who}: rank must be 1, 2 or 3, got {rank!r}.")
        self._setup_dropout(dropout, recurrent_dropout, seed)
        self.rank = rank
        (self.filters,) = whole_numbers(who, "filters", filters, 1)
        self.convolution = convolution(who, rank, kernel_size, strides, padding, data_format, dilation_rate)
        if self.convolution.padding == "causal":
            raise ValueError(f"{who}: padding must be one of ('valid', 'same'), got {padding!r}.")
        ones = (1,) * rank
        self.recurrent_convolution = dataclasses.replace(self.convolution, strides=ones, dilation=ones, padding="same")
        self.kernel_size, self.strides = self.convolution.kernel_size, self.convolution.strides
        self.dilation_rate, self.padding = self.convolution.dilation, self.convolution.padding
        self.data_format = "channels_last" if self.convolution.channels_last else "channels_first"
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.unit_forget_bias = unit_forget_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self._step_size: tuple[int, ...] = ()  # of the input, without batch; known once built
        self.output_size = torch.Size(self._arranged((-1,) * rank, self.filters))

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The cell that `get_config` described; Keras's leaves the rank out, which is that of the window."""
        if "rank" not in config and isinstance(config.get("kernel_size"), (list, tuple)):
            config = {"rank": len(config["kernel_size"]), **config}
        return super().from_config(config, custom_objects)

    @property
    def state_size(self) -> list[torch.Size]:
        """The sizes of h and c; -1 in them for what is known only once the cell is built."""
        return [self.output_size, self.output_size]

    # -- shapes -------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        layout = self._layout("batch")
        if not is_shape(input_shape) or len(input_shape) != self.rank + 2 or None in input_shape[1:]:
            raise ValueError(
                f"{self.described}: expected a step's input {layout} with all sizes but the batch known, got "
                f"{input_shape!r}."
            )
        self._step_size = tuple(input_shape[1:])
        channels = self._step_size[-1 if self.convolution.channels_last else 0]
        if channels < 1:
            raise ValueError(f"{self.described}: expected an input {layout} with channels, got {tuple(input_shape)}.")
        self.output_size = torch.Size(self.compute_output_shape(input_shape)[0][1:])
        self.input_spec = InputSpec(shape=(None, *self._step_size), layout=layout)
        width = self.gates * self.filters
        window = self.kernel_size
        self._add_weights((*window, channels, width), (*window, self.filters, width), (width,))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, Any]:
        """Shapes of (output, new states). Raises ValueError for an input that is smaller than the window."""
        sizes = self.convolution.spatial(input_shape)
        places = self.convolution.positions(sizes)
        for axis, count in zip(AXES[self.rank], places, strict=True):
            if count is not None and count < 1:
                raise ValueError(
                    f"{self.described}: a window of {self.kernel_size} with dilation_rate {self.dilation_rate} does "
                    f"not fit into steps of {sizes} ({axis}). Make kernel_size smaller, or pad the input, with "
                    f"padding='same' if it is not empty."
                )
        output = (input_shape[0], *self._arranged(places, self.filters))
        return output, [output, output]

    def _arranged(self, sizes: Any, channels: Any) -> tuple[Any, ...]:
        """Sizes and channels in the order of the data format."""
        return (*sizes, channels) if self.convolution.channels_last else (channels, *sizes)

    def _layout(self, *lead: str) -> str:
        return f"({', '.join((*lead, *self._arranged(AXES[self.rank], 'channels')))})"

    # -- the recurrence -----------------------------------------------------------------------------------------------

    def _bias_initializer(self) -> Any:
        return forget_ones(self.bias_initializer, self.filters) if self.unit_forget_bias else self.bias_initializer

    def _step_sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self._step_size, tuple(self.output_size)

    def _masks_by_gate(self) -> bool:
        return True  # with dropout of the input alone too, unlike LSTM: as in Keras

    def recurrence(self, batch: int, training: bool) -> RecurrenceConvLSTM:
        """The recurrence over this cell's weights, with dropout masks `(4, batch, ...)` in training."""
        kernel, recurrent_kernel, bias = self._tensors()
        dropout, recurrent_dropout = self._dropout_masks(batch, training)
        return RecurrenceConvLSTM(
            kernel,
            recurrent_kernel,
            self.convolution,
            self.recurrent_convolution,
            bias,
            dropout,
            recurrent_dropout,
            plain(self.activation),
            plain(self.recurrent_activation),
        )


class ConvLSTM(RNN):
    """What the layers of all ranks share; a subclass says its `rank`."""

    rank: int

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        implementation: int = 2,
        **kwargs: Any,
    ) -> None:
        cell = ConvLSTMCell(
            self.rank,
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            dtype=kwargs.get("dtype"),
            name="conv_lstm_cell",
        )
        super().__init__(
            cell,
            return_sequences,
            return_state,
            go_backwards,
            stateful,
            unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Shape of the output, or a tuple of it and those of the states; None in space stays None."""
        shape = normalise(sequences_shape)
        step = self.cell.compute_output_shape(self._without_time(shape))[0]
        output = (*shape[:2], *step[1:]) if self.return_sequences else step
        return (output, step, step) if self.return_state else output

    def _without_time(self, shape: Any) -> Shape:
        if len(shape) != self.rank + 3:
            layout = self.cell._layout(*(("time", "batch") if self.time_major else ("batch", "time")))
            raise ValueError(f"{self.described}: expected input {layout}, got {tuple(shape)}.")
        return super()._without_time(shape)

    filters = of_cell("filters")
    kernel_size = of_cell("kernel_size")
    strides = of_cell("strides")
    padding = of_cell("padding")
    data_format = of_cell("data_format")
    dilation_rate = of_cell("dilation_rate")
    activation = of_cell("activation")
    recurrent_activation = of_cell("recurrent_activation")
    use_bias = of_cell("use_bias")
    kernel_initializer = of_cell("kernel_initializer")
    recurrent_initializer = of_cell("recurrent_initializer")
    bias_initializer = of_cell("bias_initializer")
    unit_forget_bias = of_cell("unit_forget_bias")
    kernel_regularizer = of_cell("kernel_regularizer")
    recurrent_regularizer = of_cell("recurrent_regularizer")
    bias_regularizer = of_cell("bias_regularizer")
    kernel_constraint = of_cell("kernel_constraint")
    recurrent_constraint = of_cell("recurrent_constraint")
    bias_constraint = of_cell("bias_constraint")
    dropout = of_cell("dropout")
    recurrent_dropout = of_cell("recurrent_dropout")
    seed = of_cell("seed")
    kernel = of_cell("kernel")
    recurrent_kernel = of_cell("recurrent_kernel")
    bias = of_cell("bias")


@builtin("layers")
class ConvLSTM1D(ConvLSTM):
    """A long short-term memory over sequences of rows of values; the window moves along the row.

    kernel_size, strides, dilation_rate: a number. data_format: "channels_last" for `(batch, time, rows, channels)`, the
    default, or "channels_first" for `(batch, time, channels, rows)`. All else is as in `ConvLSTM2D`.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.ConvLSTM1D(4, 3, padding="same", return_sequences=True)
    >>> layer(torch.zeros(2, 5, 8, 1)).shape, layer.kernel.shape
    (torch.Size([2, 5, 8, 4]), torch.Size([3, 1, 16]))
    """

    rank = 1


@builtin("layers")
class ConvLSTM2D(ConvLSTM):
    """A long short-term memory over sequences of images; its products are convolutions.

    ::

        i, f, g, o = split(x * W + b + h * U)
        c' = s(f) c + s(i) a(g)
        h' = s(o) a(c')

    with `*` for convolution, a the activation and s the recurrent activation. Weights: kernel W
    `(*kernel_size, channels, 4 filters)`, recurrent_kernel U `(*kernel_size, filters, 4 filters)`, bias
    `(4 filters,)`; gates in the order i, f, c, o.

    filters: channels of the state and of the output. kernel_size: of the window, a number or a pair (rows, columns).
    strides, padding, dilation_rate: of the convolution of the input, as in `Conv2D`; that of the state has strides 1
    and keeps its size. data_format: "channels_last" for `(batch, time, rows, columns, channels)`, the default, or
    "channels_first" for `(batch, time, channels, rows, columns)`. activation, recurrent_activation: names or functions.
    use_bias: whether there is a bias. unit_forget_bias: start the forget gate's bias at 1.
    *_initializer, *_regularizer, *_constraint: of each weight, by name or object. activity_regularizer: of the output.
    dropout, recurrent_dropout: share of the input and of the state that is dropped in training, in [0, 1); one mask
    for each gate, held over time. seed: of these masks. return_sequences, return_state, go_backwards, stateful, unroll,
    zero_output_for_mask, time_major: see `RNN`. implementation: accepted as in Keras 2.

    Called with `(sequences, initial_state=None, mask=None, training=None)`, the sequences as data_format has it and
    their sizes in space known when the layer is built; mask `(batch, time)`. Returns `(batch, rows, columns, filters)`,
    or `(batch, time, rows, columns, filters)` with return_sequences, and the final states [h, c] with return_state.
    Raises ValueError for options that do not go together, and for an input smaller than the window.

    Source: Shi et al. (2015), arXiv:1506.04214, without the peepholes; keras/src/layers/rnn/conv_lstm.py.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.ConvLSTM2D(4, (3, 3), strides=2, return_state=True)
    >>> output, h, c = layer(torch.zeros(2, 5, 28, 28, 1))
    >>> output.shape, layer.recurrent_kernel.shape
    (torch.Size([2, 13, 13, 4]), torch.Size([3, 3, 4, 16]))
    """

    rank = 2


@builtin("layers")
class ConvLSTM3D(ConvLSTM):
    """A long short-term memory over sequences of volumes.

    kernel_size, strides, dilation_rate: a number, or three (depth, rows, columns). data_format: "channels_last" for
    `(batch, time, depth, rows, columns, channels)`, the default, or "channels_first" for `(batch, time, channels,
    depth, rows, columns)`. All else is as in `ConvLSTM2D`.

    >>> import torch, ostinato
    >>> ostinato.layers.ConvLSTM3D(2, (1, 2, 2))(torch.zeros(2, 5, 3, 4, 4, 1)).shape
    torch.Size([2, 3, 3, 3, 2])
    """

    rank = 3
