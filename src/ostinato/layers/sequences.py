"""What recurrent layers run over: sequences, and which of their steps are used, said by a mask or by lengths."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.core.layer import Layer
from ostinato.core.masks import first_mask
from ostinato.recurrence.masks import mask_of_lengths
from ostinato.recurrence.nests import Nest, describe, flatten, map_nest
from ostinato.recurrence.tracing import values_hidden


class Sequences(NamedTuple):
    """Sequences in the engines' terms.

    inputs: nest of time-major views `(time, batch, ...)`; mask: `(time, batch)` bool, or `(time, batch, *places)` of
    images, or None; lengths: `(batch,)` int64 if the mask is right padding to these, else None.
    """

    inputs: Nest
    mask: Tensor | None
    lengths: Tensor | None
    time: int
    batch: int
    first: Tensor


class Recurrent(Layer):
    """What `RNN` and `Bidirectional` share: how they are told which steps to use.

    A subclass has `time_major`, and `call(sequences, initial_state, mask, training, constants, lengths)`.
    """

    supports_masking = True
    _makes_mask = False
    time_major: bool

    def _admit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super()._admit(args, kwargs)
        given = kwargs.get("lengths")
        if given is None or not args:
            return args, kwargs
        if kwargs.get("mask") is not None:
            raise ValueError(f"{self.described}: got both a mask and lengths; pass one of the two.")
        first = flatten(args[0])[0]
        if first.dim() < 2:
            return args, kwargs  # which is refused for that
        batch, time = (first.shape[1], first.shape[0]) if self.time_major else (first.shape[0], first.shape[1])
        lengths = self._checked_lengths(given, time, batch)
        mask = mask_of_lengths(lengths.to(first.device), time)
        # The mask that they stand for goes with them, for whatever else asks for one.
        return args, {**kwargs, "lengths": lengths, "mask": mask if self.time_major else mask.transpose(0, 1)}

    def _sequences(self, sequences: Nest, mask: Nest, lengths: Tensor | None) -> Sequences:
        """The sequences in the engines' terms; lengths: as `_admit` gives them, with the mask that they stand for.

        Raises ValueError for inputs or a mask that do not fit.
        """
        if isinstance(sequences, Tensor):
            inputs = first = sequences if self.time_major else sequences.transpose(0, 1)
        else:
            inputs = sequences if self.time_major else swap(sequences)
            first = flatten(inputs)[0]
        time, batch = first.shape[:2]
        if inputs is not first:
            self._check_alike(inputs, time, batch)
        used = None if mask is None else first_mask(mask)
        if used is not None:
            used = self._time_major_mask(used, time, batch, inputs)
        return Sequences(inputs, used, lengths, time, batch, first)

    def _check_alike(self, inputs: Nest, time: int, batch: int) -> None:
        if any(leaf.dim() < 2 or tuple(leaf.shape[:2]) != (time, batch) for leaf in flatten(inputs)):
            outside = inputs if self.time_major else swap(inputs)
            raise ValueError(
                f"{self.described}: all input tensors must have the same batch and time, got {describe(outside)}."
            )

    def _time_major_mask(self, mask: Tensor, time: int, batch: int, inputs: Nest) -> Tensor:
        mask = mask if isinstance(mask, Tensor) else torch.as_tensor(mask)
        # Of images, a mask may speak of places, as that of Masking does; what a place has are its channels.
        places = inputs.shape[2:-1][: mask.dim() - 2] if isinstance(inputs, Tensor) else ()
        expected = (time, batch) if self.time_major else (batch, time)
        if tuple(mask.shape) != expected and tuple(mask.shape) != (*expected, *places):
            layout = "(time, batch)" if self.time_major else "(batch, time)"
            raise ValueError(f"{self.described}: mask must be {layout} = {expected}, got {tuple(mask.shape)}.")
        mask = mask if mask.dtype is torch.bool else mask != 0
        return mask if self.time_major else mask.transpose(0, 1)

    def _checked_lengths(self, given: Any, time: int, batch: int) -> Tensor:
        lengths = given if isinstance(given, Tensor) else torch.as_tensor(given)
        if lengths.numel() == 0 and not isinstance(given, Tensor):
            lengths = lengths.to(torch.int64)  # of an empty list nobody can tell
        if lengths.dtype is torch.bool or lengths.is_floating_point() or lengths.is_complex():
            raise ValueError(
                f"{self.described}: lengths must be whole numbers of steps, got {lengths.dtype}. Masks go into mask=."
            )
        if tuple(lengths.shape) != (batch,):
            raise ValueError(f"{self.described}: lengths must be (batch,) = ({batch},), got {tuple(lengths.shape)}.")
        if values_hidden():
            return lengths.to(torch.int64)
        lengths = lengths.to("cpu", torch.int64)  # where engines want them too
        wrong = (lengths < 0) | (lengths > time)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0, 0])
            raise ValueError(
                f"{self.described}: lengths must be from 0 to the number of steps, {time}; got {int(lengths[row])} for "
                f"row {row}."
            )
        return lengths


def swap(nest: Nest) -> Nest:
    """Batch-major to time-major views, and back."""
    return nest.transpose(0, 1) if isinstance(nest, Tensor) else map_nest(lambda leaf: leaf.transpose(0, 1), nest)
