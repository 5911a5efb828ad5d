"""The arrays of a golden case: float64, but for tokens and masks.

    w{i}           weights, in get_weights() order          gw{i}  gradient for each of them
    s{i}           initial state, flat                      gs{i}
    k{i}           constants (RNN(cell)(x, constants=...))  gk{i}
    x{call}_{i}    inputs of a call                         gx{call}_{i}   (none for integer inputs)
    m{call}        mask of a call, bool (batch, time), True = use
    y{call}_{i}    everything the call returned, flat: the output(s), then the states if return_state
    c{call}_{i}    cotangents, shaped like y{call}_{i}
    f{i}           states recorded after the last call (stateful layers)

The gradients are those of sum over calls and i of sum(y * c). Between the calls of a stateful layer nothing flows back:
the recorded state is a constant for the next call.
"""

import collections
import json
from pathlib import Path

import numpy as np

from goldens.drawing import choose

GRID = 1024
PUBLIC = Path(__file__).with_name("keras2.npz")


def load(path=PUBLIC):
    """`{case: (spec, arrays)}`, in the order of the case names."""
    cases = collections.defaultdict(dict)
    with np.load(path) as stored:
        for key in stored.files:
            case, name = key.split("/")
            cases[case][name] = stored[key]
    return {case: (json.loads(cases[case].pop("spec").item()), cases[case]) for case in sorted(cases)}


def grid(values):
    return np.round(np.asarray(values, np.float64) * GRID) / GRID


def draw_mask(rng, kind, batch, time):
    if kind == "none":
        return None
    if kind == "ones":
        return np.ones((batch, time), bool)
    steps = np.arange(time)
    lengths = rng.integers(1, time + 1, size=(batch, 1))
    right = steps < lengths
    if kind == "right":
        return right
    if kind == "left":
        return right[:, ::-1].copy()
    gappy = rng.random((batch, time)) < 0.6
    if kind == "gappy":
        gappy[np.arange(batch), rng.integers(time, size=batch)] = True
        return gappy
    chosen = choose(rng, [right, right[:, ::-1], gappy]).copy()  # "row": at least one row wholly masked
    chosen[rng.integers(batch)] = False
    return chosen


def draw_inputs(rng, spec, call):
    """Inputs and explicit mask of one call. In a chain the mask is hidden in the inputs."""
    mask = draw_mask(rng, call["mask"], spec["batch"], call["time"])
    leading = (spec["batch"], call["time"])
    source = spec.get("source", {"kind": "normal"})
    if source["kind"] == "tokens":
        tokens = rng.integers(1, source["vocabulary"], size=leading)
        return [np.where(mask, tokens, 0).astype(np.int64)], None
    inputs = [grid(rng.normal(size=leading + tuple(step))) for step in spec["steps"]]
    if source["kind"] == "mask_value":
        (x,) = inputs
        x += 2.0 / GRID * (x == source["value"])
        if x.shape[-1] > 1:  # equal in one feature only: not masked
            x[..., 0] = np.where(rng.random(leading) < 0.3, source["value"], x[..., 0])
        x[~mask] = source["value"]
        return inputs, None
    return inputs, mask


def draw_arrays(rng, spec):
    """Everything that the layer is given, except weights and cotangents: their shapes come from Keras."""
    arrays = {}
    for index, call in enumerate(spec["calls"]):
        inputs, mask = draw_inputs(rng, spec, call)
        for position, x in enumerate(inputs):
            arrays[f"x{index}_{position}"] = x
        if mask is not None:
            arrays[f"m{index}"] = mask
    if any(call["initial_state"] for call in spec["calls"]):
        for position, shape in enumerate(spec["states"]):
            arrays[f"s{position}"] = grid(rng.normal(size=(spec["batch"], *shape)))
    for position, shape in enumerate(spec.get("constants", [])):
        arrays[f"k{position}"] = grid(rng.normal(size=(spec["batch"], *shape)))
    return arrays


def leaves(arrays, prefix):
    """The arrays `{prefix}0`, `{prefix}1`, ... that there are."""
    found = []
    while f"{prefix}{len(found)}" in arrays:
        found.append(arrays[f"{prefix}{len(found)}"])
    return found


def pack(structure, flat):
    """Flat states nested as a spec says."""
    return [pack(s, flat) if isinstance(s, list) else flat[s] for s in structure]
