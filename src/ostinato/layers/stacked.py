"""`StackedRNNCells`: cells one above the other as one cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostinato.core.cell import Cell, output_size, zero_state
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin
from ostinato.core.shapes import is_size, size_to_shape
from ostinato.layers.keras_cell import check_cell, recurrence_of, with_dtype_of
from ostinato.recurrence.base import Recurrence
from ostinato.recurrence.nests import Nest, map_nest
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
        batch = input_shape[0] if isinstance(input_shape[0], int | None) else input_shape[0][0]
        for cell in self.cells:
            if isinstance(cell, Layer) and not cell.built:
                cell._build_device = self._build_device
                cell.build(input_shape)
            input_shape = map_nest(lambda size: (batch, *size_to_shape(size)), output_size(cell), is_size)

    def recurrence(self, batch: int, training: bool) -> Recurrence:
        return Stack([recurrence_of(cell, batch, training) for cell in self.cells])

    def get_initial_state(self, batch_size: int | None = None) -> Nest:
        """The initial states of the cells, one entry for each."""
        if batch_size is None:
            raise ValueError(f"{self.described}: get_initial_state needs a batch_size.")
        states = []
        for cell in self.cells:
            own = getattr(cell, "get_initial_state", None)
            if own is None:
                state = zero_state(cell, batch_size, self._dtype, self._where())
                states.append(state[0] if is_size(cell.state_size) else state)
            else:
                state = own(batch_size=batch_size)
                states.append(state[0] if is_size(cell.state_size) and isinstance(state, (list, tuple)) else state)
        return states

    def _differs_in_training(self) -> bool:
        return any(cell._differs_in_training() for cell in self.cells if isinstance(cell, Layer))
