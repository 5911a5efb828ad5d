"""The layer of a case, in either library; what it gives, and every gradient."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch

import ostinato
from ostinato.recurrence.nests import flatten
from parity.case_data import FOLLOWING, TOKENS, Call, Data, data_of, merged_size
from parity.recurrent_cases import STATES, Case, Cell, Half


@functools.cache
def own_cell(library: Any) -> Any:
    """A cell as users write them, for either library.

    ::

        h' = tanh(x W + h U);  level' = level / 2 + sum(h');  output = [h' * level', level']

    It begins with h = 1/4.
    """
    ops = library.ops

    class Own(library.layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units, self.state_size, self.output_size = units, [units, 1], units + 1

        def build(self, input_shape):
            self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
            self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), name="recurrent_kernel")
            self.built = True

        def get_initial_state(self, batch_size=None):
            dtype = self.kernel.dtype
            return [ops.full((batch_size, self.units), 0.25, dtype=dtype), ops.zeros((batch_size, 1), dtype=dtype)]

        def call(self, inputs, states):
            h, level = states
            h = ops.tanh(ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent_kernel))
            level = level / 2 + ops.sum(h, axis=-1, keepdims=True)
            return ops.concatenate([h * level, level], axis=-1), [h, level]

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return library.saving.register_keras_serializable(package="parity")(Own)


NAMES = {"simple_rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}


def options_of(cell: Cell) -> dict[str, Any]:
    """What a cell's constructor takes."""
    options: dict[str, Any] = {"activation": cell.activation, "use_bias": cell.use_bias}
    options |= {"dropout": cell.dropout, "recurrent_dropout": cell.recurrent_dropout}
    if cell.kind != "simple_rnn":
        options["recurrent_activation"] = cell.recurrent_activation
    if cell.kind == "gru":
        options["reset_after"] = cell.reset_after
    if cell.kind in ("lstm", "conv_lstm"):
        options["unit_forget_bias"] = cell.unit_forget_bias
    if cell.kind == "conv_lstm":
        for name in ("kernel_size", "strides", "dilation_rate", "padding", "data_format"):
            options[name] = getattr(cell, name)
    return options


def make_cell(library: Any, cell: Cell, dtype: str) -> Any:
    """A cell of either library."""
    if cell.kind == "own":
        return own_cell(library)(cell.units, dtype=dtype)
    return getattr(library.layers, f"{NAMES[cell.kind]}Cell")(cell.units, dtype=dtype, **options_of(cell))


def make_half(library: Any, case: Case, half: Half, dtype: str) -> Any:
    """A recurrent layer of either library."""
    shared: dict[str, Any] = {
        "return_sequences": case.return_sequences,
        "return_state": case.return_state,
        "stateful": case.stateful,
        "go_backwards": half.go_backwards,
        "unroll": half.unroll,
        "zero_output_for_mask": half.zero_output_for_mask,
        "dtype": dtype,
    }
    if library is ostinato and case.time_major:
        shared["time_major"] = True
    if half.form != "layer":
        made = [make_cell(library, cell, dtype) for cell in half.cells]
        stack = library.layers.StackedRNNCells(made, dtype=dtype) if half.form == "stacked" else made
        return library.layers.RNN(made[0] if half.form == "cell" else stack, **shared)
    (cell,) = half.cells
    if cell.kind == "conv_lstm":
        kind = getattr(library.layers, f"ConvLSTM{len(cell.kernel_size)}D")
        return kind(cell.units, **options_of(cell), **shared)
    if cell.kind != "simple_rnn":
        shared["use_cudnn"] = half.use_cudnn
    if half.implementation is not None and (library is ostinato or cell.kind != "simple_rnn"):
        shared["implementation"] = half.implementation
    return getattr(library.layers, NAMES[cell.kind])(cell.units, **options_of(cell), **shared)


def make_layer(library: Any, case: Case, dtype: str) -> Any:
    """The layer of a case, built."""
    layer = make_half(library, case, case.half, dtype)
    if case.bidirectional:
        given = None if case.backward is None else make_half(library, case, case.backward, dtype)
        layer = library.layers.Bidirectional(layer, merge_mode=case.merge_mode, backward_layer=given, dtype=dtype)
    lead = (case.batch, case.time)
    if library is ostinato and case.time_major:
        lead = lead[::-1]
    layer.build((*lead, *case.step_shape))
    return layer


# -- what comes out ---------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """Of one call: outputs and states, and the gradients by name of a weighted sum of all of them."""

    outputs: list[np.ndarray]
    gradients: dict[str, np.ndarray]
    recorded: list[np.ndarray] | None = None  # ours only: the states that a stateful layer has afterwards


def results(
    library: Any,
    case: Case,
    dtype: str = "float32",
    calls: int | None = None,
    gradients: bool = True,
    before_call: Any = None,
) -> list[Result]:
    """What each call of a case's layer gives; calls: how many are made; before_call: told (layer, number) of each."""
    data = data_of(case)
    layer = make_layer(library, case, dtype)
    follow = None
    if case.follow:
        options = {"time_major": True} if library is ostinato and case.time_major else {}
        follow = library.layers.SimpleRNN(FOLLOWING.units, return_sequences=True, dtype=dtype, **options)
        follow.build((case.batch, case.time, merged_size(case)))
    weights = weights_of(layer) + (weights_of(follow) if follow else [])
    with torch.no_grad():
        for weight, value in zip(weights, data.weights, strict=True):
            weight.copy_(torch.tensor(value, dtype=weight.dtype))
    found = []
    for number, call in enumerate(data.calls[:calls]):
        if number == 2:
            layer.reset_states()
        if before_call is not None:
            before_call(layer, number)
        front, x, source = entrance(library, case, data, call, dtype)
        states = [torch.tensor(state, dtype=source.dtype, requires_grad=True) for state in call.states]
        outputs = call_layer(library, case, call, (front, layer, follow), x, states)
        wanted = {f"weight {i}": weight for i, weight in enumerate(weights)}
        wanted |= {"source": source, **{f"state {i}": state for i, state in enumerate(states)}}
        grads = gradients_of(outputs, wanted) if gradients else {}
        recorded = None
        if library is ostinato and case.stateful:
            recorded = [state.numpy().copy() for state in flatten(layer.states)]
        found.append(Result([out.detach().numpy().copy() for out in outputs], grads, recorded))
    return found


def weights_of(layer: Any) -> list[torch.Tensor]:
    """The parameters of a layer, in Keras's order; not the states, which Keras counts among the variables."""
    return [getattr(weight, "value", weight) for weight in layer.trainable_weights]


def gradients_of(outputs: list[torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """By name, of a sum of the outputs with random weights, the same for the same shapes."""
    rng = np.random.default_rng(5)
    loss: Any = 0.0
    for out in outputs:
        loss = loss + (out * torch.tensor(rng.standard_normal(tuple(out.shape)), dtype=out.dtype)).sum()
    if not loss.requires_grad:  # no step was used, and no state given
        return {name: np.zeros(tuple(leaf.shape)) for name, leaf in wanted.items()}
    found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True, materialize_grads=True)
    return {name: grad.numpy() for name, grad in zip(wanted, found, strict=True)}


def entrance(library: Any, case: Case, data: Data, call: Call, dtype: str) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """(the layer before, or None; the input; the leaf that wants a gradient: the input or the embedding's table)."""
    if call.tokens is None:
        x = torch.tensor(call.source, dtype=getattr(torch, dtype), requires_grad=True)
        return library.layers.Masking(data.mask_value) if case.route == "masking" else None, x, x
    front = library.layers.Embedding(TOKENS, case.features, mask_zero=True, dtype=dtype)
    front.build((None, None))
    (table,) = weights_of(front)
    with torch.no_grad():
        table.copy_(torch.tensor(call.source))
    return front, torch.tensor(call.tokens), table


def call_layer(
    library: Any, case: Case, call: Call, layers: tuple[Any, Any, Any], x: torch.Tensor, states: list[Any]
) -> list[torch.Tensor]:
    """The outputs of one call, flat, batch first. layers: before, the one in question, after."""
    turned = library is ostinato and case.time_major
    x = x.transpose(0, 1) if turned else x
    keywords: dict[str, Any] = {}
    if call.mask is not None and case.route not in ("masking", "embedding"):
        keywords = explicit(library, case, call.mask.T if turned else call.mask)
    if states:
        keywords["initial_state"] = arranged(library, case, states)
    if any(cell.dropout or cell.recurrent_dropout for half in case.halves for cell in half.cells):
        keywords["training"] = case.training
    if case.way == "model":
        outputs = call_model(library, case, layers, x, keywords)
    else:
        outputs = in_turn(*layers, x, keywords)
    if turned and case.return_sequences:
        sequences = 2 if case.bidirectional and case.merge_mode is None else 1
        outputs = [out.transpose(0, 1) if i < sequences else out for i, out in enumerate(outputs)]
    return outputs


def explicit(library: Any, case: Case, mask: np.ndarray) -> dict[str, Any]:
    """A mask as an argument."""
    if case.route == "lengths" and library is ostinato:
        counts = mask.sum(0 if case.time_major else 1)
        return {"lengths": counts.astype("int32") if case.seed % 2 and case.way == "call" else torch.tensor(counts)}
    if case.route == "array":
        return {"mask": mask}
    return {"mask": torch.tensor(mask.astype(int) if case.route == "ints" else mask)}


def arranged(library: Any, case: Case, states: list[Any]) -> Any:
    """States as the case passes them; "flat" and "pair" are ours, Keras gets a list for each cell of a stack."""
    rest, pair = iter(states), []
    for half in case.halves:
        entries: list[Any] = []
        for cell in half.cells:
            own = [next(rest) for _ in range(STATES[cell.kind])]
            entries += own if half.form in ("layer", "cell") else [own if len(own) > 1 else own[0]]
        pair.append(entries)
    entries = [entry for each in pair for entry in each]
    if case.states == "flat" and library is ostinato:
        return states if len(states) > 1 else states[0]
    if case.states == "pair" and library is ostinato:
        return tuple(pair)
    return tuple(entries) if case.states == "tuple" else entries


def in_turn(front: Any, layer: Any, follow: Any, x: Any, keywords: dict[str, Any]) -> list[Any]:
    """Layer upon layer; masks hang on the tensors. Works on symbolic tensors as well."""
    outputs = layer(x if front is None else front(x), **keywords)
    if follow is not None:
        single = not isinstance(outputs, (list, tuple))
        outputs = follow(outputs) if single else [follow(outputs[0]), *outputs[1:]]
    return flatten(outputs)


def call_model(
    library: Any, case: Case, layers: tuple[Any, Any, Any], x: Any, keywords: dict[str, Any]
) -> list[torch.Tensor]:
    """The same through a Model of symbolic calls."""
    names = {
        torch.int64: "int64",
        torch.int32: "int32",
        torch.bool: "bool",
        torch.float32: "float32",
        torch.float64: "float64",
    }
    time = case.time if case.seed % 2 or any(half.unroll for half in case.halves) else None
    size = {1: time}  # of the axes that may vary

    def symbol(value: Any) -> Any:
        shape = [size.get(axis, n) if value is x else n for axis, n in enumerate(value.shape)]
        return library.Input(tuple(shape[1:]), dtype=names[value.dtype])

    symbols = {"x": symbol(x)}
    values = {"x": x}
    drawn: dict[str, Any] = {}
    training = {name: keywords.pop(name) for name in ("training",) if name in keywords}
    for name, value in keywords.items():
        leaves = flatten(value)
        made = [symbol(leaf) for leaf in leaves]
        for i, (one, leaf) in enumerate(zip(made, leaves, strict=True)):
            symbols[f"{name}{i}"], values[f"{name}{i}"] = one, leaf
        rest = iter(made)
        drawn[name] = [_like(entry, rest) for entry in value] if name == "initial_state" else next(rest)
    outputs = in_turn(*layers, symbols["x"], drawn)
    model = library.Model(list(symbols.values()), outputs)
    return flatten(model(list(values.values()), **training))


def _like(entry: Any, rest: Any) -> Any:
    return [next(rest) for _ in entry] if isinstance(entry, list) else next(rest)
