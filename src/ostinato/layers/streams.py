"""The recorded states of all stateful layers in a module: forgotten, parked, taken up again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from ostinato.core.layer import Layer
from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.rnn import RNN
from ostinato.recurrence.nests import Nest


def stateful_layers(module: torch.nn.Module) -> dict[str, RNN]:
    """The stateful recurrent layers in a module, by their place in it (`"0"`, `"encoder.forward_layer"`)."""
    return {name: each for name, each in module.named_modules() if isinstance(each, RNN) and each.stateful}


def reset(module: torch.nn.Module, rows: Any = None) -> None:
    """Forget the recorded states of all stateful layers in a module, or those of some rows of the batch.

    Layers of one's own that are `stateful` and have `reset_states` are asked too.
    """
    given = {} if rows is None else {"rows": rows}
    each: Any
    for each in module.modules():
        own = isinstance(each, Layer) and each is not module and not isinstance(each, Bidirectional)
        if own and getattr(each, "stateful", False) is True and hasattr(each, "reset_states"):
            each.reset_states(**given)


def parked(module: torch.nn.Module) -> dict[str, Nest]:
    """Copies of the recorded states of all stateful layers in a module, by place; None where nothing is recorded."""
    return {name: layer.get_states() for name, layer in stateful_layers(module).items()}


def take_up(module: torch.nn.Module, who: str, states: Any) -> None:
    """Set the recorded states of all stateful layers in a module to what `parked` gave.

    Raises ValueError, before anything is set, for other layers than the module has, or states that do not fit.
    """
    layers = stateful_layers(module)
    if not isinstance(states, dict) or set(states) != set(layers):
        got = sorted(states) if isinstance(states, dict) else type(states).__name__
        raise ValueError(
            f"{who}: set_states takes a dict with the states of each stateful layer, as get_states gives it, here of "
            f"{sorted(layers)}; got {got}."
        )
    recorded = {name: layer.recordable(states[name]) for name, layer in layers.items()}
    for name, layer in layers.items():
        layer.recorded = recorded[name]


@contextlib.contextmanager
def keeping_states(module: torch.nn.Module) -> Iterator[None]:
    """Put the recorded states of a module back, after the block, as they were before it."""
    before = [(each, each.recorded) for each in module.modules() if isinstance(each, RNN)]
    try:
        yield
    finally:
        for each, recorded in before:
            each.recorded = recorded
