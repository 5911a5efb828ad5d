"""`LSTM` and `LSTMCell`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import activations, constraints, initializers, regularizers
from ostinato.core.cell import GatedCell
from ostinato.core.registry import builtin
from ostinato.layers.aliases import cudnn_of, of_cell
from ostinato.layers.rnn import RNN
from ostinato.recurrence.activations import plain
from ostinato.recurrence.lstm import LSTM as RecurrenceLSTM


def forget_ones(initializer: Any, units: int) -> Any:
    """An initializer of a bias `(4 units,)`: ones for the forget gate, the given initializer's values for the others.

    >>> forget_ones(torch.zeros, 1)((4,), torch.float32)
    tensor([0., 1., 0., 0.])
    """

    def initialize(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        values = initializer(shape, dtype=dtype)
        values = values.clone() if isinstance(values, Tensor) else torch.tensor(values, device="cpu")
        values[units : 2 * units] = 1
        return values

    return initialize


@builtin("layers")
class LSTMCell(GatedCell):
    """A long short-term memory cell: the inside of the loop of `LSTM`.

    ::

        i, f, g, o = split(x W + b + h U)
        c' = s(f) * c + s(i) * a(g)
        h' = s(o) * a(c')

    with a the activation and s the recurrent activation (Hochreiter & Schmidhuber (1997); forget gate: Gers et al.
    (2000)). Weights: kernel `(features, 4 units)`, recurrent_kernel `(units, 4 units)`, bias `(4 units,)`; gates in
    the order i, f, c, o.

    units: size of the state and of the output. activation, recurrent_activation: names or functions. use_bias:
    whether there is a bias. unit_forget_bias: start the forget gate's bias at 1 (Jozefowicz et al., 2015).
    *_initializer, *_regularizer, *_constraint: of each weight, by name or object. dropout, recurrent_dropout: share
    of the input and of the recurrent state that is dropped in training, in [0, 1); one mask per call. seed: of the
    dropout masks.

    Called with `(inputs, states, training=None)`, inputs `(batch, features)` and states [h, c], each `(batch, units)`;
    returns (output `(batch, units)`, new states).

    >>> import torch, ostinato
    >>> cell = ostinato.layers.LSTMCell(4)
    >>> output, states = cell(torch.ones(2, 3), cell.get_initial_state(batch_size=2))
    >>> output.shape, len(states)
    (torch.Size([2, 4]), 2)
    """

    gates = 4
    _states = 2

    def __init__(
        self,
        units: int,
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
        self._setup(units, dropout, recurrent_dropout, seed)
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

    def _bias_initializer(self) -> Any:
        return forget_ones(self.bias_initializer, self.units) if self.unit_forget_bias else self.bias_initializer

    def recurrence(self, batch: int, training: bool) -> RecurrenceLSTM:
        """The recurrence over this cell's weights, with dropout masks `(batch, ...)` in training."""
        kernel, recurrent_kernel, bias = self._tensors()
        dropout, recurrent_dropout = self._dropout_masks(batch, training)
        return RecurrenceLSTM(
            kernel,
            recurrent_kernel,
            bias,
            dropout,
            recurrent_dropout,
            plain(self.activation),
            plain(self.recurrent_activation),
        )


@builtin("layers")
class LSTM(RNN):
    """A long short-term memory layer: `RNN(LSTMCell(units))`.

    ::

        i, f, g, o = split(x W + b + h U)
        c' = s(f) * c + s(i) * a(g)
        h' = s(o) * a(c')

    with a the activation and s the recurrent activation (Hochreiter & Schmidhuber (1997); forget gate: Gers et al.
    (2000)). Weights: kernel `(features, 4 units)`, recurrent_kernel `(units, 4 units)`, bias `(4 units,)`; gates in
    the order i, f, c, o.

    units: size of the state and of the output. activation, recurrent_activation: names or functions. use_bias:
    whether there is a bias. unit_forget_bias: start the forget gate's bias at 1 (Jozefowicz et al., 2015).
    *_initializer, *_regularizer, *_constraint: of each weight, by name or object. dropout, recurrent_dropout: share
    of the input and of the recurrent state that is dropped in training, in [0, 1); one mask per call. seed: of the
    dropout masks. return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask, time_major:
    see `RNN`. implementation, use_cudnn: accepted as in Keras; use_cudnn=True raises where cuDNN cannot run.

    Called with `(sequences, initial_state=None, mask=None, training=None)`, sequences `(batch, time, features)`;
    returns `(batch, units)`, or `(batch, time, units)` with return_sequences, and the final states [h, c] with
    return_state.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.LSTM(4, return_sequences=True)
    >>> layer(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        units: int,
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
        use_cudnn: bool | str = "auto",
        implementation: int = 2,
        **kwargs: Any,
    ) -> None:
        cudnn = cudnn_of(type(self).__name__, use_cudnn)
        cell = LSTMCell(
            units,
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
            name="lstm_cell",
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
        self.use_cudnn, self._cudnn = use_cudnn, cudnn

    units = of_cell("units")
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
