"""Batches of sequences that are about equally long, so that little is computed on padding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.recurrence.nests import Nest, flatten, map_nest
from ostinato.sequences.arrays import as_tensor, whole
from ostinato.sequences.passes import Batches
from ostinato.sequences.ragged import Ragged, Table

_WHO = "bucket_by_length"


class Sorted:
    """Batches of neighbours in length. What is left of the samples when batches are full is any of them."""

    def __init__(self, lengths: Tensor, batch_size: int, drop_last: bool) -> None:
        self.lengths, self.batch_size, self.drop_last = lengths, batch_size, drop_last

    def batches(self, rows: Tensor) -> list[Tensor]:
        """The rows, which come in any order, batch by batch; those of one length stay in their order."""
        if self.drop_last:
            rows = rows[: len(rows) - len(rows) % self.batch_size]
        return list(rows[self.lengths[rows].argsort(stable=True)].split(self.batch_size)) if len(rows) else []


class Bucketed:
    """Batches within buckets: of lengths below the first boundary, from it to below the second, ..., and the rest."""

    def __init__(self, lengths: Tensor, boundaries: Tensor, sizes: list[int], drop_last: bool) -> None:
        self.bucket_of = torch.bucketize(lengths, boundaries, right=True)
        self.sizes, self.drop_last = sizes, drop_last

    def batches(self, rows: Tensor) -> list[Tensor]:
        """The rows, which come in any order, batch by batch, and bucket by bucket in their order."""
        found: list[Tensor] = []
        for bucket, size in enumerate(self.sizes):
            inside = rows[self.bucket_of[rows] == bucket]
            whole_ones = len(inside) - len(inside) % size if self.drop_last else len(inside)
            found.extend(inside[:whole_ones].split(size) if whole_ones else ())
        return found


class BucketedBatches(Batches):
    """Batches of sequences, each padded to its longest; `bucket_by_length` makes it.

    lengths: of the samples, `(samples,)` of int64.
    """

    def __init__(
        self, x: Nest, y: Nest, weights: Nest, cut: Sorted | Bucketed, mask: bool, shuffle: bool, seed: int | None
    ) -> None:
        super().__init__(shuffle, seed, _WHO)
        self.x, self.y, self.weights, self.mask, self._cut = x, y, weights, mask, cut
        self.lengths = lengths_of(x)
        if not len(self):
            raise ValueError(
                f"{_WHO}: drop_last=True leaves no batch of {len(self.lengths)} samples; make batch_size smaller."
            )

    def plan(self, order: torch.Generator | None) -> Sequence[Tensor]:
        """See `Passes`: shuffled are the samples, before they are put together, and then the batches."""
        count = len(self.lengths)
        if order is None:
            return self._cut.batches(torch.arange(count))
        batches = self._cut.batches(torch.randperm(count, generator=order))
        return [batches[place] for place in torch.randperm(len(batches), generator=order).tolist()]

    def gather(self, rows: Tensor) -> Any:
        """See `Passes`."""
        x = map_nest(lambda column: column.take(rows), self.x)
        if self.mask and isinstance(x, dict):
            masks = {f"{name}_mask": each.mask(rows) for name, each in self.x.items() if isinstance(each, Ragged)}
            x = {**x, **masks}
        elif self.mask:
            x = [x, self.x.mask(rows)]
        if self.y is None:
            return x
        y, weights = map_nest(lambda column: None if column is None else column.take(rows), (self.y, self.weights))
        return (x, y) if self.weights is None else (x, y, weights)


def bucket_by_length(
    sequences: Any,
    targets: Any = None,
    batch_size: int | Sequence[int] = 32,
    boundaries: Sequence[int] | None = None,
    sample_weight: Any = None,
    shuffle: bool = True,
    seed: int | None = None,
    padding: str = "post",
    value: Any = 0,
    drop_last: bool = False,
    mask: bool = False,
) -> BucketedBatches:
    """Put sequences of about the same length into the same batch, padded to the longest of that batch only.

    Every sample is in one batch of each pass. With shuffle=True the samples are put together anew for each pass, and
    the batches come in a new order: a function of (seed, epoch).

    sequences: a list of lists, arrays or tensors `(steps, ...)`, where steps may differ; for several inputs a dict of
    such lists, or of arrays that are not sequences, by name. targets: an array with a row for each sample, or a list of
    sequences, which are padded likewise, with 0; or a dict of those. sample_weight: an array `(samples,)`, or a list of
    sequences with a weight for each step. batch_size: in samples; with boundaries, a list may give each bucket its own.
    boundaries: lengths at which a new bucket begins, rising; a batch is drawn from within a bucket. None keeps padding
    least, by sorting: batches are of neighbours in length. Buckets give batches of more different company, and more
    padding. seed: drawn if none is given. padding: "post" or "pre". value: of padding, in the sequences. drop_last:
    leave out what does not fill a batch; which samples those are is drawn anew for each pass. mask: give the model
    [x, mask] (in a dict, under `<name>_mask` as well), where the mask `(batch, steps)` is False on padding.

    Returns batches x, (x, y) or (x, y, sample_weight) of tensors: an object with `len()` to iterate over again and
    again, or to hand to `fit`, `evaluate` and `predict`. `order` says which samples they are. That steps are padding
    reaches the model by its value (`Embedding(mask_zero=True)` for 0, `Masking(value)`), or by the mask.
    Raises ValueError for what does not fit together, TypeError for what is not numbers.

    Of 1000 sequences of 1 to 100 steps, half of what a network would compute is on padding if all are padded to the
    longest, and 3 in 100 here. In steps:

    >>> import torch
    >>> lengths = torch.randint(1, 101, (1000,), generator=torch.Generator().manual_seed(0)).tolist()
    >>> batches = bucket_by_length([torch.ones(length) for length in lengths], batch_size=32, seed=1)
    >>> computed = sum(x.numel() for x in batches)
    >>> round(sum(lengths) / (1000 * max(lengths)), 2), round(sum(lengths) / computed, 2)
    (0.51, 0.97)

    >>> for x, y in bucket_by_length([[1, 2, 3], [4], [5, 6], [7]], [0, 1, 2, 3], batch_size=2, shuffle=False):
    ...     print(x.tolist(), y.tolist())
    [[4], [7]] [1, 3]
    [[5, 6, 0], [1, 2, 3]] [2, 0]
    """
    if padding not in ("pre", "post"):
        raise ValueError(f"{_WHO}: `padding` must be 'pre' or 'post', got {padding!r}.")
    if not isinstance(value, (int, float, np.number)):
        raise ValueError(f"{_WHO}: `value` must be a number, got {value!r}.")
    for what, flag in (("drop_last", drop_last), ("mask", mask)):
        if not isinstance(flag, bool):
            raise ValueError(f"{_WHO}: `{what}` must be True or False, got {flag!r}.")
    if sample_weight is not None and targets is None:
        raise ValueError(f"{_WHO}: sample_weight goes with targets, and there are none.")
    if isinstance(sequences, dict):
        x: Nest = _columns(sequences, padding, value, "sequences")
    else:
        x = Ragged(_listed(sequences, "sequences"), padding, value, f"{_WHO}: sequences")
    y, weights = _columns(targets, padding, 0, "targets"), _columns(sample_weight, padding, 0, "sample_weight")
    _check_counts(x, y, weights)
    cut = _cut(lengths_of(x), batch_size, boundaries, drop_last)
    return BucketedBatches(x, y, weights, cut, mask, shuffle, seed)


def lengths_of(x: Nest) -> Tensor:
    """The length of each sample: that of its longest sequence. Raises ValueError if there are no sequences.

    >>> lengths_of(Ragged([[1, 2], [3]], "post", 0, "docs"))
    tensor([2, 1])
    """
    lengths = [column.lengths for column in flatten(x) if isinstance(column, Ragged)]
    if not lengths:
        raise ValueError(f"{_WHO}: none of the sequences is a list of sequences; got arrays only.")
    return torch.stack(lengths).amax(0)


def _columns(given: Any, padding: str, value: Any, what: str) -> Nest:
    """What to take samples from, one column or a dict of them; None stays None."""
    if isinstance(given, dict):
        return {name: _column(each, padding, value, f"{what}[{name!r}]") for name, each in given.items()}
    return None if given is None else _column(given, padding, value, what)


def _column(given: Any, padding: str, value: Any, what: str) -> Table | Ragged:
    if isinstance(given, np.ndarray) and given.dtype.kind == "O":  # of sequences
        given = list(given)
    if isinstance(given, (list, tuple)) and any(isinstance(each, (list, tuple)) or _rank(each) for each in given):
        return Ragged(given, padding, value, f"{_WHO}: {what}")
    values = as_tensor(given, f"{_WHO}: {what}")
    if values.dim() == 0:
        raise ValueError(f"{_WHO}: {what} must have an entry for each sample, got a single number.")
    return Table(values)


def _rank(given: Any) -> int:
    return getattr(given, "ndim", 0)


def _listed(given: Any, what: str) -> list[Any]:
    if not hasattr(given, "__len__") or isinstance(given, (str, bytes)):
        raise ValueError(f"{_WHO}: {what} must be a list of sequences, got {type(given).__name__}.")
    return list(given)


def _check_counts(*columns: Nest) -> None:
    counts = [len(column) for column in flatten(list(columns)) if column is not None]
    if len(set(counts)) > 1:
        raise ValueError(f"{_WHO}: sequences, targets and weights must be equally many, got {counts}.")
    if counts[0] == 0:
        raise ValueError(f"{_WHO}: there are no sequences.")


def _cut(lengths: Tensor, batch_size: Any, boundaries: Any, drop_last: bool) -> Sorted | Bucketed:
    several = isinstance(batch_size, (list, tuple))
    if boundaries is None:
        if several:
            raise ValueError(f"{_WHO}: several batch sizes, {list(batch_size)}, need boundaries between their buckets.")
        return Sorted(lengths, whole(batch_size, "batch_size", _WHO), drop_last)
    rising = [whole(each, "boundaries", _WHO) for each in boundaries]
    if any(low >= high for low, high in itertools.pairwise(rising)):
        raise ValueError(f"{_WHO}: `boundaries` must be rising, got {rising}.")
    given = list(batch_size) if several else [batch_size] * (len(rising) + 1)
    if len(given) != len(rising) + 1:
        raise ValueError(
            f"{_WHO}: {len(rising)} boundaries make {len(rising) + 1} buckets; got {len(given)} batch sizes."
        )
    sizes = [whole(each, "batch_size", _WHO) for each in given]
    return Bucketed(lengths, torch.tensor(rising, dtype=torch.int64), sizes, drop_last)
