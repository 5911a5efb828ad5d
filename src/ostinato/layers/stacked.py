"""`StackedRNNCells`: cells one above the other as one cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.core.cell import Cell, output_size, recurrence_structure
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin
from ostinato.core.shapes import is_shape, is_size, normalise, size_to_shape
from ostinato.layers.keras_cell import (
    build_cell,
    check_cell,
    initial_state_of,
    makes_own_state,
    recurrence_of,
    takes_constants,
    with_dtype_of,
)
from ostinato.recurrence.base import Recurrence
from ostinato.recurrence.nests import Nest, flatten, map_nest
from ostinato.recurrence.stack import Stack


@builtin("layers")
class StackedRNNCells(Cell):
    """Cells applied in turn at each step; the output of one is the input of the next.

    cells: any cells, built-in or one's own. The state has one entry for each.

    >>> import torch, ostinato
    >>> cells = [ostinato.layers.LSTMCell(4), ostinato.layers.GRUCell(3)]
    >>> layer = ostinato.layers.RNN(ostinato.layers.StackedRNNCells(cells))
    >>> layer(torch.zeros(2, 5, 6)).shape, layer.state_size
    (torch.Size([2, 3]), [[4, 4], 3])
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        if not isinstance(cells, Sequence) or not cells:
            raise ValueError(f"StackedRNNCells: expected a list of one or more cells, got {cells!r}.")
        for cell in cells:
            check_cell(cell, "StackedRNNCells")
        super().__init__(**with_dtype_of(cells[0], kwargs))
        self.cells = list(cells)

    @property
    def state_size(self) -> list[Any]:
        """The state sizes of the cells, one entry for each."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        """The output size of the last cell."""
        return output_size(self.cells[-1])

    def build(self, input_shape: Any) -> None:
        batch = flatten(normalise(input_shape), is_shape)[0][0]
        for cell in self.cells:
            build_cell(cell, input_shape, self._build_device)
            input_shape = map_nest(lambda size: (batch, *size_to_shape(size)), output_size(cell), is_size)

    def recurrence(self, batch: int, training: bool, constants: Sequence[Tensor] | None = None) -> Recurrence:
        """The cells' recurrences, one above the other; constants: for those of them that take some."""
        return Stack(
            [recurrence_of(cell, batch, training, constants if takes_constants(cell) else None) for cell in self.cells]
        )

    def _recurrence_structure(self) -> Nest:
        return [recurrence_structure(cell) for cell in self.cells]

    def _makes_own_state(self) -> bool:
        overridden = type(self).get_initial_state is not StackedRNNCells.get_initial_state
        return overridden or any(makes_own_state(cell) for cell in self.cells)

    def get_initial_state(
        self, batch_size: int | None = None, inputs: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Nest:
        """The initial states of the cells, one entry for each; inputs, dtype: for cells that ask, as in Keras 2."""
        if batch_size is None:
            raise ValueError(f"{self.described}: get_initial_state needs a batch_size.")
        device = self._where() if inputs is None else inputs.device
        states = []
        for cell in self.cells:
            state = initial_state_of(cell, batch_size, dtype or self._dtype, device, inputs)
            states.append(state[0] if is_size(cell.state_size) and isinstance(state, (list, tuple)) else state)
        return states

    def _differs_in_training(self) -> bool:
        return any(cell._differs_in_training() for cell in self.cells if isinstance(cell, Layer))
