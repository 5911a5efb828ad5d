"""The recorded states of all stateful layers in a module: forgotten, set, parked, taken up again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from ostinato.core.calls import signature_of
from ostinato.core.layer import Layer
from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.rnn import RNN
from ostinato.recurrence.nests import Nest


def stateful_layers(module: torch.nn.Module) -> dict[str, RNN]:
    """The stateful recurrent layers in a module, by their place in it (`"0"`, `"encoder.forward_layer"`).

    What torch.compile puts around a layer is no place: the states of a compiled model are those of the model.
    """
    found = [(name, each) for name, each in module.named_modules() if isinstance(each, RNN) and each.stateful]
    return {".".join(part for part in name.split(".") if part != "_orig_mod"): each for name, each in found}


def reset(module: torch.nn.Module, who: str, states: Nest = None, rows: Any = None) -> None:
    """Forget the recorded states of all stateful layers in a module, or set them; all, or those of some rows.

    states: as `parked` gives them, for these rows. Layers of one's own that are `stateful` and have `reset_states` are
    asked to forget theirs too. Raises ValueError, before anything is set, for what does not fit.
    """
    layers = stateful_layers(module)
    given = dict.fromkeys(layers) if states is None else _by_place(states, layers, f"{who}: reset_states")
    recorded = {name: layer.after_reset(given[name], rows) for name, layer in layers.items()}
    own = own_stateful(module)
    for each in own if rows is not None else []:
        signature = signature_of(type(each).reset_states)
        if "rows" not in signature.names and not signature.variadic:
            raise ValueError(
                f"{who}: {each.described} is stateful and its reset_states takes no rows. Reset all rows, or let it."
            )
    for name, layer in layers.items():
        layer.recorded = recorded[name]
    for each in own:
        each.reset_states(**({} if rows is None else {"rows": rows}))


def parked(module: torch.nn.Module) -> dict[str, Nest]:
    """Copies of the recorded states of all stateful layers in a module, by place; None where nothing is recorded."""
    return {name: layer.get_states() for name, layer in stateful_layers(module).items()}


def take_up(module: torch.nn.Module, who: str, states: Any) -> None:
    """Set the recorded states of all stateful layers in a module to what `parked` gave.

    Raises ValueError, before anything is set, for other layers than the module has, or states that do not fit.
    """
    layers = stateful_layers(module)
    given = _by_place(states, layers, f"{who}: set_states")
    recorded = {name: layer.after_reset(given[name]) for name, layer in layers.items()}
    for name, layer in layers.items():
        layer.recorded = recorded[name]


def _by_place(states: Any, layers: dict[str, RNN], who: str) -> dict[str, Nest]:
    if not isinstance(states, dict) or set(states) != set(layers):
        got = sorted(map(str, states)) if isinstance(states, dict) else type(states).__name__
        raise ValueError(
            f"{who} takes a dict with the states of each stateful layer, as get_states gives it, here of "
            f"{sorted(layers)}; got {got}."
        )
    return states


def own_stateful(module: torch.nn.Module) -> list[Any]:
    """The layers inside that say they are stateful, can be reset, and are no recurrent layers of the library."""
    return [
        each
        for each in module.modules()
        if isinstance(each, Layer)
        and each is not module
        and not isinstance(each, (RNN, Bidirectional))
        and getattr(each, "stateful", False) is True
        and hasattr(each, "reset_states")
    ]


@contextlib.contextmanager
def keeping_states(module: torch.nn.Module) -> Iterator[None]:
    """Put the recorded states of a module back, after the block, as they were before it."""
    before = {id(each): each.recorded for each in module.modules() if isinstance(each, RNN)}
    try:
        yield
    finally:
        for each in module.modules():
            if isinstance(each, RNN):
                each.recorded = before.get(id(each))  # a layer that was made in the block had none
