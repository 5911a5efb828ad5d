"""What a cell is: the inside of a recurrent layer's loop, with its weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core.context import CONTEXT
from ostinato.core.input_spec import InputSpec
from ostinato.core.layer import Layer
from ostinato.core.shapes import is_shape, is_size, normalise, size_to_shape
from ostinato.random import DEFAULT, Stream, dropout_mask
from ostinato.recurrence.base import Recurrence
from ostinato.recurrence.nests import Nest, describe, flatten, map_nest, pack_like


class Cell(Layer):
    """A layer that takes one step, `(inputs, states) -> (output, new_states)`, and says which recurrence it is.

    state_size, output_size: a size (an int or a shape), or a nest of sizes. A subclass gives `recurrence`; engines run
    that for the whole sequence, and `call` runs one step of it.
    """

    state_size: Any
    output_size: Any

    @abstractmethod
    def recurrence(self, batch: int, training: bool) -> Recurrence:
        """The recurrence over this cell's weights, with dropout masks drawn for one call if training asks for them."""

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> tuple[Nest, Nest]:
        """One step: inputs `(batch, features)` and states to (output, new states), a list of them if states was one."""
        batch = flatten(inputs)[0].shape[0]
        state = pack_like(recurrence_structure(self), self._checked_states(states, batch), is_size)
        recurrence = self.recurrence(batch, training)
        output, new = recurrence.step(recurrence.project(inputs), state)
        leaves = flatten(new)
        if isinstance(states, Tensor) and len(leaves) == 1:
            return recurrence.readout(output), leaves[0]
        return recurrence.readout(output), pack_like(state_structure(self), leaves, is_size)

    def _checked_states(self, states: Nest, batch: int) -> list[Tensor]:
        """The states, flat. Raises ValueError unless they are as many and of the shapes that the cell carries."""
        leaves = [states] if isinstance(states, Tensor) else flatten(states)
        wanted = [(batch, *size_to_shape(size)) for size in flatten(state_structure(self), is_size)]
        if [getattr(leaf, "shape", None) for leaf in leaves] != wanted:
            raise ValueError(f"{self.described}: states must be {wanted}, got {describe(leaves)}.")
        return leaves

    def get_initial_state(self, batch_size: int | None = None) -> Nest:
        """Zeros for every state, `(batch_size, ...)` each."""
        if batch_size is None:
            raise ValueError(f"{self.described}: get_initial_state needs a batch_size.")
        return zero_state(self, batch_size, self._dtype, self._where())

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Shapes of (output, new states)."""
        batch = flatten(normalise(input_shape), is_shape)[0][0]
        return tuple(
            map_nest(lambda size: (batch, *size_to_shape(size)), sizes, is_size)
            for sizes in (self.output_size, state_structure(self))
        )

    def _makes_own_state(self) -> bool:
        """Whether the state before any step is anything else than zeros."""
        return type(self).get_initial_state is not Cell.get_initial_state

    def _recurrence_structure(self) -> Nest:
        """The sizes of the states as the recurrence takes them."""
        return state_structure(self)


def state_structure(cell: Any) -> Nest:
    """The sizes of a cell's states as Keras hands them about: a list, even of one."""
    return [cell.state_size] if is_size(cell.state_size) else cell.state_size


def recurrence_structure(cell: Any) -> Nest:
    """The sizes of a cell's states as its recurrence takes them: stacked cells have a list for each cell."""
    return cell._recurrence_structure() if isinstance(cell, Cell) else state_structure(cell)


def output_size(cell: Any) -> Nest:
    """The sizes of a cell's output: declared, or that of its first state."""
    declared = getattr(cell, "output_size", None)
    return flatten(state_structure(cell), is_size)[0] if declared is None else declared


def zero_state(cell: Any, batch: int, dtype: torch.dtype, device: torch.device) -> Nest:
    """Zeros for every state of a cell, `(batch, ...)` each, as Keras hands them about.

    Raises ValueError if the cell does not know their sizes yet.
    """
    structure = state_structure(cell)
    shapes: list[Any] = [(batch, *size_to_shape(size)) for size in flatten(structure, is_size)]
    if any(None in shape for shape in shapes):
        who = getattr(cell, "described", type(cell).__name__)
        raise ValueError(f"{who}: the sizes of its states are known once it is built; call build(input_shape) first.")
    return pack_like(structure, [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes], is_size)


class KernelCell(Cell):
    """The base of the built-in cells: one kernel, one recurrent kernel, one bias, over a number of gates.

    A subclass takes the options, calls `_setup_dropout` in its constructor and `_add_weights` in `build`, and says in
    `_step_sizes` what the dropout masks are for.
    """

    gates: int

    def _setup_dropout(self, dropout: float, recurrent_dropout: float, seed: int | None) -> None:
        for what, rate in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not isinstance(rate, (int, float, np.floating)) or not 0 <= rate < 1:
                raise ValueError(f"{type(self).__name__}: {what} must be in [0, 1), got {rate!r}.")
        self.dropout, self.recurrent_dropout, self.seed = float(dropout), float(recurrent_dropout), seed
        self._stream = DEFAULT if seed is None else Stream(seed)

    def _add_weights(self, kernel: tuple[int, ...], recurrent_kernel: tuple[int, ...], bias: tuple[int, ...]) -> None:
        """Make the weights, of these shapes."""
        self.kernel = self.add_weight(
            shape=kernel,
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        self.recurrent_kernel = self.add_weight(
            shape=recurrent_kernel,
            initializer=self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
            name="recurrent_kernel",
        )
        self.bias: Tensor | None = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=bias,
                initializer=self._bias_initializer(),
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )

    def _bias_initializer(self) -> Any:
        return self.bias_initializer

    def _differs_in_training(self) -> bool:
        return self.dropout > 0 or self.recurrent_dropout > 0

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """kernel, recurrent_kernel and bias; past torch's attribute lookup, which costs more than a call may."""
        own = self._parameters
        kernel, recurrent_kernel, bias = own.get("kernel"), own.get("recurrent_kernel"), own.get("bias")
        if kernel is None or recurrent_kernel is None or (bias is None and self.use_bias):  # parametrized
            return self.kernel, self.recurrent_kernel, self.bias
        return kernel, recurrent_kernel, bias

    @abstractmethod
    def _step_sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of one step's input and of the recurrent state, without batch."""

    def _masks_by_gate(self) -> bool:
        """With recurrent dropout each gate has masks of its own; else all share one, as in Keras."""
        return self.recurrent_dropout > 0 and self.gates > 1

    def _dropout_masks(self, batch: int, training: bool) -> tuple[Tensor | None, Tensor | None]:
        """Masks for (input, recurrent state) of one call, or None: `(batch, ...)`, or `(gates, batch, ...)`."""
        if not training or not self._differs_in_training():
            return None, None
        held = CONTEXT.held
        if held is None:
            return self._draw(batch)
        place = (id(self), batch)
        if place not in held:
            held[place] = self._draw(batch)
        return held[place]

    def _draw(self, batch: int) -> tuple[Tensor | None, Tensor | None]:
        kernel, (step, state) = self.kernel, self._step_sizes()
        lead = (self.gates, batch) if self._masks_by_gate() else (batch,)
        inputs = recurrent = None
        if self.dropout > 0:
            inputs = dropout_mask((*lead, *step), self.dropout, kernel, self._stream)
        if self.recurrent_dropout > 0:
            recurrent = dropout_mask((*lead, *state), self.recurrent_dropout, kernel, self._stream)
        return inputs, recurrent


class GatedCell(KernelCell):
    """The base of the built-in cells over vectors: kernel `(features, gates * units)`, states `(batch, units)`."""

    _states: int = 1

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _setup(self, units: int, dropout: float, recurrent_dropout: float, seed: int | None) -> None:
        """Check and keep what all of them take."""
        if isinstance(units, bool) or not hasattr(units, "__index__") or int(units) < 1:
            raise ValueError(f"{type(self).__name__}: `units` must be a positive integer, got {units!r}.")
        self._setup_dropout(dropout, recurrent_dropout, seed)
        self.units = int(units)
        self.state_size: Any = self.units if self._states == 1 else [self.units] * self._states
        self.output_size: Any = self.units

    def build(self, input_shape: Any) -> None:
        if not is_shape(input_shape) or len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(
                f"{self.described}: expected a step's input (batch, features) with features known, got {input_shape!r}."
            )
        features = input_shape[-1]
        self.input_spec = InputSpec(ndim=2, axes={-1: features}, layout="(batch, features)")
        width = self.gates * self.units
        self._add_weights((features, width), (self.units, width), self._bias_shape())

    def _step_sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.kernel.shape[0],), (self.units,)
