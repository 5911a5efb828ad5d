"""What `fit` can be asked for, as axes, and cases that hold every pair of choices of any two axes."""

import itertools
import random
from typing import Any

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"learning_rate": 0.05}),
    "momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    "nesterov": ("SGD", {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True}),
    "adam": ("Adam", {"epsilon": 1e-4}),  # with the usual 1e-7 a gradient next to 0 is all noise, and makes steps
    "amsgrad": ("Adam", {"epsilon": 1e-4, "amsgrad": True}),
    "adamw": ("AdamW", {"epsilon": 1e-4, "weight_decay": 0.01}),
    "rmsprop": ("RMSprop", {"epsilon": 1e-4}),
    "centered": ("RMSprop", {"epsilon": 1e-4, "centered": True, "momentum": 0.5}),
    "adagrad": ("Adagrad", {"learning_rate": 0.01}),
    "adadelta": ("Adadelta", {"learning_rate": 0.5, "epsilon": 1e-4}),
    "adamax": ("Adamax", {"epsilon": 1e-4}),
    "nadam": ("Nadam", {"epsilon": 1e-4}),
    "lion": ("Lion", {"learning_rate": 1e-6}),  # it steps by signs: noise must not matter
}

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipnorm": {"clipnorm": 0.05},
    "clipvalue": {"clipvalue": 0.01},
    "global_clipnorm": {"global_clipnorm": 0.1},
    "weight_decay": {"weight_decay": 0.02},
    "accumulation": {"gradient_accumulation_steps": 2},
    "accumulation and clip": {"gradient_accumulation_steps": 3, "clipnorm": 0.1},
    "ema": {"use_ema": True, "ema_momentum": 0.9},
    "ema overwrites": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
}

RATES = ("number", "exponential", "cosine", "piecewise")

# task -> losses (name, options), metrics. A name is looked up in the library's losses or metrics.
SPARSE, ONE_HOT, BINARY, NUMBERS, TWO = "sparse", "one_hot", "binary", "numbers", "two"
LOSSES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    SPARSE: [
        ("SparseCategoricalCrossentropy", {}),
        ("SparseCategoricalCrossentropy", {"ignore_class": 2}),
    ],
    ONE_HOT: [
        ("CategoricalCrossentropy", {}),
        ("CategoricalCrossentropy", {"label_smoothing": 0.1}),
        ("CategoricalFocalCrossentropy", {}),
        ("KLDivergence", {}),
        ("CategoricalHinge", {}),
        ("CosineSimilarity", {}),
        ("Poisson", {"reduction": "sum"}),
    ],
    BINARY: [
        ("BinaryCrossentropy", {}),
        ("BinaryCrossentropy", {"label_smoothing": 0.2}),
        ("BinaryFocalCrossentropy", {}),
        ("Hinge", {}),
        ("SquaredHinge", {}),
    ],
    NUMBERS: [
        ("MeanSquaredError", {}),
        ("MeanAbsoluteError", {}),
        ("MeanSquaredLogarithmicError", {}),
        ("Huber", {"delta": 0.5}),
        ("LogCosh", {}),
        ("MeanSquaredError", {"reduction": "mean_with_sample_weight"}),
    ],
    TWO: [("MeanSquaredError", {}), ("MeanAbsoluteError", {})],
}
METRICS: dict[str, list[list[Any]]] = {
    SPARSE: [[], ["accuracy"], [("SparseTopKCategoricalAccuracy", {"k": 2}), "sparse_categorical_crossentropy"]],
    ONE_HOT: [
        ["accuracy", "mse"],
        [("TopKCategoricalAccuracy", {"k": 2}), ("CosineSimilarity", {})],
        ["kl_divergence", "categorical_crossentropy", "poisson"],
    ],
    BINARY: [
        ["accuracy"],
        [
            ("BinaryAccuracy", {"threshold": 0.4}),
            ("Precision", {"name": "precision"}),
            ("Recall", {"thresholds": 0.3, "name": "recall"}),
        ],
        [("AUC", {"name": "roc"}), ("AUC", {"curve": "PR", "name": "pr"}), "binary_crossentropy", "hinge"],
    ],
    NUMBERS: [[], ["mae", "mape"], [("RootMeanSquaredError", {}), "msle", ("LogCoshError", {})]],
    TWO: [[], ["mae"]],
}
MEAN_METRIC = {
    SPARSE: "sparse_categorical_crossentropy",
    ONE_HOT: "accuracy",
    BINARY: "binary_crossentropy",
    NUMBERS: "mse",
    TWO: "mae",
}
WEIGHTED = (False, True)  # a metric that takes weights once more, weighted
WEIGHTS = ("none", "sample", "step", "class")
VALIDATION = ("none", "split", "data", "weighted data", "every second epoch")
STEPS = ("whole", "steps")
PENALTIES = (False, True)  # regularizers, constraints, activity regularizer, add_loss

AXES: dict[str, tuple[Any, ...]] = {
    "optimizer": tuple(OPTIMIZERS),
    "settings": tuple(SETTINGS),
    "rate": RATES,
    "task": tuple((task, loss) for task, losses in LOSSES.items() for loss in range(len(losses))),
    "metrics": (0, 1, 2),
    "weighted": WEIGHTED,
    "weights": WEIGHTS,
    "validation": VALIDATION,
    "steps": STEPS,
    "penalties": PENALTIES,
}

Case = dict[str, Any]


def excluded(case: Case) -> bool:
    """What cannot be asked for together, of the axes that are chosen so far."""
    task = case.get("task", (None,))[0]
    weights = case.get("weights")
    if weights == "class" and task in (NUMBERS, TWO):
        return True
    if weights == "step" and task in (ONE_HOT, BINARY, NUMBERS, TWO):  # those models give no sequence
        return True
    weighted_validation = case.get("validation") == "weighted data"
    if (task == SPARSE or weights == "step") and (weights == "sample" or weighted_validation):
        return True  # one for a sequence under a mask: Keras on torch cannot broadcast them
    if weights == "step" and case.get("weighted"):
        return True  # Keras on torch multiplies the weights by the mask in place: its weighted metrics get others
    if weights == "class" and task == SPARSE:  # a class for each step: Keras takes one for each sample
        return True
    return case.get("settings") == "weight_decay" and case.get("optimizer") == "adamw"  # has it by itself


def all_pairs(seed: int) -> list[Case]:
    """Cases in which each two choices of two axes, if they go together, come together once at least."""
    rng = random.Random(seed)
    names = list(AXES)
    missing = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2)
        for x in AXES[a]
        for y in AXES[b]
        if not excluded({a: x, b: y})
    }
    cases: list[Case] = []
    while missing:
        (a, x), (b, y) = rng.choice(sorted(missing, key=repr))
        case = {a: x, b: y}
        for name in sorted([each for each in names if each not in case], key=lambda _: rng.random()):
            choices = [each for each in AXES[name] if not excluded({**case, name: each})]
            if not choices:
                break
            case[name] = max(choices, key=lambda each, n=name: (_new(case, n, each, missing, names), rng.random()))
        if len(case) < len(names):  # nothing goes with this pair and what was chosen beside it; try again
            continue
        cases.append(case)
        missing -= {((p, case[p]), (q, case[q])) for p, q in itertools.combinations(names, 2)}
    return cases


def _new(case: Case, name: str, choice: Any, missing: set[Any], names: list[str]) -> int:
    """How many missing pairs a choice would add."""
    pairs = (sorted([(name, choice), each], key=lambda pair: names.index(pair[0])) for each in case.items())
    return sum(tuple(pair) in missing for pair in pairs)


def label(case: Case) -> str:
    """A case in a line."""
    task, loss = case["task"]
    rest = [str(case[name]) for name in AXES if name != "task"]
    return f"{LOSSES[task][loss][0]}-{task}-{'-'.join(rest)}".replace(" ", "_")
