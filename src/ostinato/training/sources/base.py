"""What every kind of data comes down to: batches of inputs, targets and sample weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.core.dtypes import to_tensor
from ostinato.recurrence.nests import Nest, flatten, map_nest


class Batch(NamedTuple):
    """Some samples. x, y, weights: nests of tensors, y and weights None where there are none; samples: how many."""

    x: Nest
    y: Nest
    weights: Nest
    samples: int

    @property
    def packed(self) -> Any:
        """As a `train_step` of one's own is handed it."""
        return pack_x_y_sample_weight(self.x, self.y, self.weights)


class Source(ABC):
    """Data that can be passed over, batch by batch.

    steps: batches in a pass, None if only passing can tell. sizes: of the batches, as far as they are known.
    y: targets that are there before the first batch, None if there are none. once: whether there is just one pass.
    """

    steps: int | None = None
    sizes: frozenset[int] = frozenset()
    y: Nest = None
    once = False

    @abstractmethod
    def batches(self, device: torch.device, order: torch.Generator | None = None) -> Iterator[Batch]:
        """A pass: the batches, on `device`; order: draws the order of the samples, None leaves it as it is."""


def unpack(data: Any, who: str) -> tuple[Nest, Nest, Nest]:
    """(x, y, sample weights) of x, (x,), (x, y) or (x, y, weights), tuple or list. Raises ValueError for a longer one.

    >>> unpack((1, 2), "fit")
    (1, 2, None)
    """
    if not isinstance(data, (tuple, list)):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError(f"{who}: expected batches of x, (x,), (x, y) or (x, y, sample_weight), got {len(data)} parts.")
    x, y, weights = (*data, None, None)[:3]
    return x, y, weights


def unpack_x_y_sample_weight(data: Any) -> tuple[Nest, Nest, Nest]:
    """(x, y, sample weights) of what a `train_step` is handed; None for what is not there.

    Args:
        data: x, (x,), (x, y) or (x, y, sample_weight).

    Raises:
        ValueError: for a tuple or list of more or fewer parts.

    Source:
        Keras, `trainers/data_adapters/data_adapter_utils.py`.

    Example:
        >>> unpack_x_y_sample_weight(("x", "y"))
        ('x', 'y', None)
    """
    return unpack(data, "unpack_x_y_sample_weight")


def pack_x_y_sample_weight(x: Nest, y: Nest = None, sample_weight: Nest = None) -> Any:
    """What a `train_step` is handed for these: x, (x, y) or (x, y, sample_weight).

    Args:
        x, y, sample_weight: nests of tensors; y and sample_weight may be None.

    Returns:
        x by itself where there is nothing else, in a tuple of one if it is a tuple or list.

    Source:
        Keras, `trainers/data_adapters/data_adapter_utils.py`.

    Example:
        >>> pack_x_y_sample_weight("x"), pack_x_y_sample_weight(["a", "b"]), pack_x_y_sample_weight("x", "y")
        ('x', (['a', 'b'],), ('x', 'y'))
    """
    if sample_weight is not None:
        return x, y, sample_weight
    if y is not None:
        return x, y
    return (x,) if isinstance(x, (tuple, list)) else x


class Reader:
    """Turns what was given for x, y and sample weights into tensors, for one model.

    dtype: of floating inputs; floating targets and weights get at least float32, all else keeps its own.
    class_weight: a number for each class, which weighs the samples by their targets.
    """

    def __init__(self, dtype: torch.dtype, who: str, class_weight: Any = None) -> None:
        self.dtype, self.who = dtype, who
        self.exact = torch.promote_types(dtype, torch.float32)
        self.classes = None if class_weight is None else _ClassWeights(class_weight, self.exact, who)

    def read(self, x: Nest, y: Nest, weights: Nest) -> tuple[Nest, Nest, Nest]:
        """As nests of tensors of one length.

        Raises ValueError for different lengths or none, TypeError for what is no array.
        """
        if x is None:
            raise ValueError(f"{self.who}: x is missing.")
        x = tensors(x, self.dtype, f"{self.who}: x")
        y = None if y is None else tensors(y, self.exact, f"{self.who}: y")
        if weights is not None:
            weights = map_nest(self._floating, tensors(weights, self.exact, f"{self.who}: sample_weight"))
        lengths = [len(leaf) for leaf in leaves_of(x, y, weights)]
        if len(set(lengths)) > 1:
            raise ValueError(f"{self.who}: all arrays must have the same length, got {lengths}.")
        return x, y, weights

    def _floating(self, weights: Tensor | None) -> Tensor | None:
        return weights if weights is None or weights.is_floating_point() else weights.to(self.exact)

    def weigh(self, y: Nest, weights: Nest) -> Nest:
        """The weights of samples with these targets: by their classes, if there are class weights."""
        if self.classes is None:
            return weights
        if weights is not None:
            raise ValueError(f"{self.who}: pass class_weight or sample_weight, not both; multiply them yourself.")
        return self.classes.of(y)

    def batch(self, data: Any, device: torch.device) -> Batch:
        """One batch, of what a loader or an iterable gave."""
        x, y, weights = self.read(*unpack(data, self.who))
        weights = self.weigh(y, weights)
        x, y, weights = map_nest(lambda leaf: _on(leaf, device), (x, y, weights))
        return Batch(x, y, weights, len(flatten(x)[0]))


def _on(leaf: Tensor | None, device: torch.device) -> Tensor | None:
    return leaf if leaf is None or leaf.device == device else leaf.to(device, non_blocking=True)


def leaves_of(*nests: Nest) -> list[Tensor]:
    """All tensors in nests, in order."""
    return [leaf for leaf in flatten(list(nests)) if leaf is not None]


def tensors(nest: Nest, dtype: torch.dtype, who: str) -> Nest:
    """A nest of arrays as tensors on the CPU, or where they are; None in it stays None."""
    leaves = flatten(nest)
    if not leaves:
        raise ValueError(f"{who} is empty.")
    if isinstance(nest, (list, tuple)) and all(isinstance(leaf, (int, float, np.generic)) for leaf in leaves):
        nest = _one_array(nest, who)  # a list of numbers is one array, not many inputs

    def convert(leaf: Any) -> Tensor | None:
        if leaf is None:
            return None
        if not isinstance(leaf, Tensor):
            if not hasattr(leaf, "__array__"):
                raise TypeError(f"{who}: expected arrays or tensors, got {type(leaf).__name__}.{_advice(leaf)}")
            try:
                leaf = to_tensor(leaf, dtype, torch.device("cpu"))
            except TypeError as error:
                raise TypeError(f"{who}: {error}{_advice(leaf)}") from None
        else:
            leaf = leaf.detach()
            leaf = leaf.to(dtype) if leaf.is_floating_point() else leaf
        if leaf.dim() == 0:
            raise ValueError(f"{who}: expected arrays with a batch, got a single number.")
        return leaf

    return map_nest(convert, nest)


def _advice(leaf: Any) -> str:
    """What to do about what is no array of numbers, as the end of a message."""
    array = np.asarray(leaf)
    kinds = {type(each) for each in array.flat} if array.dtype == object else set()
    if array.dtype.kind in "US" or kinds & {str, bytes}:
        return " Make numbers of text first: by ostinato.layers.TextVectorization, called on it; labels by their place."
    if kinds & {list, tuple, np.ndarray}:
        return " Sequences of different lengths make an array by ostinato.utils.pad_sequences."
    return ""


def _one_array(numbers: Any, who: str) -> np.ndarray:
    try:
        return np.asarray(numbers)
    except ValueError:
        raise ValueError(
            f"{who}: the rows of a list of numbers must be of the same length; ostinato.utils.pad_sequences makes them "
            f"so."
        ) from None


class _ClassWeights:
    """The weight of each sample by its class: 1 for a class that is not named."""

    def __init__(self, given: Any, dtype: torch.dtype, who: str) -> None:
        if not isinstance(given, dict):
            raise TypeError(f"{who}: class_weight must be a dict from class to weight, got {type(given).__name__}.")
        for label, weight in given.items():
            if isinstance(label, bool) or not hasattr(label, "__index__"):
                raise ValueError(f"{who}: class_weight names the class {label!r}; classes are whole numbers.")
            if not isinstance(weight, (int, float, np.generic)):
                raise ValueError(f"{who}: class_weight gives class {label} the weight {weight!r}; expected a number.")
        self.who = who
        self.labels = torch.tensor(sorted(int(label) for label in given), dtype=torch.int64)
        self.weights = torch.tensor([float(given[label]) for label in sorted(given)], dtype=dtype)

    def of(self, y: Nest) -> Tensor:
        """A weight for each target: of its number, or of the place of its largest value along the last axis."""
        if not isinstance(y, Tensor):
            raise ValueError(
                f"{self.who}: class_weight goes with a single y, got {'none' if y is None else 'several'}."
            )
        if y.dim() > 1:
            y = y.squeeze(-1) if y.shape[-1] == 1 else y.argmax(-1)
        numbers = (y.round() if y.is_floating_point() else y).to(torch.int64)
        if not len(self.labels):
            return torch.ones(numbers.shape, dtype=self.weights.dtype, device=y.device)
        labels, weights = self.labels.to(y.device), self.weights.to(y.device)
        place = torch.searchsorted(labels, numbers).clamp(max=len(labels) - 1)
        return torch.where(labels[place] == numbers, weights[place], 1)
