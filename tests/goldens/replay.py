"""Replays a golden case on this library, in float32 or float64."""

import numpy as np
import torch

import ostinato
from goldens.arrays import grid, leaves, pack
from ostinato.recurrence.nests import flatten

TOLERANCE = {  # (rtol, atol) of values and of gradients
    "float32": {"value": (1e-4, 1e-5), "gradient": (1e-3, 1e-5)},
    "float64": {"value": (1e-10, 1e-11), "gradient": (1e-9, 1e-10)},
}


class NestedCell(ostinato.layers.Layer):
    """The cell with nested inputs, states and outputs of the Keras guide "Working with RNNs"."""

    def __init__(self, unit_1, unit_2, unit_3, **kwargs):
        self.unit_1 = unit_1
        self.unit_2 = unit_2
        self.unit_3 = unit_3
        self.state_size = [torch.Size([unit_1]), torch.Size([unit_2, unit_3])]
        self.output_size = [torch.Size([unit_1]), torch.Size([unit_2, unit_3])]
        super().__init__(**kwargs)

    def build(self, input_shapes):
        i1 = input_shapes[0][1]
        i2, i3 = input_shapes[1][1:]
        self.kernel_1 = self.add_weight(shape=(i1, self.unit_1), initializer="uniform", name="kernel_1")
        shape = (i2, i3, self.unit_2, self.unit_3)
        self.kernel_2_3 = self.add_weight(shape=shape, initializer="uniform", name="kernel_2_3")

    def call(self, inputs, states):
        a, b = inputs
        s1, s2 = states
        o1 = torch.matmul(a, self.kernel_1)
        o2 = torch.einsum("bij,ijkl->bkl", b, self.kernel_2_3)
        return (o1, o2), (s1 + o1, s2 + o2)


class ConstantsCell(ostinato.layers.Layer):
    """A one-state cell that sees the same constant at every step."""

    def __init__(self, units, constant_size, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.constant_size = constant_size
        self.state_size = units

    def build(self, input_shape):
        units = self.units
        self.kernel = self.add_weight(shape=(input_shape[-1], units), initializer="uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(units, units), initializer="uniform", name="recurrent_kernel")
        shape = (self.constant_size, units)
        self.constant_kernel = self.add_weight(shape=shape, initializer="uniform", name="constant_kernel")
        self.bias = self.add_weight(shape=(units,), initializer="uniform", name="bias")

    def call(self, inputs, states, constants):
        h = torch.tanh(
            torch.matmul(inputs, self.kernel)
            + torch.matmul(states[0], self.recurrent_kernel)
            + torch.matmul(constants[0], self.constant_kernel)
            + self.bias
        )
        return h, [h]


CUSTOM = {"NestedCell": NestedCell, "ConstantsCell": ConstantsCell}


class Chain:
    """Layers called one after the other, with no model around them; the last one may get an initial_state."""

    def __init__(self, layers):
        self.layers = layers

    def __call__(self, x, training=False, **last):
        for inner in self.layers[:-1]:
            x = inner(x)
        return self.layers[-1](x, training=training, **last)

    @property
    def trainable_weights(self):
        return [w for inner in self.layers for w in inner.trainable_weights]

    def get_weights(self):
        return [w for inner in self.layers for w in inner.get_weights()]

    def set_weights(self, weights):
        for inner in self.layers:
            count = len(inner.get_weights())
            inner.set_weights(weights[:count])
            weights = weights[count:]


def make(described, dtype):
    """The layer that a spec describes, and all in it, of a dtype."""
    name, config = described["class_name"], {**described["config"], "dtype": dtype}
    if name in ("Sequential", "Chain"):
        inner = [make(each, dtype) for each in config["layers"]]
        return Chain(inner) if name == "Chain" else ostinato.Sequential(inner)
    for key in ("layer", "backward_layer"):
        if key in config:
            config[key] = make(config[key], dtype)
    if "cell" in config:
        cell = config["cell"]
        config["cell"] = [make(each, dtype) for each in cell] if isinstance(cell, list) else make(cell, dtype)
    return (CUSTOM.get(name) or getattr(ostinato.layers, name))(**config)


def built(spec, arrays, dtype, remade=lambda layer: layer):
    """The layer of a case, built as Keras would build it. remade: what to do with it before it is built."""
    layer = remade(make(spec["layer"], dtype))
    inputs = leaves(arrays, "x0_")
    if spec["layer"]["class_name"] in ("Sequential", "Chain"):
        layer(inputs[0] if inputs[0].dtype.kind == "i" else inputs[0].astype(dtype))
    elif len(inputs) > 1:
        layer.build(tuple(x.shape for x in inputs))
    else:
        layer.build(inputs[0].shape)
    return layer


def draw_weights(rng, spec, arrays):
    """Weights for a case that has none, into arrays."""
    for index, weight in enumerate(built(spec, arrays, "float64").get_weights()):
        arrays[f"w{index}"] = grid(rng.normal(size=weight.shape) * 0.5)


def run(spec, arrays, dtype, remade=lambda layer: layer, called=lambda layer, *args, **kwargs: layer(*args, **kwargs)):
    """What the library computes for a case, under the names of the golden arrays.

    remade: the layer to use, from the one that the spec describes; called: how to call it.
    """
    wanted = getattr(torch, dtype)

    def tensor(array):
        exact = array.dtype.kind in "ib"
        return torch.tensor(array) if exact else torch.tensor(array, dtype=wanted, requires_grad=True)

    layer = built(spec, arrays, dtype, remade)
    weights = leaves(arrays, "w")
    assert [w.shape for w in layer.get_weights()] == [w.shape for w in weights]
    layer.set_weights(weights)
    for kept, given in zip(layer.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(kept, given)
    states, constants = ([tensor(each) for each in leaves(arrays, prefix)] for prefix in "sk")
    given = {"w": layer.trainable_weights, "s": states, "k": constants}
    sources = {f"g{prefix}{i}": x for prefix, each in given.items() for i, x in enumerate(each)}
    results, total = {}, 0.0
    for index, call in enumerate(spec["calls"]):
        inputs = [tensor(x) for x in leaves(arrays, f"x{index}_")]
        sources |= {f"gx{index}_{i}": x for i, x in enumerate(inputs) if x.requires_grad}
        keywords = {"training": False}
        if f"m{index}" in arrays:
            keywords["mask"] = tensor(arrays[f"m{index}"])
        if call["initial_state"]:
            keywords["initial_state"] = pack(spec["structure"], states)
        if constants:
            keywords["constants"] = constants
        if call["reset"]:
            layer.reset_states()
        outputs = flatten(called(layer, inputs[0] if len(inputs) == 1 else tuple(inputs), **keywords))
        for position, (y, cotangent) in enumerate(zip(outputs, leaves(arrays, f"c{index}_"), strict=True)):
            assert y.dtype is wanted and y.shape == cotangent.shape
            results[f"y{index}_{position}"] = y.detach().numpy()
            total = total + (y * tensor(cotangent).detach()).sum()
    found = torch.autograd.grad(total, list(sources.values()), materialize_grads=True, allow_unused=True)
    results |= {name: gradient.numpy() for name, gradient in zip(sources, found, strict=True)}
    if getattr(layer, "stateful", False):
        halves = (layer.forward_layer, layer.backward_layer) if hasattr(layer, "forward_layer") else (layer,)
        recorded = flatten([half.states for half in halves])
        results |= {f"f{i}": state.detach().numpy() for i, state in enumerate(recorded)}
    return results


KINDS = {"y": "output", "f": "recorded state", "g": "gradient"}


def assert_agrees(results, expected, dtype):
    """All outputs, recorded states and gradients are there, and no other, and are as expected."""
    expected = {name: array for name, array in expected.items() if name[0] in KINDS}
    assert results.keys() == expected.keys()
    for name, array in expected.items():
        rtol, atol = TOLERANCE[dtype]["gradient" if name[0] == "g" else "value"]
        assert results[name].shape == array.shape
        np.testing.assert_allclose(results[name], array, rtol=rtol, atol=atol, err_msg=f"{KINDS[name[0]]} {name}")
