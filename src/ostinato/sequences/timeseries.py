"""Windows of a series: samples cut out of one long array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ostinato.sequences.arrays import as_tensor, whole
from ostinato.sequences.passes import Batches, Passes

_WHO = "timeseries_dataset_from_array"


class Windows(NamedTuple):
    """All windows of a series, as a view of it, `(windows, steps, ...)`, and the target of each, or None."""

    inputs: Tensor
    targets: Tensor | None

    def take(self, rows: Tensor) -> Any:
        """A copy of the windows at these rows: x or (x, y)."""
        inputs = self.inputs.index_select(0, rows.to(self.inputs.device))
        if self.targets is None:
            return inputs
        return inputs, self.targets.index_select(0, rows.to(self.targets.device))


class TimeseriesBatches(Batches):
    """Batches of windows; `timeseries_dataset_from_array` makes it."""

    def __init__(self, windows: Windows, batch_size: int, shuffle: bool, seed: int | None) -> None:
        super().__init__(shuffle, seed, _WHO)
        self.windows, self.batch_size = windows, batch_size

    def plan(self, order: torch.Generator | None) -> Sequence[Tensor]:
        """See `Passes`: shuffled are the windows."""
        return _rows(self.windows, order).split(self.batch_size)

    def gather(self, rows: Tensor) -> Any:
        """See `Passes`."""
        return self.windows.take(rows)


class TimeseriesWindows(Passes, Dataset[Any]):
    """Windows one by one, a torch `Dataset`; `timeseries_dataset_from_array` makes it for batch_size=None."""

    def __init__(self, windows: Windows, shuffle: bool, seed: int | None) -> None:
        super().__init__(shuffle, seed, _WHO)
        self.windows = windows

    def plan(self, order: torch.Generator | None) -> Tensor:
        """See `Passes`."""
        return _rows(self.windows, order)

    def gather(self, rows: Tensor) -> Any:
        """See `Passes`."""
        taken = self.windows.take(rows.reshape(1))
        return taken[0] if self.windows.targets is None else (taken[0][0], taken[1][0])


def _rows(windows: Windows, order: torch.Generator | None) -> Tensor:
    count = len(windows.inputs)
    return torch.arange(count) if order is None else torch.randperm(count, generator=order)


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
    format: str = "torch",
) -> TimeseriesBatches | TimeseriesWindows:
    """Cut a long series into windows, to be learned from in batches.

    Window k is made of the steps `i, i + sampling_rate, ..., i + (sequence_length - 1) * sampling_rate` of the data,
    where `i = start_index + k * sequence_stride`; its target is `targets[i]`. Only whole windows count.

    data: array or tensor `(steps, ...)`. targets: array or tensor, `targets[i]` belongs to the window that begins at
    `data[i]`; where they end the windows end, too. None for none. So, to predict the step after a window, pass
    `data[:-length]` and `data[length:]`. sequence_length: steps of a window. sequence_stride: from the beginning of
    one window to that of the next, in steps of the data. sampling_rate: from one step of a window to the next.
    batch_size: windows in a batch; the last one may have fewer. shuffle: whether each pass has a new order of the
    windows, which is a function of (seed, epoch); the seed is drawn if none is given. start_index, end_index: windows
    are made of `data[start_index:end_index]`. format: "torch"; Keras's others are of libraries that are not used here.

    Returns batches x, or (x, y), of shape `(batch, sequence_length, ...)`: an object with `len()` to iterate over again
    and again, or to hand to `fit`, `evaluate` and `predict`. They have the dtype and device of the data, and are
    gathered as they are asked for: nothing is kept but the series. With batch_size=None a torch `Dataset` of the
    single windows, for a `DataLoader`, `random_split` or `fit(..., batch_size=...)`.
    Raises ValueError for numbers that do not fit the data, and if they leave no window.
    Source: keras/src/utils/timeseries_dataset_utils.py; there `end_index` may not be `len(data)`, and no window is no
    error.

    >>> import numpy as np
    >>> batches = timeseries_dataset_from_array(np.arange(8), np.arange(8) * 10, sequence_length=3, batch_size=4)
    >>> for x, y in batches:
    ...     print(x.tolist(), y.tolist())
    [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]] [0, 10, 20, 30]
    [[4, 5, 6], [5, 6, 7]] [40, 50]
    >>> len(batches), batches[1][0].shape
    (2, torch.Size([2, 3]))
    """
    if format != "torch":
        raise ValueError(f"{_WHO}: `format` should be 'torch', got {format!r}: what is returned holds torch tensors.")
    series = as_tensor(data, f"{_WHO}: data")
    if series.dim() == 0 or not len(series):
        raise ValueError(f"{_WHO}: data must have a step at least, (steps, ...), got shape {tuple(series.shape)}.")
    steps = len(series)
    length = whole(sequence_length, "sequence_length", _WHO)
    stride, rate = (
        _below(whole(given, what, _WHO), what, steps)
        for what, given in (("sequence_stride", sequence_stride), ("sampling_rate", sampling_rate))
    )
    start, stop = _range(start_index, end_index, steps)
    span = (length - 1) * rate + 1
    if stop - start < span:
        raise ValueError(
            f"{_WHO}: there is no window: sequence_length={length} with sampling_rate={rate} takes {span} steps, and "
            f"the data has {stop - start}{'' if stop - start == steps else ' from start_index to end_index'}."
        )
    # Not copied: unfold says where each window is.
    inputs = series[start:stop].unfold(0, span, stride)[..., ::rate].movedim(-1, 1)
    windows = Windows(inputs, None) if targets is None else _with_targets(inputs, targets, start, stride)
    if batch_size is None:
        return TimeseriesWindows(windows, shuffle, seed)
    return TimeseriesBatches(windows, whole(batch_size, "batch_size", _WHO), shuffle, seed)


def _below(given: int, what: str, steps: int) -> int:
    if given >= max(2, steps):
        raise ValueError(f"{_WHO}: `{what}` must be lower than the length of the data, {steps}, got {given}.")
    return given


def _range(start_index: int | None, end_index: int | None, steps: int) -> tuple[int, int]:
    start = 0 if start_index is None else whole(start_index, "start_index", _WHO, least=0)
    stop = steps if end_index is None else whole(end_index, "end_index", _WHO)
    if start >= steps:
        raise ValueError(f"{_WHO}: `start_index` must be lower than the length of the data, {steps}, got {start}.")
    if stop > steps:
        raise ValueError(f"{_WHO}: `end_index` must be at most the length of the data, {steps}, got {stop}.")
    if stop <= start:
        raise ValueError(f"{_WHO}: `end_index` must be higher than `start_index`, {start}, got {stop}.")
    return start, stop


def _with_targets(inputs: Tensor, targets: Any, start: int, stride: int) -> Windows:
    """Windows and targets, as many as there are of both."""
    given = as_tensor(targets, f"{_WHO}: targets")
    if given.dim() == 0 or len(given) <= start:
        raise ValueError(
            f"{_WHO}: targets[i] belongs to the window that begins at data[i], and the first one begins at "
            f"{start}; got targets of shape {tuple(given.shape)}."
        )
    taken = given[start::stride]
    count = min(len(inputs), len(taken))
    return Windows(inputs[:count], taken[:count])
