"""`GRU` and `GRUCell`."""

from __future__ import annotations

from typing import Any

from ostinato.core import activations, constraints, initializers, regularizers
from ostinato.core.cell import GatedCell
from ostinato.core.registry import builtin
from ostinato.layers.aliases import cudnn_of, of_cell
from ostinato.layers.rnn import RNN
from ostinato.recurrence.activations import plain
from ostinato.recurrence.gru import GRU as RecurrenceGRU


@builtin("layers")
class GRUCell(GatedCell):
    """A gated recurrent unit cell: the inside of the loop of `GRU`.

    ::

        z = s(x Wz + bz + h Uz + cz)
        r = s(x Wr + br + h Ur + cr)
        k = a(x Wh + bh + r * (h Uh + ch))      with reset_after, as cuDNN has it; else
        k = a(x Wh + bh + (r * h) Uh)           and no biases c
        h' = z * h + (1 - z) * k

    with a the activation and s the recurrent activation (Cho et al. (2014), arXiv:1406.1078). Weights: kernel
    `(features, 3 units)`, recurrent_kernel `(units, 3 units)`, bias `(2, 3 units)` with reset_after, else `(3
    units,)`; gates in the order z, r, h.

    units: size of the state and of the output. activation, recurrent_activation: names or functions. use_bias:
    whether there is a bias. reset_after: apply the reset gate after the matrix product. *_initializer, *_regularizer,
    *_constraint: of each weight, by name or object. dropout, recurrent_dropout: share of the input and of the
    recurrent state that is dropped in training, in [0, 1); one mask per call. seed: of the dropout masks.

    Called with `(inputs, states, training=None)`, inputs `(batch, features)` and states h, each `(batch, units)`;
    returns (output `(batch, units)`, new states).

    >>> import torch, ostinato
    >>> cell = ostinato.layers.GRUCell(4)
    >>> output, states = cell(torch.ones(2, 3), cell.get_initial_state(batch_size=2))
    >>> output.shape, len(states)
    (torch.Size([2, 4]), 1)
    """

    gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._setup(units, dropout, recurrent_dropout, seed)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.reset_after = reset_after
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def recurrence(self, batch: int, training: bool) -> RecurrenceGRU:
        """The recurrence over this cell's weights, with dropout masks `(batch, ...)` in training."""
        kernel, recurrent_kernel, bias = self._tensors()
        dropout, recurrent_dropout = self._dropout_masks(batch, training)
        return RecurrenceGRU(
            kernel,
            recurrent_kernel,
            bias,
            dropout,
            recurrent_dropout,
            plain(self.activation),
            plain(self.recurrent_activation),
            self.reset_after,
        )


@builtin("layers")
class GRU(RNN):
    """A gated recurrent unit layer: `RNN(GRUCell(units))`.

    ::

        z = s(x Wz + bz + h Uz + cz)
        r = s(x Wr + br + h Ur + cr)
        k = a(x Wh + bh + r * (h Uh + ch))      with reset_after, as cuDNN has it; else
        k = a(x Wh + bh + (r * h) Uh)           and no biases c
        h' = z * h + (1 - z) * k

    with a the activation and s the recurrent activation (Cho et al. (2014), arXiv:1406.1078). Weights: kernel
    `(features, 3 units)`, recurrent_kernel `(units, 3 units)`, bias `(2, 3 units)` with reset_after, else `(3
    units,)`; gates in the order z, r, h.

    units: size of the state and of the output. activation, recurrent_activation: names or functions. use_bias:
    whether there is a bias. reset_after: apply the reset gate after the matrix product. *_initializer, *_regularizer,
    *_constraint: of each weight, by name or object. dropout, recurrent_dropout: share of the input and of the
    recurrent state that is dropped in training, in [0, 1); one mask per call. seed: of the dropout masks.
    return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask, time_major: see `RNN`.
    implementation, use_cudnn: accepted as in Keras; use_cudnn=True raises where cuDNN cannot run.

    Called with `(sequences, initial_state=None, mask=None, training=None)`, sequences `(batch, time, features)`;
    returns `(batch, units)`, or `(batch, time, units)` with return_sequences, and the final states h with
    return_state.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.GRU(4, return_sequences=True)
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
        reset_after: bool = True,
        use_cudnn: bool | str = "auto",
        implementation: int = 2,
        **kwargs: Any,
    ) -> None:
        cudnn = cudnn_of(type(self).__name__, use_cudnn)
        cell = GRUCell(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            reset_after=reset_after,
            seed=seed,
            dtype=kwargs.get("dtype"),
            name="gru_cell",
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
    kernel_regularizer = of_cell("kernel_regularizer")
    recurrent_regularizer = of_cell("recurrent_regularizer")
    bias_regularizer = of_cell("bias_regularizer")
    kernel_constraint = of_cell("kernel_constraint")
    recurrent_constraint = of_cell("recurrent_constraint")
    bias_constraint = of_cell("bias_constraint")
    dropout = of_cell("dropout")
    recurrent_dropout = of_cell("recurrent_dropout")
    reset_after = of_cell("reset_after")
    seed = of_cell("seed")
    kernel = of_cell("kernel")
    recurrent_kernel = of_cell("recurrent_kernel")
    bias = of_cell("bias")
