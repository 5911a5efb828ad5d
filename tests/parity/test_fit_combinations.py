"""`fit` of ours and of real Keras, from equal weights on the same batches, over all pairs of what it can be asked for.

Logs of each epoch and all weights agree to 1e-5. `OSTINATO_PARITY_SEEDS=1,2,3` runs other sets of cases, as many.
"""

import os

import keras
import numpy as np
import pytest

import ostinato
from parity import combinations as axes

TOLERANCE = 1e-5
SEEDS = [int(each) for each in os.environ.get("OSTINATO_PARITY_SEEDS", "0").split(",")]
CASES = [case for seed in SEEDS for case in axes.all_pairs(seed)]
SAMPLES, TIME, CLASSES, BATCH = 37, 6, 4, 8


def data(task, rng):
    """Padded sequences and targets for a task."""
    lengths = rng.integers(1, TIME + 1, SAMPLES)
    used = np.arange(TIME) < lengths[:, None]
    x = np.where(used[..., None], rng.uniform(-1, 1, (SAMPLES, TIME, 3)), 0).astype("float32")
    if task == axes.SPARSE:
        return np.where(used, rng.integers(1, 9, (SAMPLES, TIME)), 0), rng.integers(0, CLASSES, (SAMPLES, TIME))
    if task == axes.ONE_HOT:
        return x, np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, SAMPLES)]
    if task == axes.BINARY:
        return x, rng.integers(0, 2, (SAMPLES, 1)).astype("float32")
    y = rng.uniform(0.1, 1, (SAMPLES, 1)).astype("float32")
    return x, y if task == axes.NUMBERS else {"first": y, "second": rng.uniform(0, 1, (SAMPLES, 2)).astype("float32")}


def body(library, penalties):
    """What all models of sequences begin with."""
    layers = library.layers
    if not penalties:
        return [layers.Masking(), layers.GRU(5)]
    return [
        layers.Masking(),
        layers.LSTM(
            5,
            kernel_regularizer=library.regularizers.L2(0.01),
            recurrent_constraint=library.constraints.MaxNorm(0.8),
            activity_regularizer="l1",
        ),
        layers.BatchNormalization(),
    ]


def model_for(library, task, penalties):
    layers = library.layers
    if task == axes.SPARSE:
        table = layers.Embedding(9, 4, mask_zero=True, embeddings_regularizer="l2" if penalties else None)
        constraint = "non_neg" if penalties else None
        head = layers.Dense(CLASSES, activation="softmax", kernel_constraint=constraint)
        return library.Sequential([library.Input((None,)), table, layers.LSTM(5, return_sequences=True), head])
    x = library.Input((None, 3))
    h = x
    for layer in body(library, penalties):
        h = layer(h)
    if task == axes.TWO:
        outputs = {"first": layers.Dense(1, name="first")(h), "second": layers.Dense(2, name="second")(h)}
        return library.Model(x, outputs)
    units, activation = {axes.ONE_HOT: (CLASSES, "softmax"), axes.BINARY: (1, "sigmoid"), axes.NUMBERS: (1, None)}[task]
    return library.Model(x, layers.Dense(units, activation=activation)(h))


def schedule(library, rate, start):
    schedules = library.optimizers.schedules
    return {
        "number": lambda: start,
        "exponential": lambda: schedules.ExponentialDecay(start, 3, 0.7),
        "cosine": lambda: schedules.CosineDecay(start, 12, alpha=0.1),
        "piecewise": lambda: schedules.PiecewiseConstantDecay([4, 8], [start, start * 0.5, start * 0.1]),
    }[rate]()


def optimizer_for(library, case):
    name, options = axes.OPTIMIZERS[case["optimizer"]]
    options = {"learning_rate": 0.005, **options, **axes.SETTINGS[case["settings"]]}
    options["learning_rate"] = schedule(library, case["rate"], options["learning_rate"])
    return getattr(library.optimizers, name)(**options)


def metrics_for(library, names):
    return [getattr(library.metrics, each[0])(**each[1]) if isinstance(each, tuple) else each for each in names]


def compile_for(library, model, case):
    task, number = case["task"]
    name, options = axes.LOSSES[task][number]
    loss = getattr(library.losses, name)(**options)
    groups = axes.METRICS[task]
    metrics = metrics_for(library, groups[case["metrics"] % len(groups)])
    weighted = [axes.MEAN_METRIC[task]] if case["weighted"] else None
    weights = None
    if task == axes.TWO:
        loss, weights = {"first": loss, "second": "mse"}, {"first": 0.7, "second": 0.2}
        metrics = {"first": metrics, "second": ["cosine_similarity"]}
        weighted = {"second": weighted} if weighted else None
    optimizer = optimizer_for(library, case)
    model.compile(optimizer, loss, loss_weights=weights, metrics=metrics, weighted_metrics=weighted)


def arguments(case, rng):
    """x, y and what else `fit` gets."""
    task = case["task"][0]
    x, y = data(task, rng)
    options = {"batch_size": BATCH, "epochs": 3, "shuffle": False, "verbose": 0}
    per_sample = rng.uniform(0.1, 2, SAMPLES).astype("float32")
    if case["weights"] == "class":
        options["class_weight"] = {0: 0.5, 1: 2.0}
    elif case["weights"] != "none":
        shape = (SAMPLES, TIME) if case["weights"] == "step" else (SAMPLES,)
        options["sample_weight"] = rng.uniform(0.1, 2, shape).astype("float32")
    if case["validation"] == "split":
        options["validation_split"] = 0.3
    elif case["validation"] != "none":
        held = data(task, rng)
        options["validation_data"] = (*held, per_sample) if case["validation"] == "weighted data" else held
        if case["validation"] == "every second epoch":
            options["validation_freq"] = 2
            options["validation_batch_size"] = 5
    if case["steps"] == "steps":
        options["steps_per_epoch"] = 2
    return x, y, options


@pytest.mark.filterwarnings("ignore:.*ran out of data:UserWarning", "ignore:.*the data ended after:UserWarning")
@pytest.mark.parametrize("case", CASES, ids=axes.label)
def test_fit_agrees_with_keras(case):
    rng = np.random.default_rng(sum(map(ord, axes.label(case))))
    models = [model_for(library, case["task"][0], case["penalties"]) for library in (ostinato, keras)]
    start = [w + rng.uniform(-0.1, 0.1, w.shape).astype("float32") for w in models[1].get_weights()]
    x, y, options = arguments(case, rng)
    histories = []
    for library, model in zip((ostinato, keras), models, strict=True):
        model.set_weights(start)
        compile_for(library, model, case)
        histories.append(model.fit(x, y, **options).history)
    mine, right = histories
    assert sorted(mine) == sorted(right)
    for name, values in right.items():
        np.testing.assert_allclose(mine[name], values, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
    for ours, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)
    assert not all(np.array_equal(a, b) for a, b in zip(models[0].get_weights(), start, strict=True))


def test_metrics_weighted_by_step_under_a_mask():
    """Where Keras on torch is wrong: in its loss it multiplies the sample weights by the mask in place."""
    rng = np.random.default_rng(3)
    x, y = data(axes.SPARSE, rng)
    weights = rng.uniform(0.1, 2, x.shape).astype("float32")
    model = model_for(ostinato, axes.SPARSE, False)
    model.compile(loss="sparse_categorical_crossentropy", weighted_metrics=["sparse_categorical_crossentropy"])
    found = model.evaluate(x, y, sample_weight=weights, batch_size=BATCH, verbose=0, return_dict=True)
    chosen = np.take_along_axis(model.predict(x, verbose=0), y[..., None], -1)[..., 0].astype("float64")
    used = x != 0
    values = -np.log(chosen)
    metric = (values * weights * used).sum() / (weights * used).sum()
    rows = [slice(i, i + BATCH) for i in range(0, SAMPLES, BATCH)]
    losses = [(values[r] * weights[r] * used[r]).sum() / used[r].sum() * len(x[r]) for r in rows]
    assert found["sparse_categorical_crossentropy"] == pytest.approx(metric, rel=1e-5)
    assert found["loss"] == pytest.approx(sum(losses) / SAMPLES, rel=1e-5)


def test_the_cases_hold_every_pair():
    held = {pair for case in CASES for pair in pairs_of(case)}
    for case in axes.all_pairs(99):
        assert set(pairs_of(case)) <= held


def pairs_of(case):
    names = list(axes.AXES)
    return [((a, case[a]), (b, case[b])) for i, a in enumerate(names) for b in names[i + 1 :]]
