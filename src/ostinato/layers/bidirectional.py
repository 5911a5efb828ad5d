"""`Bidirectional`: one recurrent layer forwards, one backwards, over the same sequence."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from ostinato.core.cell import output_size
from ostinato.core.layer import Layer
from ostinato.core.masks import first_mask
from ostinato.core.registry import builtin, custom_object_scope
from ostinato.core.shapes import is_shape, is_size, normalise, size_to_shape
from ostinato.core.symbolic import walk
from ostinato.engines.execute import execute
from ostinato.layers.keras_cell import with_dtype_of
from ostinato.layers.rnn import RNN
from ostinato.layers.sequences import Recurrent
from ostinato.layers.stacked import StackedRNNCells
from ostinato.recurrence.nests import Nest, flatten, map_nest, pack_like

MERGE_MODES = ("concat", "sum", "ave", "mul", None)


@builtin("layers")
class Bidirectional(Recurrent):
    """Runs a recurrent layer over its input in both directions and merges the two outputs.

    layer: a recurrent layer; a fresh copy of it, made from its config, is the forward half, and another with
    `go_backwards` flipped the backward half. Where its cell is a plain torch module, which has no config, the halves
    are copies of the layer, and what is in them is made fresh by its `reset_parameters`. backward_layer: to be used as
    the backward half instead; it must run in the other direction, and be like `layer` in stateful, return_sequences and
    return_state. merge_mode: "concat" (along the last axis), "sum", "ave", "mul", or None to return both. weights:
    initial weights, the forward half's first.

    Called as the layer is, with mask or lengths, and constants. initial_state: the forward half's states, then the
    backward half's, in one list, or a pair (forward, backward). With return_state, returns `(output, *forward_states,
    *backward_states)`. The backward half's sequence is turned round, so that both halves speak of the same step. There
    is no `step`: the backward half starts from the last one.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.Bidirectional(ostinato.layers.GRU(4, return_sequences=True))
    >>> layer(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:
        if merge_mode not in MERGE_MODES:
            raise ValueError(f"Bidirectional: merge_mode must be one of {MERGE_MODES}, got {merge_mode!r}.")
        for each in (layer, backward_layer):
            if each is not None and not isinstance(each, RNN):
                raise ValueError(
                    f"Bidirectional: expected a recurrent layer (RNN, LSTM, ...), got {type(each).__name__}."
                )
        super().__init__(**with_dtype_of(layer, kwargs))
        self.merge_mode = merge_mode
        plain = layer.name.removeprefix("forward_")  # the layer of a config that Keras wrote is a forward half already
        self.forward_layer = _copy(layer, f"forward_{plain}", layer.go_backwards)
        if backward_layer is None:
            backward_layer = _copy(layer, f"backward_{plain}", not layer.go_backwards)
        else:
            _check_opposite(layer, backward_layer, merge_mode)
        self.backward_layer = backward_layer
        self._initial_weights = weights
        for half in (self.forward_layer, self.backward_layer):
            half.zero_output_for_mask = True

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, but for the initial weights."""
        config = super().get_config()
        del config["weights"]
        for option in ("return_sequences", "return_state", "stateful"):  # which may have been set since
            config["layer"]["config"][option] = getattr(self, option)
        return config

    # -- shapes -------------------------------------------------------------------------------------------------------

    def build(self, sequences_shape: Any) -> None:
        for half in (self.forward_layer, self.backward_layer):
            half._build_device = self._build_device
            half.build(sequences_shape)
        self.input_spec = self.forward_layer.input_spec
        if self._initial_weights is not None:
            self.built = True
            self.set_weights(self._initial_weights)
            self._initial_weights = None

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Shape of the merged output, or a tuple of outputs and states."""
        forward, *states = self._split(self.forward_layer.compute_output_shape(sequences_shape))
        backward, *others = self._split(self.backward_layer.compute_output_shape(sequences_shape))
        if self.merge_mode is None:
            outputs = [forward, backward]
        elif self.merge_mode == "concat":
            pairs = iter(flatten(normalise(backward), is_shape))
            outputs = [map_nest(lambda a: (*a[:-1], a[-1] + next(pairs)[-1]), normalise(forward), is_shape)]
        else:
            outputs = [forward]
        found = (*outputs, *states, *others)
        return found if len(found) > 1 else found[0]

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Nest:
        found = super().compute_output_spec(*args, **kwargs)  # builds the cells, which may know their sizes only then
        halves = (self.forward_layer, self.backward_layer)
        for half, states in zip(halves, self._halve(kwargs.get("initial_state")), strict=True):
            half._check_drawn(states)
            half._build_inside(args[0], kwargs.get("constants"))
        return found

    def _split(self, output: Any) -> tuple[Any, ...]:
        """(output, *states) of what a half returns."""
        return tuple(output) if self.return_state else (output,)

    def compute_mask(self, inputs: Nest, mask: Nest = None) -> Nest:
        """The mask of the merged output sequence, if there is one."""
        own = self.forward_layer.compute_mask(inputs, mask)
        merged = first_mask(own)
        if merged is None:
            return None
        each = len(flatten(output_size(self.forward_layer.cell), is_size))
        outputs = [merged] * (2 * each if self.merge_mode is None else each)
        if not self.return_state:
            return outputs if len(outputs) > 1 else merged
        return outputs + [None] * (len(self.forward_layer._sizes) + len(self.backward_layer._sizes))

    # -- calling ------------------------------------------------------------------------------------------------------

    def call(
        self,
        sequences: Nest,
        initial_state: Nest = None,
        mask: Nest = None,
        training: bool = False,
        constants: Sequence[Tensor] | None = None,
        lengths: Any = None,
    ) -> Any:
        states = self._halve(initial_state)
        halves = (self.forward_layer, self.backward_layer)
        if all(type(half).call is RNN.call for half in halves):
            over = self._sequences(sequences, mask, lengths)
            scanned = execute([h.problem(over, s, training, constants) for h, s in zip(halves, states, strict=True)])
            results = [h.finish(s, over.mask) for h, s in zip(halves, scanned, strict=True)]
            for half, result in zip(halves, results, strict=True):
                if half.activity_regularizer is not None:
                    half._regularize_activity(result)
        else:  # a subclass with a call of its own
            used = {"mask": mask} if lengths is None else {"lengths": lengths}
            given = {name: value for name, value in {**used, "constants": constants}.items() if value is not None}
            results = [h(sequences, initial_state=s, **given) for h, s in zip(halves, states, strict=True)]
        (forward, *first), (backward, *second) = (self._split(result) for result in results)
        if self.return_sequences:
            axis = 0 if self.time_major else 1
            backward = map_nest(lambda leaf: leaf.flip(axis), backward)
        found = (*self._merge(forward, backward), *first, *second)
        return found if len(found) > 1 else found[0]

    def _merge(self, forward: Nest, backward: Nest) -> tuple[Nest, ...]:
        if self.merge_mode is None:
            return forward, backward
        pairs = zip(flatten(forward), flatten(backward), strict=True)
        return (pack_like(forward, [self._merge_leaves(a, b) for a, b in pairs]),)

    def _merge_leaves(self, forward: Tensor, backward: Tensor) -> Tensor:
        if self.merge_mode == "concat":
            return torch.cat([forward, backward], dim=-1)
        if self.merge_mode == "mul":
            return forward * backward
        total = forward + backward
        return total / 2 if self.merge_mode == "ave" else total

    def _halve(self, initial_state: Nest) -> tuple[Nest, Nest]:
        """The states for each half: a pair as it stands, a flat list split by what each half needs."""
        if initial_state is None:
            return None, None
        leaves = flatten(initial_state)
        first, second = len(self.forward_layer._sizes), len(self.backward_layer._sizes)
        if len(leaves) != first + second or isinstance(initial_state, dict):
            raise ValueError(
                f"{self.described}: initial_state has {len(leaves)} tensor(s); the forward half carries {first} and "
                f"the backward half {second}. Pass them in one list, the forward half's first."
            )
        if len(initial_state) == 2 and len(flatten(initial_state[0])) == first:
            return initial_state[0], initial_state[1]
        return leaves[:first], leaves[first:]

    # -- states and options: those of the halves ----------------------------------------------------------------------

    @property
    def return_sequences(self) -> bool:
        """Whether whole sequences are returned."""
        return self.forward_layer.return_sequences

    @property
    def return_state(self) -> bool:
        """Whether the final states are returned too."""
        return self.forward_layer.return_state

    @property
    def time_major(self) -> bool:  # type: ignore[override]
        """Whether inputs and outputs are `(time, batch, ...)`."""
        return self.forward_layer.time_major

    @property
    def stateful(self) -> bool:
        """Whether the halves start where their last call ended."""
        return self.forward_layer.stateful

    @stateful.setter
    def stateful(self, value: bool) -> None:
        self.forward_layer.stateful = self.backward_layer.stateful = value

    @property
    def states(self) -> Nest:
        """The recorded states, the forward half's first; None if there are none."""
        halves = (self.forward_layer.states, self.backward_layer.states)
        if any(half is None for half in halves):
            return None
        return [state for half in halves for state in ([half] if isinstance(half, dict) else half)]

    def reset_states(self, states: Nest = None, rows: Any = None) -> None:
        """Forget the recorded states of both halves, or set them as `initial_state` would; rows: as in `RNN`."""
        halves = (self.forward_layer, self.backward_layer)
        recorded = [half.after_reset(s, rows) for half, s in zip(halves, self._halve(states), strict=True)]
        self.forward_layer.recorded, self.backward_layer.recorded = recorded

    def reset_state(self) -> None:
        """Keras 3's name for `reset_states()`."""
        self.reset_states()

    def get_states(self) -> Nest:
        """A copy of the recorded states of both halves, for `set_states` to take up again; None if there are none."""
        return map_nest(lambda leaf: None if leaf is None else leaf.clone(), self.states)

    def set_states(self, states: Nest) -> None:
        """Take up states that `get_states` gave. Raises ValueError for states that do not fit."""
        self.reset_states(states)

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Raises ValueError: the backward half would need the last step first."""
        raise ValueError(
            f"{self.described}: its backward half starts from the last step, so there is no step. Call it on sequences."
        )

    def _admit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super()._admit(args, kwargs)
        return self.forward_layer._admit(args, {})[0], kwargs  # whole numbers are taken as numbers

    def _asks_for_dtype(self) -> bool:
        return self.forward_layer._asks_for_dtype()

    def _differs_in_training(self) -> bool:
        return self.forward_layer._differs_in_training() or self.backward_layer._differs_in_training()


def _copy(layer: RNN, name: str, go_backwards: bool) -> RNN:
    """A layer with the same options and fresh weights. Its classes and functions need not be registered."""
    if not all(hasattr(cell, "get_config") for cell in _cells_in(layer.cell)):
        return _twin(layer, name, go_backwards)
    inside = [module for module in layer.modules() if isinstance(module, Layer)]
    known: dict[str, Any] = {type(module).__name__: type(module) for module in inside}
    for leaf in walk([module._arguments for module in inside]):
        if isinstance(leaf, FunctionType):
            known.setdefault(leaf.__name__, leaf)
    with custom_object_scope(known):
        config = {**layer.get_config(), "name": name, "go_backwards": go_backwards}
        return type(layer).from_config(config)


def _cells_in(cell: Any) -> list[Any]:
    """The cells that a cell is stacked of, itself if it is not."""
    return [each for inner in cell.cells for each in _cells_in(inner)] if isinstance(cell, StackedRNNCells) else [cell]


def _twin(layer: RNN, name: str, go_backwards: bool) -> RNN:
    """A copy of a layer whose cell, a plain torch module, has no config; what torch can initialise anew is fresh."""
    twin = copy.deepcopy(layer)
    twin.name, twin.go_backwards, twin.recorded = name, go_backwards, None
    module: Any
    for module in twin.modules():
        if not isinstance(module, Layer) and hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return twin


def _check_opposite(layer: RNN, backward_layer: RNN, merge_mode: str | None) -> None:
    if backward_layer.go_backwards == layer.go_backwards:
        raise ValueError(
            f"Bidirectional: backward_layer must run in the other direction than layer; both have "
            f"go_backwards={layer.go_backwards}."
        )
    for option in ("stateful", "return_sequences", "return_state", "time_major"):
        mine, other = getattr(layer, option), getattr(backward_layer, option)
        if mine != other:
            raise ValueError(f"Bidirectional: layer and backward_layer must agree in {option}, got {mine} and {other}.")
    if merge_mode is None:
        return
    mine, other = (
        [size_to_shape(size) for size in flatten(output_size(half.cell), is_size)] for half in (layer, backward_layer)
    )
    alike = [size[:-1] for size in mine] == [size[:-1] for size in other] if merge_mode == "concat" else mine == other
    if not alike:
        wanted = "of one size, the last axis aside" if merge_mode == "concat" else "of one size"
        raise ValueError(
            f"Bidirectional: merge_mode {merge_mode!r} needs outputs {wanted}, got {output_size(layer.cell)} and "
            f"{output_size(backward_layer.cell)}."
        )
