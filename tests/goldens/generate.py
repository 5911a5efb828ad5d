"""Golden cases for recurrent layers, computed by Keras 2 (the tf_keras package).

    PYTHONPATH=tests python -m goldens.generate --seed 1 --count 160 --out tests/goldens/keras2.npz

needs tensorflow and tf_keras, which the tests of this project do not: they read the file. What a case is, and what is
left out and why, is in `drawing.py` and `arrays.py`. All cases are in one .npz: "<case>/spec" is a JSON text, and
"<case>/<name>" are the arrays.

Inputs, weights and cotangents are multiples of 1/1024, so float32 holds them exactly, and a case is kept only when
Keras 2 in float32 agrees with Keras 2 in float64 four times closer than the tests ask for: no case fails by rounding.

unroll=True with a mask, where masked outputs are zeroed, is computed with unroll=False: with go_backwards Keras zeroes
the wrong steps. Such a case says so in spec["reference"].
"""

import argparse
import copy
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf
import tf_keras as keras

from goldens.arrays import draw_arrays, grid, leaves, pack
from goldens.drawing import DRAW, families, masked

TOLERANCE = {"value": (1e-4, 1e-5), "gradient": (1e-3, 1e-5)}  # (rtol, atol) of the tests in float32
MARGIN = 4
ATTEMPTS = 50


class NestedCell(keras.layers.Layer):
    """The cell with nested inputs, states and outputs of the Keras guide "Working with RNNs"."""

    def __init__(self, unit_1, unit_2, unit_3, **kwargs):
        self.unit_1 = unit_1
        self.unit_2 = unit_2
        self.unit_3 = unit_3
        self.state_size = [tf.TensorShape([unit_1]), tf.TensorShape([unit_2, unit_3])]
        self.output_size = [tf.TensorShape([unit_1]), tf.TensorShape([unit_2, unit_3])]
        super().__init__(**kwargs)

    def build(self, input_shapes):
        i1 = input_shapes[0][1]
        i2, i3 = input_shapes[1][1:]
        self.kernel_1 = self.add_weight(shape=(i1, self.unit_1), name="kernel_1")
        self.kernel_2_3 = self.add_weight(shape=(i2, i3, self.unit_2, self.unit_3), name="kernel_2_3")

    def call(self, inputs, states):
        a, b = tf.nest.flatten(inputs)
        s1, s2 = states
        o1 = tf.matmul(a, self.kernel_1)
        o2 = tf.einsum("bij,ijkl->bkl", b, self.kernel_2_3)
        return (o1, o2), (s1 + o1, s2 + o2)


class ConstantsCell(keras.layers.Layer):
    """A one-state cell that sees the same constant at every step."""

    def __init__(self, units, constant_size, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.constant_size = constant_size
        self.state_size = units

    def build(self, input_shape):
        units = self.units
        self.kernel = self.add_weight(shape=(input_shape[-1], units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(units, units), name="recurrent_kernel")
        self.constant_kernel = self.add_weight(shape=(self.constant_size, units), name="constant_kernel")
        self.bias = self.add_weight(shape=(units,), name="bias")

    def call(self, inputs, states, constants):
        h = tf.tanh(
            tf.matmul(inputs, self.kernel)
            + tf.matmul(states[0], self.recurrent_kernel)
            + tf.matmul(constants[0], self.constant_kernel)
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


def make(described):
    name, config = described["class_name"], dict(described["config"])
    for key in ("layer", "backward_layer"):
        if key in config:
            config[key] = make(config[key])
    if "cell" in config:
        cell = config.pop("cell")
        config["cell"] = [make(c) for c in cell] if isinstance(cell, list) else make(cell)
    if name in ("Sequential", "Chain"):
        inner = [make(each) for each in config["layers"]]
        return Chain(inner) if name == "Chain" else keras.Sequential(inner)
    if name in CUSTOM:
        return CUSTOM[name](**config)
    return getattr(keras.layers, name)(**config)


def without_unroll(spec):
    """The layer to compute: with unroll off where Keras 2's unrolled loop zeroes the wrong steps."""
    described = spec["layer"]
    inner = described["config"].get("layer", described)
    config = inner["config"]
    zeroing = config.get("zero_output_for_mask") or (
        described["class_name"] == "Bidirectional" and config.get("return_sequences")
    )
    if not (masked(spec["calls"]) and zeroing and config.get("unroll")):
        return described, False
    described = copy.deepcopy(described)
    for part in (described, described["config"].get("layer"), described["config"].get("backward_layer")):
        if part and "unroll" in part["config"]:
            part["config"]["unroll"] = False
    return described, True


def flatten(values):
    return [v for v in tf.nest.flatten(values) if v is not None]


def recorded(built):
    if isinstance(built, keras.layers.Bidirectional):
        return flatten([built.forward_layer.states, built.backward_layer.states])
    return flatten(built.states)


def built_layer(described, arrays):
    built = make(described)
    inputs = leaves(arrays, "x0_")
    if isinstance(built, (keras.Sequential, Chain)):
        built(tf.constant(inputs[0]))
    elif len(inputs) > 1:
        built.build(tuple(tf.TensorShape(x.shape) for x in inputs))
    else:
        built.build(tf.TensorShape(inputs[0].shape))
    return built


def compute(spec, arrays, rng, dtype):
    """Outputs, recorded states and gradients. With rng, first draws the weights and cotangents into arrays."""
    keras.backend.clear_session()
    keras.backend.set_floatx(dtype)
    described, _ = without_unroll(spec)
    built = built_layer(described, arrays)
    if rng is not None:
        for index, weight in enumerate(built.get_weights()):
            arrays[f"w{index}"] = grid(rng.normal(size=weight.shape) * 0.5)
    built.set_weights([w.astype(dtype) for w in leaves(arrays, "w")])

    def tensor(array):
        return tf.constant(array if array.dtype.kind in "ib" else array.astype(dtype))

    states = [tensor(s) for s in leaves(arrays, "s")]
    constants = [tensor(k) for k in leaves(arrays, "k")]
    results, watched = {}, {f"gs{i}": s for i, s in enumerate(states)}
    watched.update({f"gk{i}": k for i, k in enumerate(constants)})
    with tf.GradientTape() as tape:
        for source in watched.values():
            tape.watch(source)
        total = 0.0
        for index, call in enumerate(spec["calls"]):
            inputs = [tensor(x) for x in leaves(arrays, f"x{index}_")]
            for position, x in enumerate(inputs):
                if x.dtype.is_floating:
                    tape.watch(x)
                    watched[f"gx{index}_{position}"] = x
            keywords = {"training": False}
            if f"m{index}" in arrays:
                keywords["mask"] = tensor(arrays[f"m{index}"])
            if call["initial_state"]:
                keywords["initial_state"] = pack(spec["structure"], states)
            if constants:
                keywords["constants"] = constants
            if call["reset"]:
                built.reset_states()
            outputs = flatten(built(inputs[0] if len(inputs) == 1 else tuple(inputs), **keywords))
            for position, y in enumerate(outputs):
                if rng is not None:
                    arrays[f"c{index}_{position}"] = grid(rng.normal(size=y.shape))
                total += tf.reduce_sum(y * tensor(arrays[f"c{index}_{position}"]))
                results[f"y{index}_{position}"] = y.numpy()
    for index, weight in enumerate(built.trainable_weights):
        watched[f"gw{index}"] = weight
    gradients = tape.gradient(total, list(watched.values()), unconnected_gradients="zero")
    for name, gradient in zip(watched, gradients, strict=True):
        results[name] = tf.convert_to_tensor(gradient).numpy()
    if getattr(built, "stateful", False):
        for index, state in enumerate(recorded(built)):
            results[f"f{index}"] = state.numpy()
    assert len(built.get_weights()) == len(built.trainable_weights)
    return results


def agrees(single, double):
    """Whether float32 is far enough inside the tolerance of the tests."""
    for name, expected in double.items():
        rtol, atol = TOLERANCE["gradient" if name.startswith("g") else "value"]
        if not np.allclose(single[name], expected, rtol=rtol / MARGIN, atol=atol / MARGIN):
            return False
    return True


def draw_case(seed, index, family):
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, index, attempt])
        spec = DRAW[family](rng)
        arrays = draw_arrays(rng, spec)
        results = compute(spec, arrays, rng, "float64")
        if agrees(compute(spec, arrays, None, "float32"), results):
            break
    else:
        raise RuntimeError(f"case {index}, {family}: no draw out of {ATTEMPTS} is safe in float32")
    if without_unroll(spec)[1]:
        spec["reference"] = "computed with unroll=False"
    spec["weights"] = [list(w.shape) for w in leaves(arrays, "w")]
    spec["outputs"] = [[list(y.shape) for y in leaves(results, f"y{call}_")] for call in range(len(spec["calls"]))]
    return spec, {**arrays, **results}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    stored = {}
    for index, family in enumerate(families(arguments.seed, arguments.count)):
        spec, arrays = draw_case(arguments.seed, index, family)
        case = f"{index:04d}-{family}"
        spec = {"case": case, "family": family, **spec}
        stored[f"{case}/spec"] = np.array(json.dumps(spec))
        for name, array in arrays.items():
            stored[f"{case}/{name}"] = array
        if index % 20 == 19:
            print(f"{index + 1} of {arguments.count}", flush=True)
    np.savez_compressed(arguments.out, **stored)


if __name__ == "__main__":
    main()
