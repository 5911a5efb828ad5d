"""`explain`: which engine runs a layer, and why not a faster one."""

from __future__ import annotations

from typing import Any

from ostinato.core.layer import Layer
from ostinato.engines.select import observe
from ostinato.layers.streams import keeping_states


def explain(layer: Any, inputs: Any, **kwargs: Any) -> str:
    """Which engine each recurrence in a layer or model runs on for these inputs, and the reasons of those that refuse.

    layer: any layer or model; inputs, kwargs: as it would be called, with gradients or under `torch.no_grad()` as it
    would be. The layer is run once; recorded states are put back as they were.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.GRU(4, activation="gelu", name="reader")
    >>> with torch.no_grad():
    ...     print(ostinato.explain(layer, torch.zeros(2, 5, 3)))
    reader: gru float32 on cpu, inference: engine 'reference'
      'native' refuses: ...
      'aten' refuses: takes activation tanh, not custom
    """
    with keeping_states(layer), observe() as choices:
        if isinstance(layer, Layer):
            kwargs.setdefault("training", layer.training)
        layer(inputs, **kwargs)
    if not choices:
        return f"{getattr(layer, 'described', type(layer).__name__)}: no recurrence ran."
    return "\n".join(str(choice) for choice in dict.fromkeys(choices))
