"""`Recording`: the states of a recurrent layer, those it starts from and those it keeps from call to call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core.cell import Cell, recurrence_structure, state_structure
from ostinato.core.layer import Layer
from ostinato.core.shapes import Shape, is_size, size_to_shape
from ostinato.errors import NotStatefulError
from ostinato.layers.keras_cell import initial_state_of, makes_own_state, name_of
from ostinato.layers.sequences import Recurrent
from ostinato.layers.states import Recorded, check_names, checked_states, row_numbers
from ostinato.recurrence.nests import Nest, flatten, map_nest, pack_like


class Recording(Recurrent):
    """A recurrent layer around a cell, as far as states go. `RNN` adds what runs."""

    cell: Any
    stateful: bool
    recorded: Recorded | None

    def _settle(self) -> None:
        """Read the sizes of the cell's states; a cell may know them only once it is built."""
        self._structure = recurrence_structure(self.cell)
        self._sizes = [size_to_shape(size) for size in flatten(self._structure, is_size)]
        self._zeros = _common_zeros(self.cell, self._structure, self._sizes)
        # The dtypes of states that are not floating; None until the cell has been asked for its own.
        self._kinds: tuple[torch.dtype | None, ...] | None = None if makes_own_state(self.cell) else ()

    def _start(self, given: Nest, batch: int, like: Tensor) -> Nest:
        """The state before the first step: the one given, else the recorded one, else the cell's own."""
        recorded = self.recorded if self.stateful and given is None else None
        if recorded is not None:
            if recorded.batch != batch:
                raise ValueError(
                    f"{self.described}: recorded states are for a batch of {recorded.batch}, got {batch}. Call "
                    f"reset_states() or pass batches of {recorded.batch}."
                )
            leaves = self._usable(recorded.leaves, batch, like)
            if recorded.anew is not None:
                leaves = recorded.started(leaves, flatten(self.get_initial_state(batch, like)))
        elif given is not None:
            check_names(given, state_structure(self.cell), self.described)
            leaves = [given] if isinstance(given, Tensor) else flatten(given)
            leaves = self._usable(self._checked(leaves, batch), batch, like)
        else:
            leaves = flatten(self.get_initial_state(batch, like))
        # Products add up in an order by strides: what comes out must not depend on how states lie in memory.
        return pack_like(self._structure, [leaf.contiguous() for leaf in leaves], is_size)

    def _usable(self, leaves: Sequence[Tensor], batch: int, like: Tensor) -> list[Tensor]:
        """States where the inputs are, in the weights' dtype, or in what the cell's own initial ones have."""
        if self._kinds is None:
            self.get_initial_state(batch, like)
        kinds, usual = self._kinds or (None,) * len(leaves), self._state_dtype(like)
        moved = [leaf.to(device=like.device, dtype=kind or usual) for leaf, kind in zip(leaves, kinds, strict=True)]
        if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():
            return moved
        # States that were recorded in inference mode are of no use to autograd.
        return [leaf.clone() if leaf.is_inference() else leaf for leaf in moved]

    def _checked(self, leaves: list[Any], batch: int, what: str = "initial_state") -> list[Tensor]:
        names = "(h, c)" if len(self._sizes) == 2 and hasattr(self.cell, "units") else ""
        return checked_states(leaves, self._sizes, batch, what, self.described, names)

    def _state_dtype(self, like: Tensor) -> torch.dtype:
        if isinstance(self.cell, Layer):
            return self.cell._dtype
        return like.dtype if like.is_floating_point() or like.is_complex() else self._dtype

    def get_initial_state(self, batch_size: int, like: Tensor | None = None) -> Nest:
        """The cell's state before any step, `(batch_size, ...)` for each: zeros unless the cell says otherwise.

        Raises ValueError if what the cell says does not fit its state_size.
        """
        device = self._where() if like is None else like.device
        dtype = self._dtype if like is None else self._state_dtype(like)
        state = initial_state_of(self.cell, batch_size, dtype, device, like)
        if not makes_own_state(self.cell):
            return state
        leaves = [state] if isinstance(state, Tensor) else flatten(state)
        leaves = self._checked(leaves, batch_size, f"what {name_of(self.cell)}.get_initial_state gave")
        self._kinds = tuple(None if leaf.is_floating_point() else leaf.dtype for leaf in leaves)
        moved = [leaf.to(device=device, dtype=kind or dtype) for leaf, kind in zip(leaves, self._kinds, strict=True)]
        return pack_like(state_structure(self.cell), moved, is_size)

    @property
    def states(self) -> Nest:
        """The recorded states of a stateful layer, None before its first call and after a reset."""
        recorded = self.recorded
        if recorded is None:
            return None
        leaves: Sequence[Tensor] = recorded.leaves
        if recorded.anew is not None:
            with torch.no_grad():
                leaves = recorded.started(leaves, flatten(self.get_initial_state(recorded.batch)))
        return pack_like(state_structure(self.cell), leaves, is_size)

    @states.setter
    def states(self, value: Nest) -> None:
        self.reset_states(value)

    @property
    def state_size(self) -> Any:
        """The cell's."""
        return self.cell.state_size

    def reset_states(self, states: Nest = None, rows: Any = None) -> None:
        """Forget the recorded states, or set them; of the whole batch, or of some rows of it.

        states: None, to start from the cell's own state again, or as `initial_state`, for these rows. rows: numbers of
        rows, or `(batch,)` booleans; None for all. Raises ValueError if the layer is not stateful, for states or rows
        that do not fit, and for states of some rows before there are any.
        """
        self.recorded = self.after_reset(states, rows)

    def after_reset(self, states: Nest = None, rows: Any = None) -> Recorded | None:
        """What is recorded once `reset_states` is done, so that several layers can be reset at once or none of them."""
        if not self.stateful:
            raise NotStatefulError(
                f"{self.described} is not stateful and records no states. Make it with stateful=True."
            )
        recorded = self.recorded
        if rows is None:
            return self._recordable(states)
        if recorded is None:
            if states is not None:
                raise ValueError(f"{self.described}: no states yet to set rows of. Call it first, or set all rows.")
            return None
        numbers = row_numbers(rows, recorded.batch, self.described)
        if states is None and makes_own_state(self.cell):
            return recorded.forgetting(numbers)
        if states is None:
            states = [leaf.new_zeros((len(numbers), *leaf.shape[1:])) for leaf in recorded.leaves]
        return recorded.replacing(numbers, self._given_states(states, len(numbers)))

    def reset_state(self) -> None:
        """Keras 3's name for `reset_states()`."""
        self.reset_states()

    def _recordable(self, states: Nest) -> Recorded | None:
        """States as they are recorded: copies, in the weights' dtype."""
        if states is None:
            return None
        first: Any = states if isinstance(states, Tensor) else next(iter(flatten(states)), None)
        leaves = self._given_states(states, len(first) if np.ndim(first) else 0)
        kinds = self._kinds or (None,) * len(leaves)
        return Recorded(
            tuple(
                leaf.detach().to(kind or self._state_dtype(leaf), copy=True)
                for leaf, kind in zip(leaves, kinds, strict=True)
            )
        )

    def _given_states(self, states: Nest, batch: int) -> list[Tensor]:
        check_names(states, state_structure(self.cell), self.described)
        return self._checked([states] if isinstance(states, Tensor) else flatten(states), batch, "states")

    def get_states(self) -> Nest:
        """A copy of the recorded states, for `set_states` to take up again; None if there are none."""
        return map_nest(lambda leaf: None if leaf is None else leaf.clone(), self.states)

    def set_states(self, states: Nest) -> None:
        """Take up states that `get_states` gave, here or elsewhere. Raises ValueError for states that do not fit."""
        self.reset_states(states)


def _common_zeros(cell: Any, structure: Nest, sizes: list[Shape]) -> tuple[int, tuple[int, ...]] | None:
    """(number, size) of the states, where the initial ones are zeros all alike, so that one tensor serves for them."""
    plain = isinstance(cell, Cell) and type(cell).get_initial_state is Cell.get_initial_state
    if not plain or not isinstance(structure, list) or len(structure) != len(sizes) or len(set(sizes)) != 1:
        return None
    size = tuple(n for n in sizes[0] if n is not None)
    return (len(sizes), size) if size == sizes[0] else None
