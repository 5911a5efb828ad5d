"""What a golden case asks, and how it is drawn: with NumPy alone, so that no Keras is needed to draw others.

The spec says what to build and how to call it:

    layer          {"class_name", "config"}; layers inside layers are written the same way. "Chain" is not a layer: the
                   layers are called one after the other, and the last one is given the initial state
    calls          for each call its time, the kind of mask ("none" or how it was drawn), whether the initial state is
                   given, and whether the recorded states are reset before it
    structure      how the flat s{i} nest in initial_state: [0, 1] for LSTM, [[0, 1], 2] for LSTM and GRU cells stacked
    batch, steps   batch size, and the shape of one step of each input; steps[0] is empty for tokens
    states, constants, weights, outputs            shapes; of states and constants without the batch
    source         in a chain, how the mask is hidden in the inputs: token 0 (a token like any other if the Embedding
                   has mask_zero False), or all features equal to a value
    equation       what a custom cell computes

Left out, because Keras 2 contradicts itself or is wrong there:
- an initial_state handed to a stateful layer whose recorded state isn't zero (Keras 2 ignores it);
- zero_output_for_mask without return_sequences under a mask (Keras zeroes the last output if the last step is masked);
- go_backwards in the middle of a masked chain (Keras hands on the mask in the wrong time order);
- hard_sigmoid (0.2*x + 0.5 in Keras 2, x/6 + 0.5 in Keras 3).
"""

import numpy as np

SHARES = {
    "plain": 0.50,
    "bidirectional": 0.15,
    "stacked": 0.10,
    "chain": 0.10,
    "custom": 0.07,
    "conv_lstm": 0.05,
    "time_distributed": 0.03,
}
MASKS = ("none", "right", "left", "gappy", "row", "ones")
EQUATIONS = {
    "NestedCell": (
        "inputs (a, b), a (batch, i1), b (batch, i2, i3); states (s1, s2); "
        "o1 = a @ kernel_1; o2 = einsum('bij,ijkl->bkl', b, kernel_2_3); "
        "outputs (o1, o2); new states (s1 + o1, s2 + o2)"
    ),
    "ConstantsCell": (
        "input x (batch, features), state h (batch, units), constant k (batch, constant_size); "
        "h_new = tanh(x @ kernel + h @ recurrent_kernel + k @ constant_kernel + bias); output h_new"
    ),
}


def choose(rng, options):
    return options[int(rng.integers(len(options)))]


def chance(rng, probability):
    return bool(rng.random() < probability)


def size(rng, low, high):
    """An integer of low..high, both included."""
    return int(rng.integers(low, high + 1))


def layer(class_name, **config):
    return {"class_name": class_name, "config": config}


def draw_cell_config(rng, kind, units=None):
    """Often just the defaults, the only options that fused kernels take; else anything."""
    default = chance(rng, 0.4)
    config = {
        "units": units or size(rng, 1, 7),
        "activation": "tanh" if default else choose(rng, ["tanh", "relu", "linear", "sigmoid"]),
        "use_bias": default or chance(rng, 0.7),
    }
    if kind != "SimpleRNN":
        config["recurrent_activation"] = "sigmoid" if default else choose(rng, ["sigmoid", "tanh"])
    if kind == "GRU":
        config["reset_after"] = default or chance(rng, 0.4)
    if kind == "LSTM":
        config["unit_forget_bias"] = chance(rng, 0.5)
    return config


def draw_options(rng):
    return {
        "return_sequences": chance(rng, 0.5),
        "return_state": chance(rng, 0.35),
        "go_backwards": chance(rng, 0.3),
        "unroll": chance(rng, 0.2),
    }


def draw_recurrent(rng, **options):
    kind = choose(rng, ["SimpleRNN", "GRU", "LSTM"])
    return layer(kind, **draw_cell_config(rng, kind), **options)


def draw_dims(rng):
    return {"batch": size(rng, 1, 5), "time": size(rng, 1, 8), "features": size(rng, 1, 6)}


def draw_calls(rng, dims, *, stateful=False, initial_state=0.4, mask=0.65):
    """Shapes and mask kinds of the calls: one, or two or three for a stateful layer."""
    calls = []
    for index in range(size(rng, 2, 3) if stateful else 1):
        calls.append(
            {
                "time": dims["time"] if index == 0 else size(rng, 1, 8),
                "mask": choose(rng, MASKS[1:]) if chance(rng, mask) else "none",
                "initial_state": index == 0 and chance(rng, initial_state),
                "reset": index > 1 and chance(rng, 0.5),
            }
        )
    return calls


def masked(calls):
    return any(call["mask"] != "none" for call in calls)


def state_shapes(kind, units):
    return [[units]] * (2 if kind.startswith("LSTM") else 1)


def draw_zero_output(rng, options, calls):
    """zero_output_for_mask, where Keras 2 is an oracle for it (see the top of this file)."""
    return chance(rng, 0.45) and (options["return_sequences"] or not masked(calls))


def draw_plain(rng):
    dims = draw_dims(rng)
    stateful = chance(rng, 0.25)
    calls = draw_calls(rng, dims, stateful=stateful)
    described = draw_recurrent(rng, **draw_options(rng), stateful=stateful)
    config = described["config"]
    config["zero_output_for_mask"] = draw_zero_output(rng, config, calls)
    shapes = state_shapes(described["class_name"], config["units"])
    return {
        "layer": described,
        "batch": dims["batch"],
        "steps": [[dims["features"]]],
        "calls": calls,
        "states": shapes,
        "structure": list(range(len(shapes))),
    }


def draw_bidirectional(rng):
    dims = draw_dims(rng)
    stateful = chance(rng, 0.15)
    options = draw_options(rng)
    options["go_backwards"] = chance(rng, 0.1)
    forward = draw_recurrent(rng, **options, stateful=stateful)
    config = {"layer": forward, "merge_mode": choose(rng, ["concat", "sum", "ave", "mul", None])}
    backward = forward
    if chance(rng, 0.25):
        units = None if config["merge_mode"] in ("concat", None) else forward["config"]["units"]
        kind = choose(rng, ["SimpleRNN", "GRU", "LSTM"])
        options = {**options, "go_backwards": not options["go_backwards"]}
        backward = layer(kind, **draw_cell_config(rng, kind, units), **options, stateful=stateful)
        config["backward_layer"] = backward
    shapes = []
    for half in (forward, backward):
        shapes += state_shapes(half["class_name"], half["config"]["units"])
    # Keras splits the flat list in the middle, which is right only when both halves carry as many states.
    even = len(shapes) == 2 * len(state_shapes(forward["class_name"], 1))
    return {
        "layer": layer("Bidirectional", **config),
        "batch": dims["batch"],
        "steps": [[dims["features"]]],
        "calls": draw_calls(rng, dims, stateful=stateful, initial_state=0.35 if even else 0.0),
        "states": shapes,
        "structure": list(range(len(shapes))),
    }


def draw_stacked(rng):
    dims = draw_dims(rng)
    stateful = chance(rng, 0.2)
    calls = draw_calls(rng, dims, stateful=stateful)
    cells, shapes, structure = [], [], []
    for _ in range(size(rng, 2, 3)):
        kind = choose(rng, ["SimpleRNN", "GRU", "LSTM"])
        cells.append(layer(kind + "Cell", **draw_cell_config(rng, kind, size(rng, 1, 5))))
        own = state_shapes(kind, cells[-1]["config"]["units"])
        indices = list(range(len(shapes), len(shapes) + len(own)))
        structure.append(indices if len(indices) > 1 else indices[0])
        shapes += own
    options = draw_options(rng)
    options["return_state"] = chance(rng, 0.5)
    zero = draw_zero_output(rng, options, calls)
    return {
        "layer": layer("RNN", cell=cells, **options, stateful=stateful, zero_output_for_mask=zero),
        "batch": dims["batch"],
        "steps": [[dims["features"]]],
        "calls": calls,
        "states": shapes,
        "structure": structure,
    }


def draw_chain(rng):
    dims = draw_dims(rng)
    dims["time"] = size(rng, 2, 8)
    calls = [{"time": dims["time"], "mask": choose(rng, MASKS[1:5]), "initial_state": False, "reset": False}]
    spec = {"batch": dims["batch"], "calls": calls, "states": [], "structure": []}
    kind = choose(rng, ["masking", "states", "model", "model"])
    if kind == "masking" or (kind == "states" and chance(rng, 0.5)):
        value = choose(rng, [0.0, -1.0, 0.5])
        spec["steps"] = [[dims["features"]]]
        spec["source"] = {"kind": "mask_value", "value": value}
        source = layer("Masking", mask_value=value)
    else:
        vocabulary = size(rng, 4, 9)
        spec["steps"] = [[]]
        spec["source"] = {"kind": "tokens", "vocabulary": vocabulary}
        source = layer(
            "Embedding",
            input_dim=vocabulary,
            output_dim=size(rng, 1, 5),
            mask_zero=kind == "states" or chance(rng, 0.85),
        )
    if kind == "masking":
        first = layer("LSTM", **draw_cell_config(rng, "LSTM"), return_sequences=chance(rng, 0.5))
        return {**spec, "layer": layer("Sequential", layers=[source, first])}
    if kind == "states":
        layers = [source]
        if chance(rng, 0.5):
            layers.append(draw_recurrent(rng, return_sequences=True))
        layers.append(draw_recurrent(rng, **draw_options(rng)))
        calls[0]["initial_state"] = True
        spec["states"] = state_shapes(layers[-1]["class_name"], layers[-1]["config"]["units"])
        spec["structure"] = list(range(len(spec["states"])))
        return {**spec, "layer": layer("Chain", layers=layers)}
    layers = [source, draw_recurrent(rng, return_sequences=True)]
    if chance(rng, 0.3):
        width = size(rng, 1, 4)
        layers.append(layer("TimeDistributed", layer=layer("Dense", units=width, activation="tanh", use_bias=True)))
    if chance(rng, 0.5):
        layers.append(
            layer(
                "Bidirectional",
                layer=draw_recurrent(rng, return_sequences=True),
                merge_mode=choose(rng, ["concat", "sum", "ave", "mul"]),
            )
        )
    layers.append(draw_recurrent(rng, return_sequences=chance(rng, 0.3)))
    layers.append(layer("Dense", units=size(rng, 1, 4), activation=choose(rng, ["linear", "tanh"]), use_bias=True))
    return {**spec, "layer": layer("Sequential", layers=layers)}


def draw_time_distributed(rng):
    dims = draw_dims(rng)
    inner = layer(
        "Dense",
        units=size(rng, 1, 6),
        activation=choose(rng, ["linear", "tanh", "relu"]),
        use_bias=chance(rng, 0.7),
    )
    steps = [[dims["features"]]] if chance(rng, 0.7) else [[size(rng, 1, 3), dims["features"]]]
    return {
        "layer": layer("TimeDistributed", layer=inner),
        "batch": dims["batch"],
        "steps": steps,
        "calls": draw_calls(rng, dims, initial_state=0.0, mask=0.8),
        "states": [],
        "structure": [],
    }


def draw_conv_lstm(rng):
    rank = choose(rng, [1, 2])
    dims = {"batch": size(rng, 1, 3), "time": size(rng, 1, 5), "features": size(rng, 1, 3)}
    space = [size(rng, 3, 6) for _ in range(rank)]
    kernel = [size(rng, 1, 3) for _ in range(rank)]
    padding = choose(rng, ["same", "valid"])
    strides = [size(rng, 1, 2)] * rank
    dilation = [2 if strides[0] == 1 and padding == "same" and chance(rng, 0.4) else 1] * rank
    filters = size(rng, 1, 3)
    out = [
        -(-n // s) if padding == "same" else (n - k) // s + 1 for n, k, s in zip(space, kernel, strides, strict=True)
    ]
    described = layer(
        f"ConvLSTM{rank}D",
        filters=filters,
        kernel_size=kernel,
        strides=strides,
        dilation_rate=dilation,
        padding=padding,
        activation=choose(rng, ["tanh", "relu", "linear"]),
        recurrent_activation=choose(rng, ["sigmoid", "sigmoid", "tanh"]),
        use_bias=chance(rng, 0.75),
        unit_forget_bias=chance(rng, 0.5),
        return_sequences=chance(rng, 0.5),
        return_state=chance(rng, 0.35),
        go_backwards=chance(rng, 0.3),
    )
    return {
        "layer": described,
        "batch": dims["batch"],
        "steps": [[*space, dims["features"]]],
        "calls": draw_calls(rng, dims, initial_state=0.3, mask=0.5),
        "states": [[*out, filters]] * 2,
        "structure": [0, 1],
    }


def draw_custom(rng):
    dims = draw_dims(rng)
    stateful = chance(rng, 0.2)
    calls = draw_calls(rng, dims, stateful=stateful)
    options = {**draw_options(rng), "stateful": stateful}
    options["zero_output_for_mask"] = draw_zero_output(rng, options, calls)
    spec = {"batch": dims["batch"], "calls": calls}
    if chance(rng, 0.5):
        options["unroll"] = False  # Keras 2 can't unroll nested outputs
        units = [size(rng, 1, 5), size(rng, 1, 3), size(rng, 1, 3)]
        cell = layer("NestedCell", unit_1=units[0], unit_2=units[1], unit_3=units[2])
        return {
            **spec,
            "layer": layer("RNN", cell=cell, **options),
            "steps": [[dims["features"]], [size(rng, 1, 3), size(rng, 1, 3)]],
            "states": [[units[0]], units[1:]],
            "structure": [0, 1],
            "equation": EQUATIONS["NestedCell"],
        }
    units, constant = size(rng, 1, 6), size(rng, 1, 4)
    return {
        **spec,
        "layer": layer("RNN", cell=layer("ConstantsCell", units=units, constant_size=constant), **options),
        "steps": [[dims["features"]]],
        "states": [[units]],
        "structure": [0],
        "constants": [[constant]],
        "equation": EQUATIONS["ConstantsCell"],
    }


DRAW = {
    "plain": draw_plain,
    "bidirectional": draw_bidirectional,
    "stacked": draw_stacked,
    "chain": draw_chain,
    "custom": draw_custom,
    "conv_lstm": draw_conv_lstm,
    "time_distributed": draw_time_distributed,
}


def families(seed, count):
    """One family name per case, in the proportions of SHARES, shuffled."""
    exact = {name: share * count for name, share in SHARES.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(SHARES, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: count - sum(counts.values())]:
        counts[name] += 1
    names = [name for name, number in counts.items() for _ in range(number)]
    np.random.default_rng(seed).shuffle(names)
    return names
