"""The arguments an object was made with, caught when it is made, and its name."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from functools import cache
from typing import Any

_COUNTS: Counter[str] = Counter()


def snake_case(name: str) -> str:
    """`SimpleRNN` to `simple_rnn`, `LSTM` to `lstm`.

    >>> snake_case("StackedRNNCells"), snake_case("LSTMCell"), snake_case("ConvLSTM2D")
    ('stacked_rnn_cells', 'lstm_cell', 'conv_lstm2d')
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name.replace("RNNCells", "Rnn_Cells"))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).replace("__", "_").lower()


def unique_name(prefix: str) -> str:
    """`lstm`, then `lstm_1`, `lstm_2`, ..."""
    count = _COUNTS[prefix]
    _COUNTS[prefix] += 1
    return f"{prefix}_{count}" if count else prefix


def reset_names() -> None:
    """Start the automatic names again, as Keras's `clear_session` does."""
    _COUNTS.clear()


@cache
def _signature(cls: type) -> inspect.Signature:
    return inspect.signature(cls.__init__)  # type: ignore[misc]


def bound_arguments(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments by name, defaults filled in, `**kwargs` spread out.

    Raises TypeError as the constructor would, and if `*args` were given, which no config can hold.
    """
    bound = _signature(cls).bind(None, *args, **kwargs)
    bound.apply_defaults()
    found: dict[str, Any] = {}
    for position, (name, parameter) in enumerate(_signature(cls).parameters.items()):
        value = bound.arguments.get(name)
        if position == 0:
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value or {})
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            if value:
                raise TypeError(f"{cls.__name__} takes *{name}: override get_config to say what its config is.")
        else:
            found[name] = value
    return found


def accepts(cls: type, name: str) -> bool:
    """Whether the constructor takes `name`, by itself or through `**kwargs`."""
    parameters = _signature(cls).parameters
    return name in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


_FOREIGN: dict[str, tuple[Any, ...]] = {
    "implementation": (0, 1, 2),  # Keras 2, of cells: changes no result
    "input_axes": (None,),
    "output_axes": (None,),
    "num_constants": (None, 0, 1, 2, 3, 4),  # Keras 2 wrote down with how many constants a layer was last called
    "optional": (False,),
    "quantization_config": (None,),
    "ragged": (False, None),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": (0.99,),
    "sparse": (False, None),
    "synchronized": (False,),
}
"""Options that Keras writes into configs and that are not here, with the values at which they say nothing."""


def without_foreign(cls: type, config: dict[str, Any]) -> dict[str, Any]:
    """A config without Keras's options that `cls` does not take, as long as they ask for nothing."""
    taken = _signature(cls).parameters
    return {key: value for key, value in config.items() if key in taken or value not in _FOREIGN.get(key, ())}
