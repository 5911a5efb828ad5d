"""One step at a time through layers one after the other, with what each recurrent layer carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.core.graph import call_masked
from ostinato.core.layer import Layer
from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.rnn import RNN
from ostinato.recurrence.nests import Nest, map_nest

Carried = list[tuple[Nest, Nest]]
"""For each recurrent layer that steps: its state, and its output of the last used step."""

_STEPWISE = (
    torch.nn.Dropout,
    torch.nn.ELU,
    torch.nn.Embedding,
    torch.nn.GELU,
    torch.nn.Identity,
    torch.nn.LeakyReLU,
    torch.nn.Linear,
    torch.nn.ReLU,
    torch.nn.Sigmoid,
    torch.nn.SiLU,
    torch.nn.Tanh,
)


def step(layers: Sequence[Any], inputs: Nest, carried: Carried | None, mask: Tensor | None, who: str) -> Any:
    """One step of the sequence through the layers: (output, what is carried on).

    inputs: `(batch, ...)`; carried: what the step before gave, None at the beginning; mask: `(batch,)`, True = use.
    Raises ValueError for layers that need other steps too.
    """
    count = len(list(stepping(layers)))
    if carried is not None and len(carried) != count:
        raise ValueError(
            f"{who}: state has {len(carried)} entries, its recurrent layers are {count}. Pass what step returned, or "
            f"None to begin a sequence."
        )
    before = iter([(None, None)] * count if carried is None else carried)
    value = map_nest(lambda leaf: leaf.unsqueeze(1), inputs)  # a sequence of one step
    used = None if mask is None else mask.unsqueeze(1)
    after: Carried = []
    timed = True
    for layer in layers:
        if timed and isinstance(layer, (RNN, Bidirectional)):
            output, shown, held = _stepped(layer, value, next(before, (None, None)), used)
            after.append(held)
            timed = layer.return_sequences
            value = map_nest(lambda leaf: leaf.unsqueeze(1), shown) if timed else output
            used = used if timed else None
        elif timed and not _is_stepwise(layer):
            raise ValueError(
                f"{who}: there is no step through {getattr(layer, 'described', type(layer).__name__)}, which looks at "
                f"other steps too. A layer of one's own that does not says steps_independent = True."
            )
        else:
            value, used = call_masked(layer, (value,), {}, used)
    return (map_nest(lambda leaf: leaf.squeeze(1), value) if timed else value), after


def stepping(layers: Sequence[Any]) -> Iterator[RNN]:
    """The recurrent layers that see the sequence: all up to the first that returns its last output only."""
    for layer in layers:
        if isinstance(layer, (RNN, Bidirectional)):
            yield layer  # type: ignore[misc]
            if not layer.return_sequences:
                return


def _stepped(layer: Any, value: Nest, carried: tuple[Nest, Nest], used: Tensor | None) -> tuple[Nest, Nest, Any]:
    """(the output of the last used step, what the sequence of outputs shows, what is carried) of a recurrent layer."""
    state, held = carried
    flags = None if used is None else used.squeeze(1)
    output, new = layer.step(map_nest(lambda leaf: leaf.squeeze(1), value), state, flags)
    shown = output
    if flags is not None and held is not None:
        pairs = iter(_leaves(held))
        output = map_nest(lambda leaf: torch.where(_beside(flags, leaf), leaf, next(pairs)), output)
        shown = shown if layer.zero_output_for_mask else output
    return output, shown, (new, map_nest(torch.clone, output))  # which nobody can change who was shown the output


def _leaves(nest: Nest) -> list[Tensor]:
    found: list[Tensor] = []
    map_nest(found.append, nest)
    return found


def _beside(flags: Tensor, leaf: Tensor) -> Tensor:
    return flags.reshape(flags.shape + (1,) * (leaf.dim() - 1))


def _is_stepwise(layer: Any) -> bool:
    inner = getattr(layer, "module", layer)
    return layer.steps_independent if isinstance(layer, Layer) else isinstance(inner, _STEPWISE)
