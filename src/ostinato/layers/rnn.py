"""`RNN`: a cell run over sequences, with Keras's options on top."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core.cell import Cell, GatedCell, output_size, state_structure
from ostinato.core.context import CONTEXT, holding
from ostinato.core.input_spec import InputSpec, check
from ostinato.core.layer import Layer
from ostinato.core.masks import first_mask
from ostinato.core.registry import builtin
from ostinato.core.shapes import is_shape, is_size, normalise, size_to_shape
from ostinato.core.symbolic import SymbolicTensor, TensorSpec
from ostinato.engines.execute import execute
from ostinato.layers.keras_cell import (
    build_cell,
    check_cell,
    constants_for,
    recurrence_of,
    try_step,
    with_dtype_of,
)
from ostinato.layers.recording import Recording
from ostinato.layers.sequences import Sequences, swap
from ostinato.layers.stacked import StackedRNNCells
from ostinato.layers.states import Recorded, plain_copy
from ostinato.recurrence.base import Problem, Scanned
from ostinato.recurrence.nests import Nest, flatten, map_nest, pack_like
from ostinato.recurrence.scan import zero_unless


@builtin("layers")
class RNN(Recording):
    """Runs a cell over the time axis of its input.

    cell: a cell, or a list of cells, which are stacked. Besides the built-in ones any layer will do that has
    `call(inputs, states) -> (output, new_states)` and `state_size`: an int or a shape for one state, or a nest (list,
    tuple, dict) of them; `output_size` (default: the first state's), `build` and `get_initial_state(batch_size)` are
    used where defined. Inputs, states and outputs may be nests of tensors.
    return_sequences: the output of every step rather than the last. return_state: the final states too.
    go_backwards: from the last step to the first; outputs are in processing order. stateful: start where the last call
    ended, row by row. unroll: accepted; changes no result. zero_output_for_mask: zeros, rather than the output before,
    at masked steps of a sequence. time_major: inputs and outputs are `(time, batch, ...)`.

    Called with `(sequences, initial_state=None, mask=None, training=None, constants=None, lengths=None)`: sequences
    `(batch, time, ...)`; mask `(batch, time)`, True = use the step; of images also `(batch, time, *places)`, as Masking
    gives it: state and output are held place by place. lengths `(batch,)`, the number of steps of each row, in place of
    a mask where rows are padded on the right; constants: tensors that `cell.call` takes at every step.
    Returns `(batch, ...)`, or `(batch, time, ...)` with return_sequences; with return_state a tuple of that and the
    states. Raises ValueError for inputs, states, masks or lengths that do not fit.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.RNN(ostinato.layers.LSTMCell(4), return_sequences=True)
    >>> layer(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 4])
    """

    _cudnn: bool | None = None  # whether cuDNN is asked for, or ruled out
    _mutable_options = ("name", "trainable", "stateful", "return_sequences", "return_state")

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        time_major: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        check_cell(cell, type(self).__name__)
        super().__init__(**with_dtype_of(cell, _with_input_shape(kwargs)))
        self.cell = cell
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful, self.unroll = go_backwards, stateful, unroll
        self.zero_output_for_mask, self.time_major = zero_output_for_mask, time_major
        self.recorded = None
        self._settle()

    # -- shapes -------------------------------------------------------------------------------------------------------

    def build(self, sequences_shape: Any) -> None:
        """Build the cell for one step of the sequences."""
        shapes = normalise(sequences_shape)
        step_shape = map_nest(self._without_time, shapes, is_shape)
        build_cell(self.cell, step_shape, self._build_device)
        self._settle()
        self.input_spec = map_nest(self._spec_of, shapes, is_shape)

    def _spec_of(self, shape: Any) -> InputSpec:
        lead = ["time", "batch"] if self.time_major else ["batch", "time"]
        rest = ["features"] if len(shape) == 3 else ["any"] * (len(shape) - 2)
        axes = {axis: size for axis, size in enumerate(shape) if axis > 1}
        return InputSpec(ndim=len(shape), axes=axes, layout=f"({', '.join(lead + rest)})")

    def _without_time(self, shape: Any) -> tuple[int | None, ...]:
        single = isinstance(self.cell, GatedCell)  # which takes vectors, and nothing larger
        if len(shape) < 2 or (isinstance(self.cell, Cell) and len(shape) < 3) or (single and len(shape) != 3):
            raise ValueError(f"{self.described}: expected input (batch, time, features), got {tuple(shape)}.")
        return (shape[1] if self.time_major else shape[0], *shape[2:])

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Shape of the output, or a tuple of it and those of the states."""
        first = flatten(normalise(sequences_shape), is_shape)[0]
        batch, time = (first[1], first[0]) if self.time_major else (first[0], first[1])
        lead = ((time, batch) if self.time_major else (batch, time)) if self.return_sequences else (batch,)
        output = map_nest(lambda size: (*lead, *size_to_shape(size)), output_size(self.cell), is_size)
        if not self.return_state:
            return output
        sizes = flatten(state_structure(self.cell), is_size)
        shapes = [(batch, *size_to_shape(size)) for size in sizes]
        return (output, *self._state_entries(shapes))

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Nest:
        found = super().compute_output_spec(*args, **kwargs)  # builds the cell, which may know its sizes only then
        self._check_drawn(kwargs.get("initial_state"))
        self._build_inside(args[0], kwargs.get("constants"))
        return found

    def _build_inside(self, sequences: Nest, constants: Any) -> None:
        """Build the layers in a cell that are built by its `call`, so that a drawn model has all its weights.

        Raises ValueError for constants that the cell does not take.
        """
        constants = constants_for(self.cell, constants, self.described)
        inside = self.cell.modules() if isinstance(self.cell, Layer) else ()
        if all(each.built for each in inside if isinstance(each, Layer)):
            return

        def step(leaf: Any) -> SymbolicTensor:
            return SymbolicTensor(TensorSpec(self._without_time(tuple(leaf.shape)), leaf.dtype), None)

        try_step(self.cell, map_nest(step, sequences), constants)

    def _check_drawn(self, states: Nest) -> None:
        """Raise ValueError unless symbolic states are as many and of the shapes that the cell carries."""
        if states is None:
            return
        wanted = [(None, *size) for size in self._sizes]
        shapes = [(None, *tuple(getattr(leaf, "shape", ()))[1:]) for leaf in flatten(states)]
        if shapes != wanted:
            raise ValueError(f"{self.described}: initial_state must be {wanted}, got {shapes}; None is the batch.")

    def compute_mask(self, inputs: Nest, mask: Nest = None) -> Nest:
        """The mask of the output sequence, in its order; None for what has no time axis."""
        mask = first_mask(mask)
        if mask is None or not self.return_sequences:
            return None
        mask = mask.flip(0 if self.time_major else 1) if self.go_backwards else mask
        masks = [mask] * len(flatten(output_size(self.cell), is_size))
        if len(masks) == 1 and not self.return_state:
            return mask
        return masks + [None] * (len(self._sizes) if self.return_state else 0)

    # -- calling ------------------------------------------------------------------------------------------------------

    def call(
        self,
        sequences: Nest,
        initial_state: Nest = None,
        mask: Nest = None,
        training: bool = False,
        constants: Sequence[Tensor] | None = None,
        lengths: Any = None,
    ) -> Any:
        over = self._sequences(sequences, mask, lengths)
        return self.finish(execute([self.problem(over, initial_state, training, constants)])[0], over.mask)

    def problem(
        self, over: Sequences, initial_state: Nest, training: bool, constants: Sequence[Tensor] | None = None
    ) -> Problem:
        """What is to be run, in the engines' terms. Raises ValueError for states that do not fit."""
        cell: Any = self._modules.get("cell")  # past torch's attribute lookup
        cell = self.cell if cell is None else cell
        batch = over.batch
        if over.mask is not None and over.mask.dim() > 2:
            self._check_places(tuple(over.mask.shape[2:]))
        if self._zeros is not None and initial_state is None and self.recorded is None:
            count, size = self._zeros
            state = (over.first.new_zeros((batch, *size), dtype=cell._dtype),) * count
        else:
            state = self._start(initial_state, batch, over.first)
        if constants is not None:
            constants = constants_for(cell, constants, self.described)
        if CONTEXT.held is None:
            recurrence = recurrence_of(cell, batch, training, constants)
        else:  # a layer in a cell of one's own: each of its calls is a sequence by itself
            with holding(None):
                recurrence = recurrence_of(cell, batch, training, constants)
        return Problem(
            recurrence,
            over.inputs,
            state,
            over.mask,
            over.lengths,
            self.go_backwards,
            self.return_sequences,
            False,
            self._cudnn,
            "" if torch.compiler.is_compiling() else self.name,  # or each name had a graph of its own
        )

    def _check_places(self, places: tuple[int, ...]) -> None:
        """Raise ValueError unless the places of a mask are those of every state and output."""
        sizes = [*self._sizes, *(size_to_shape(size) for size in flatten(output_size(self.cell), is_size))]
        wrong = [size for size in sizes if size[: len(places)] != places]
        if wrong:
            raise ValueError(
                f"{self.described}: mask has the places {places} of each step, and states and outputs have others, "
                f"{wrong[0]}. Choose padding='same' and strides=1, or pass a mask of steps, such as mask.flatten(2)."
                f"any(2)."
            )

    def step(
        self,
        inputs: Nest,
        state: Nest = None,
        mask: Tensor | None = None,
        training: bool | None = None,
        constants: Sequence[Tensor] | None = None,
    ) -> tuple[Nest, list[Nest]]:
        """One step of the sequence: `(inputs, state)` to (output, new state).

        inputs: `(batch, ...)`, one step of what the layer takes. state: what the step before returned, or an
        `initial_state`; None: the cell's own, which begins a sequence. mask: `(batch,)`, True = use; the state of
        another row stays as it is, and its output is zeros. Recorded states are neither used nor changed. In training
        with dropout each step draws a mask of its own. Raises ValueError for a layer that goes backwards, which would
        need the last step first.

        >>> import torch, ostinato
        >>> layer = ostinato.layers.LSTM(4)
        >>> x, state = torch.randn(2, 5, 3), None
        >>> for t in range(5):
        ...     output, state = layer.step(x[:, t], state)
        >>> torch.allclose(output, layer(x), atol=1e-6)
        True
        """
        if self.go_backwards:
            raise ValueError(f"{self.described}: go_backwards=True starts from the last step; step cannot know it.")
        axis = 0 if self.time_major else 1
        ((sequences,), admitted) = self._admit((_with_axis(inputs, axis),), {"state": state})
        if not self.built:
            self._build_for(sequences)
        check(self.input_spec, sequences, self.described)
        training = self._resolve_training(training)
        outer = CONTEXT.enter(training)
        try:
            over = self._sequences(sequences, None if mask is None else _with_axis(mask, axis), None)
            given = self.get_initial_state(over.batch, over.first) if admitted["state"] is None else admitted["state"]
            problem = self.problem(over, given, training, constants)
            scanned = execute([dataclasses.replace(problem, sequences=False)])[0]
        finally:
            CONTEXT.leave(outer)
        output = map_nest(torch.clone, scanned.last)  # or it might be a state, to be changed with it
        return output, pack_like(state_structure(self.cell), flatten(scanned.state), is_size)

    def finish(self, scanned: Scanned, mask: Tensor | None) -> Any:
        """What was computed in Keras's form; records the states of a stateful layer."""
        if self.stateful and not CONTEXT.inferring:
            # Replaced, never written into: autograd may still need the old ones. Copies: what a caller does to the
            # output in place must not reach them.
            self.recorded = Recorded(tuple(plain_copy(leaf, self.described) for leaf in flatten(scanned.state)))
        output = scanned.last
        if self.return_sequences:
            output = scanned.outputs
            if self.zero_output_for_mask and mask is not None:
                output = zero_unless(mask.flip(0) if self.go_backwards else mask, output)
            output = output if self.time_major else swap(output)
        if not self.return_state:
            return output
        if not self.return_sequences:
            output = map_nest(torch.clone, output)  # or it would be the very tensor that is returned as a state
        return (output, *self._state_entries(flatten(scanned.state)))

    def _state_entries(self, leaves: list[Any]) -> list[Nest]:
        structure = state_structure(self.cell)
        packed = pack_like(structure, leaves, is_size)
        return [packed] if isinstance(packed, dict) else list(packed)

    # -- torch --------------------------------------------------------------------------------------------------------

    def _admit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super()._admit(args, kwargs)
        if args and isinstance(self.cell, Cell):  # whole numbers are taken as numbers
            args = (map_nest(self._as_floating, args[0]), *args[1:])
        return args, kwargs

    def _as_floating(self, leaf: Any) -> Any:
        whole = isinstance(leaf, Tensor) and not leaf.is_floating_point() and not leaf.is_complex()
        return leaf.to(self._dtype) if whole else leaf

    def _asks_for_dtype(self) -> bool:
        return isinstance(self.cell, Cell)

    def _differs_in_training(self) -> bool:
        return isinstance(self.cell, Layer) and self.cell._differs_in_training()


def _with_input_shape(options: dict[str, Any]) -> dict[str, Any]:
    """Options with `input_shape` for Keras 2's `input_length` and `input_dim`: steps, and features of a step."""
    if options.get("input_length") is None and options.get("input_dim") is None:
        return {key: value for key, value in options.items() if key not in ("input_length", "input_dim")}
    rest = dict(options)
    shape = (rest.pop("input_length", None), rest.pop("input_dim", None))
    return rest if rest.get("input_shape") is not None else {**rest, "input_shape": shape}


def _with_axis(nest: Nest, axis: int) -> Nest:
    """One step as a sequence of one; what is no tensor or array is left for the checks to meet."""

    def longer(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.unsqueeze(axis)
        return np.expand_dims(leaf, axis) if isinstance(leaf, np.ndarray) else leaf

    return map_nest(longer, nest)
