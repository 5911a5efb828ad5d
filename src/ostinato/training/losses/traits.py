"""What a loss knows of its function: how masked steps are made to count for nothing, and a quicker mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from ostinato.training.tensors import neutral

F = TypeVar("F", bound=Callable[..., Tensor])


@dataclasses.dataclass(frozen=True, slots=True)
class Traits:
    """What is known of a loss function beside its values.

    absent: `(y_true, y_pred, mask, who, **options) -> (y_true, y_pred, mask)`: what stands in masked steps replaced by
        what counts for nothing, and the mask of the function's values; `who` names the loss in errors.
    counted: `(y_true, y_pred, **options)`: a mask of what counts by itself, None for everything.
    mean: `(y_true, y_pred, **options)`: the mean of all values, in fewer operations than the function takes.
    whole: whether it may give one value for the whole batch, which any sample weights multiply.
    """

    absent: Callable[..., tuple[Tensor, Tensor, Tensor]] | None = None
    counted: Callable[..., Tensor | None] | None = None
    mean: Callable[..., Tensor] | None = None
    whole: bool = False


_UNKNOWN = Traits()
_KNOWN: list[tuple[Any, Traits]] = []


def steps_apart(
    y_true: Tensor, y_pred: Tensor, mask: Tensor, who: str, *, axis: int = -1, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """`Traits.absent` of a function whose value for a step depends on nothing but that step.

    Neither a label out of range nor a NaN in a masked step matters.
    """
    if y_true.dim() == y_pred.dim() == 1:  # the function would make one value of the batch, and no mask would fit it
        y_true, y_pred = y_true.unsqueeze(-1), y_pred.unsqueeze(-1)
    if y_pred.dim() > 1:
        y_true, y_pred = neutral(y_true, y_pred, mask, axis, who)
    return y_true, y_pred, mask


def has(**traits: Any) -> Callable[[F], F]:
    """Enter the `Traits` of a loss function."""

    def enter(function: F) -> F:
        _KNOWN.append((function, Traits(**traits)))
        return function

    return enter


def by_element(function: F) -> F:
    """Mark a loss function whose value for a step depends on nothing but that step; see `steps_apart`."""
    return has(absent=steps_apart)(function)


def traits_of(function: Any) -> Traits:
    """What is known of a function; nothing of one of a user's own."""
    return next((known for each, known in _KNOWN if each is function), _UNKNOWN)


def goes_by_element(function: Any) -> bool:
    """Whether a function is of the library, so that what is masked is taken out before it is called."""
    return traits_of(function) is not _UNKNOWN
