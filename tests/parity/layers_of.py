"""The layer of a case, in either library and on the per-sample loop; what it gives, and every gradient."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch

import ostinato
from ostinato.recurrence.nests import flatten
from parity import per_sample
from parity.recurrent_cases import STATES, Case, Cell, Half

FOLLOWING = Cell("simple_rnn", units=2)
TOKENS = 7


# -- what goes in -----------------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """source: the input, or the embedding's table; tokens: what is looked up in it; states: flat, or none at all."""

    source: np.ndarray
    tokens: np.ndarray | None
    mask: np.ndarray | None
    states: list[np.ndarray]


class Data(NamedTuple):
    """weights: of the layer, then of the one that follows, in Keras's order."""

    weights: list[np.ndarray]
    calls: list[Call]
    mask_value: float


def data_of(case: Case) -> Data:
    """Weights, inputs and states of a case, from its seed."""
    rng = np.random.default_rng(case.seed)
    mask_value = float(rng.choice([0.0, -1.5]))
    weights = []
    for half in case.halves:
        features = case.features
        for cell in half.cells:
            weights += [0.6 * rng.standard_normal(shape) for shape in weight_shapes(cell, features)]
            features = cell.outputs
    if case.follow:
        weights += [0.6 * rng.standard_normal(shape) for shape in weight_shapes(FOLLOWING, merged_size(case))]
    calls = []
    for number in range(case.calls):
        mask = None if case.mask is None else np.array(case.mask_of(number)).reshape(case.batch, case.time)
        x = rng.standard_normal((case.batch, case.time, *case.step_shape))
        tokens = None
        if case.route == "embedding":
            tokens = np.where(mask, rng.integers(1, TOKENS, (case.batch, case.time)), 0)
            x = rng.standard_normal((TOKENS, case.features))
        elif case.route == "masking":
            x[~mask] = mask_value
        elif case.garbage is not None:
            x[~mask] = case.garbage
        states = [0.7 * rng.standard_normal((case.batch, *shape)) for shape in state_shapes(case)]
        calls.append(Call(x, tokens, mask, states if case.states and number == 0 else []))
    return Data(weights, calls, mask_value)


def weight_shapes(cell: Cell, features: int) -> list[tuple[int, ...]]:
    """Of kernel, recurrent kernel and bias."""
    if cell.kind == "own":
        return [(features, cell.units), (cell.units, cell.units)]
    width = per_sample.GATES[cell.kind] * cell.units
    bias = (2, width) if cell.kind == "gru" and cell.reset_after else (width,)
    shapes = [(*cell.kernel_size, features, width), (*cell.kernel_size, cell.units, width), bias]
    return shapes[: cell.weights]


def state_shapes(case: Case) -> list[tuple[int, ...]]:
    """Of the states of all halves, flat."""
    shapes: list[tuple[int, ...]] = []
    for cell in (cell for half in case.halves for cell in half.cells):
        if cell.kind == "own":
            shapes += [(cell.units,), (1,)]
        elif cell.kind == "conv_lstm":
            sizes = []
            for size, k, stride, rate in zip(
                case.sizes, cell.kernel_size, cell.strides, cell.dilation_rate, strict=True
            ):
                sizes.append(-(-(size if cell.padding == "same" else size - rate * (k - 1)) // stride))
            first = cell.data_format == "channels_first"
            shapes += [(cell.units, *sizes) if first else (*sizes, cell.units)] * 2
        else:
            shapes += [(cell.units,)] * STATES[cell.kind]
    return shapes


def merged_size(case: Case) -> int:
    """The last axis of the merged output."""
    sizes = [half.cells[-1].outputs for half in case.halves]
    return sum(sizes) if case.merge_mode == "concat" else sizes[0]


# -- layers -----------------------------------------------------------------------------------------------------------


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
    rate = 0.3 if cell.idle_dropout else 0.0
    options: dict[str, Any] = {"activation": cell.activation, "use_bias": cell.use_bias}
    options |= {"dropout": rate, "recurrent_dropout": rate}
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
    library: Any, case: Case, dtype: str = "float32", calls: int | None = None, gradients: bool = True
) -> list[Result]:
    """What each call of a case's layer gives; calls: how many are made."""
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
    if any(cell.idle_dropout for half in case.halves for cell in half.cells):
        keywords["training"] = False
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
        return {"lengths": torch.tensor(counts)}
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
    names = {torch.int64: "int32", torch.bool: "bool", torch.float32: "float32", torch.float64: "float64"}
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
        drawn[name] = next(rest) if name == "mask" else [_like(entry, rest) for entry in value]
    outputs = in_turn(*layers, symbols["x"], drawn)
    model = library.Model(list(symbols.values()), outputs)
    return flatten(model(list(values.values()), **training))


def _like(entry: Any, rest: Any) -> Any:
    return [next(rest) for _ in entry] if isinstance(entry, list) else next(rest)


# -- the loop ---------------------------------------------------------------------------------------------------------


def loop_results(case: Case, dropouts: Any = None) -> list[Result]:
    """What the per-sample loop says: values from NumPy, gradients from autograd over the same lines.

    dropouts: for each cell of all halves its dropout masks, `(gates, batch, ...)`, or None.
    """
    data = data_of(case)
    carried: Any = None
    found = []
    for number, call in enumerate(data.calls):
        if number == 2:
            carried = None
        values, finals = _loop(np, case, data.weights, call.source, call, call.states or carried, dropouts)
        wanted = {f"weight {i}": torch.tensor(w, requires_grad=True) for i, w in enumerate(data.weights)}
        weights = list(wanted.values())
        wanted["source"] = source = torch.tensor(call.source, requires_grad=True)
        states = [torch.tensor(state, requires_grad=True) for state in call.states]
        wanted |= {f"state {i}": state for i, state in enumerate(states)}
        start = states or (carried and [torch.tensor(state) for state in carried])
        outputs, _ = _loop(torch, case, weights, source, call, start, dropouts)
        for one, other in zip(outputs, values, strict=True):
            np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-11, atol=1e-12)
        carried = finals if case.stateful else None
        found.append(Result(values, gradients_of(outputs, wanted), carried))
    return found


def _loop(
    xp: Any, case: Case, weights: list[Any], source: Any, call: Call, start: Any, dropouts: Any
) -> tuple[list[Any], list[Any]]:
    """(outputs and states as the layer returns them, the final states) of one call."""
    x = source if call.tokens is None else source[call.tokens]
    given = iter(weights)
    masks = iter(dropouts or [])
    rest = iter(start or [])
    ran = []
    for half in case.halves:
        own, begin = [], []
        for cell in half.cells:
            pair = [xp.asarray(each) if each is not None else None for each in next(masks, (None, None))]
            kernel, recurrent, *bias = [next(given) for _ in range(cell.weights)]
            own.append(per_sample.Weights(kernel, recurrent, bias[0] if bias else None, *pair))
            begin.append([next(rest) for _ in range(STATES[cell.kind])] if start else None)
        begin = begin if start else zeros(xp, case, half)
        zero = half.zero_output_for_mask or case.bidirectional
        ran.append(per_sample.run(xp, half.cells, own, x, call.mask, begin, half.go_backwards, zero))
    sequences = case.return_sequences
    outputs = [each.outputs if sequences else each.last for each in ran]
    if case.bidirectional:
        backward = xp.flip(outputs[1], (1,)) if sequences else outputs[1]
        outputs = per_sample.merge(xp, case.merge_mode, outputs[0], backward)
    if case.follow:
        outputs = [_follow(xp, case, list(given), outputs[0], call.mask)]
    finals = [state for each in ran for state in each.states]
    return outputs + (finals if case.return_state else []), finals


def _follow(xp: Any, case: Case, weights: list[Any], sequence: Any, mask: Any) -> Any:
    """The layer after: it gets the mask in the order of the sequence."""
    mask = mask[:, ::-1] if mask is not None and case.half.go_backwards else mask
    own = per_sample.Weights(*weights)
    begin = [[xp.zeros((case.batch, FOLLOWING.units), dtype=xp.float64)]]
    return per_sample.run(xp, (FOLLOWING,), [own], sequence, mask, begin).outputs


def zeros(xp: Any, case: Case, half: Half) -> list[list[Any]]:
    """The states before any step."""
    shapes = iter(state_shapes(case)[0 if half is case.half else case.half.states :])
    start = []
    for cell in half.cells:
        states = [xp.zeros((case.batch, *next(shapes)), dtype=xp.float64) for _ in range(STATES[cell.kind])]
        if cell.kind == "own":
            states[0] = states[0] + 0.25
        start.append(states)
    return start
