"""What Keras 2 computes for a golden case, one sample and one step at a time, in float64, by `parity.per_sample`.

Free of the library. It agrees with all that tf_keras wrote (`test_goldens.py`), so that it can stand in for tf_keras on
cases which are drawn anew.
"""

import types

import torch

from goldens.arrays import grid, leaves
from parity import per_sample

KINDS = {"SimpleRNN": "simple_rnn", "GRU": "gru", "LSTM": "lstm", "ConvLSTM1D": "conv_lstm", "ConvLSTM2D": "conv_lstm"}


# -- cells: (x, states, constants) of one sample -> (outputs, states), all of them lists


class NestedCell:
    states = 2

    def __init__(self, config, take):
        self.kernels = take(), take()

    def __call__(self, x, states, constants):
        outputs = [x[0] @ self.kernels[0], torch.einsum("ij,ijkl->kl", x[1], self.kernels[1])]
        return outputs, [state + output for state, output in zip(states, outputs, strict=True)]

    def no_output(self, states):
        return [torch.zeros_like(state) for state in states]


class ConstantsCell:
    states = 1

    def __init__(self, config, take):
        self.weights = take(), take(), take(), take()

    def __call__(self, x, states, constants):
        kernel, recurrent_kernel, constant_kernel, bias = self.weights
        h = torch.tanh(x[0] @ kernel + states[0] @ recurrent_kernel + constants[0] @ constant_kernel + bias)
        return [h], [h]

    def no_output(self, states):
        return [torch.zeros_like(states[0])]


class Stacked:
    """Cells of Keras's, each fed with the output of the one before; often a single one."""

    def __init__(self, described, take):
        self.cells, self.weights = [], []
        for each in described:
            kind, config = KINDS[each["class_name"].removesuffix("Cell")], each["config"]
            options = {"units": config.get("filters"), "data_format": "channels_last", "reset_after": True, **config}
            self.cells.append(types.SimpleNamespace(kind=kind, **options))
            self.weights.append(per_sample.Weights(take(), take(), take() if config["use_bias"] else None))
        self.counts = [2 if cell.kind.endswith("lstm") else 1 for cell in self.cells]
        self.states = sum(self.counts)

    def __call__(self, x, states, constants):
        (output,), after, states = x, [], list(states)
        for cell, weights, count in zip(self.cells, self.weights, self.counts, strict=True):
            own, states = states[:count], states[count:]
            output, own = per_sample.STEPS[cell.kind](torch, cell, weights, output, own)
            after += own
        return [output], after

    def no_output(self, states):
        return [torch.zeros_like(states[-self.counts[-1]])]


def cell_of(described, take):
    name, config = described["class_name"], described["config"]
    if name != "RNN":
        return Stacked([described], take)
    if isinstance(config["cell"], list):
        return Stacked(config["cell"], take)
    own = {"NestedCell": NestedCell, "ConstantsCell": ConstantsCell}[config["cell"]["class_name"]]
    return own(config["cell"]["config"], take)


# -- layers: (inputs, mask) -> outputs, then states if asked for


class Recurrent:
    def __init__(self, described, take):
        config = described["config"]
        self.cell = cell_of(described, take)
        self.return_sequences, self.return_state = config["return_sequences"], config.get("return_state", False)
        self.go_backwards, self.stateful = config.get("go_backwards", False), config.get("stateful", False)
        self.zero_masked = config.get("zero_output_for_mask", False)
        self.recorded = None

    def __call__(self, inputs, mask=None, initial=None, constants=(), start=None):
        """start: states to begin with where there are none recorded and none given."""
        outputs, states = self.parts(inputs, mask, initial, constants, start)
        return [*outputs, *states] if self.return_state else outputs

    def parts(self, inputs, mask, initial, constants, start):
        given = initial or self.recorded or start
        rows = []
        for row in range(len(inputs[0])):
            used = [True] * inputs[0].shape[1] if mask is None else mask[row].tolist()
            of_row = [[each[row] for each in group] for group in (inputs, given, constants)]
            rows.append(self.one_row(*of_row, used))
        shown, last, states = (
            [torch.stack(each) for each in zip(*part, strict=True)] for part in zip(*rows, strict=True)
        )
        if self.stateful:
            self.recorded = [state.detach() for state in states]
        return shown if self.return_sequences else last, states

    def one_row(self, inputs, states, constants, used):
        output = nothing = self.cell.no_output(states)
        shown = []
        for t in reversed(range(len(used))) if self.go_backwards else range(len(used)):
            if used[t]:
                output, states = self.cell([x[t] for x in inputs], states, constants)
            shown.append(nothing if self.zero_masked and not used[t] else output)
        return [torch.stack(each) for each in zip(*shown, strict=True)], output, states

    def mask_after(self, mask):
        return mask if self.return_sequences else None

    def reset(self):
        self.recorded = None


class Bidirectional:
    def __init__(self, described, take):
        config = described["config"]
        forward = config["layer"]
        flipped = {**forward["config"], "go_backwards": not forward["config"].get("go_backwards", False)}
        backward = config.get("backward_layer") or {**forward, "config": flipped}
        self.halves = [Recurrent(each, take) for each in (forward, backward)]
        for half in self.halves:
            half.zero_masked = half.return_sequences
        self.merge_mode, self.return_state = config["merge_mode"], self.halves[0].return_state
        self.return_sequences, self.stateful = self.halves[0].return_sequences, self.halves[0].stateful

    def __call__(self, inputs, mask=None, initial=None, constants=(), start=None):
        count, results = self.halves[0].cell.states, []
        for half, part in zip(self.halves, (slice(count), slice(count, None)), strict=True):
            results.append(half.parts(inputs, mask, initial and initial[part], constants, start and start[part]))
        ((forward,), forward_states), ((backward,), backward_states) = results
        if self.return_sequences:
            backward = backward.flip(1)
        merged = per_sample.merge(torch, self.merge_mode, forward, backward)
        return [*merged, *forward_states, *backward_states] if self.return_state else merged

    def mask_after(self, mask):
        return mask if self.return_sequences else None

    @property
    def recorded(self):
        return [*self.halves[0].recorded, *self.halves[1].recorded]

    def reset(self):
        for half in self.halves:
            half.reset()


class Pointwise:
    """Dense, TimeDistributed of one, Embedding, Masking: what sees one step at a time and leaves the states alone."""

    stateful = False

    def __init__(self, described, take):
        self.name, self.config = described["class_name"], described["config"]
        if self.name == "TimeDistributed":
            self.name, self.config = "Dense", self.config["layer"]["config"]
        if self.name == "Dense":
            self.kernel, self.bias = take(), take() if self.config["use_bias"] else 0.0
        elif self.name == "Embedding":
            self.table = take()

    def __call__(self, inputs, mask=None, **nothing):
        (x,) = inputs
        if self.name == "Dense":
            return [per_sample.ACTIVATIONS[self.config["activation"]](torch, x @ self.kernel + self.bias)]
        if self.name == "Embedding":
            self.made = x != 0 if self.config["mask_zero"] else None
            return [self.table[x]]
        self.made = (x != self.config["mask_value"]).any(-1)
        return [x * self.made[..., None]]

    def mask_after(self, mask):
        return mask if self.name == "Dense" else self.made


class Chain:
    """Layers one after the other; the initial state is the last one's."""

    stateful = False

    def __init__(self, described, take):
        self.layers = [layer_of(each, take) for each in described["config"]["layers"]]

    def __call__(self, inputs, mask=None, initial=None, constants=(), start=None):
        for inner in self.layers:
            nothing = zeros_for(inner, len(inputs[0]))
            inputs = inner(inputs, mask=mask, initial=initial if inner is self.layers[-1] else None, start=nothing)
            mask = inner.mask_after(mask)
        return inputs


def zeros_for(inner, batch):
    """States of zeros for a layer of a chain."""
    halves = getattr(inner, "halves", [inner] if isinstance(inner, Recurrent) else [])
    return [
        torch.zeros(batch, cell.units, dtype=torch.float64)
        for half in halves
        for cell, count in zip(half.cell.cells, half.cell.counts, strict=True)
        for _ in range(count)
    ]


def layer_of(described, take):
    name = described["class_name"]
    kinds = {"Bidirectional": Bidirectional, "Chain": Chain, "Sequential": Chain}
    pointwise = dict.fromkeys(("Dense", "TimeDistributed", "Embedding", "Masking"), Pointwise)
    return {**kinds, **pointwise}.get(name, Recurrent)(described, take)


# -- a case


def compute(spec, arrays, rng=None):
    """Outputs, recorded states and gradients, by name. With rng, draws the cotangents into arrays first."""

    def tensor(array):
        exact = array.dtype.kind in "ib"
        return torch.tensor(array) if exact else torch.tensor(array, dtype=torch.float64, requires_grad=True)

    weights, states, constants = ([tensor(each) for each in leaves(arrays, prefix)] for prefix in "wsk")
    layer = layer_of(spec["layer"], iter(weights).__next__)
    start = [torch.zeros(spec["batch"], *shape, dtype=torch.float64) for shape in spec["states"]]
    given = {"w": weights, "s": states, "k": constants}
    sources = {f"g{prefix}{i}": x for prefix, each in given.items() for i, x in enumerate(each)}
    results, total = {}, torch.zeros((), dtype=torch.float64, requires_grad=True)  # all steps may be masked
    for index, call in enumerate(spec["calls"]):
        inputs = [tensor(x) for x in leaves(arrays, f"x{index}_")]
        sources |= {f"gx{index}_{i}": x for i, x in enumerate(inputs) if x.requires_grad}
        if call["reset"]:
            layer.reset()
        outputs = layer(
            inputs,
            mask=tensor(arrays[f"m{index}"]) if f"m{index}" in arrays else None,
            initial=states if call["initial_state"] else None,
            constants=constants,
            start=start,
        )
        for position, y in enumerate(outputs):
            if rng is not None:
                arrays[f"c{index}_{position}"] = grid(rng.normal(size=tuple(y.shape)))
            total = total + (y * torch.tensor(arrays[f"c{index}_{position}"])).sum()
            results[f"y{index}_{position}"] = y.detach().numpy()
    found = torch.autograd.grad(total, list(sources.values()), materialize_grads=True, allow_unused=True)
    results |= {name: gradient.numpy() for name, gradient in zip(sources, found, strict=True)}
    if layer.stateful:
        results |= {f"f{i}": state.numpy() for i, state in enumerate(layer.recorded)}
    return results
