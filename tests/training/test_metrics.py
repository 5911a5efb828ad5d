"""Metrics have the values of real Keras over several batches, and the right ones where Keras has none."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import torch

from batches import one_hot, uniform, whole
from ostinato.training import losses, metrics

# name, options, and a function of (samples, seed) that makes targets and predictions; of steps there are 4
CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("Accuracy", {}, lambda n, s: (whole(3, n, seed=s), whole(3, n, seed=s + 1))),
    ("Accuracy", {}, lambda n, s: (whole(3, n, 4, seed=s), whole(3, n, 4, seed=s + 1).float())),
    ("BinaryAccuracy", {}, lambda n, s: (whole(2, n, seed=s), uniform(n, 1, seed=s))),
    ("BinaryAccuracy", {"threshold": 0.3}, lambda n, s: (whole(2, n, 1, seed=s).float(), uniform(n, 1, seed=s))),
    ("BinaryAccuracy", {}, lambda n, s: (whole(2, n, 4, 1, seed=s), uniform(n, 4, 1, seed=s))),
    ("BinaryAccuracy", {}, lambda n, s: (whole(2, n, 4, seed=s), uniform(n, 4, 1, seed=s))),
    ("CategoricalAccuracy", {}, lambda n, s: (one_hot(5, n, seed=s), uniform(n, 5, seed=s))),
    ("CategoricalAccuracy", {}, lambda n, s: (one_hot(5, n, 4, seed=s).float(), uniform(n, 4, 5, seed=s))),
    ("SparseCategoricalAccuracy", {}, lambda n, s: (whole(5, n, seed=s), uniform(n, 5, seed=s))),
    ("SparseCategoricalAccuracy", {}, lambda n, s: (whole(5, n, 1, seed=s).float(), uniform(n, 5, seed=s))),
    ("SparseCategoricalAccuracy", {}, lambda n, s: (whole(5, n, 4, seed=s), uniform(n, 4, 5, seed=s))),
    ("SparseCategoricalAccuracy", {}, lambda n, s: (whole(5, n, 4, 1, seed=s), uniform(n, 4, 5, seed=s))),
    ("SparseCategoricalAccuracy", {}, lambda n, s: (whole(5, n, 1, seed=s), uniform(n, 1, 5, seed=s))),
    ("MeanSquaredError", {}, lambda n, s: (uniform(n, 3, seed=s), uniform(n, 3, seed=s + 1))),
    ("MeanSquaredError", {}, lambda n, s: (uniform(n, seed=s), uniform(n, 1, seed=s + 1))),
    ("MeanSquaredError", {}, lambda n, s: (uniform(n, 4, 3, seed=s), uniform(n, 4, 3, seed=s + 1))),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, lambda n, s: (whole(2, n, 3, seed=s), uniform(n, 3, seed=s + 1))),
    ("BinaryCrossentropy", {"from_logits": True}, lambda n, s: (whole(2, n, 4, 3, seed=s), uniform(n, 4, 3, seed=s))),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, lambda n, s: (one_hot(5, n, seed=s), uniform(n, 5, seed=s))),
    (
        "CategoricalCrossentropy",
        {"from_logits": True},
        lambda n, s: (one_hot(5, n, 4, seed=s), uniform(n, 4, 5, seed=s)),
    ),
    ("SparseCategoricalCrossentropy", {}, lambda n, s: (whole(5, n, seed=s), uniform(n, 5, seed=s))),
    (
        "SparseCategoricalCrossentropy",
        {"from_logits": True},
        lambda n, s: (whole(5, n, 4, seed=s), uniform(n, 4, 5, seed=s)),
    ),
]


def weights_and_masks(samples: int, steps: tuple[int, ...], seed: int) -> list[tuple[Any, Any]]:
    shape = (samples, *steps)
    weights = [None, 2.0, uniform(samples, seed=seed), uniform(*shape, seed=seed)]
    masks = [None, uniform(*shape, seed=seed + 1) < 0.6, torch.zeros(shape, dtype=torch.bool)]
    pairs = list(itertools.product(weights, masks))
    # Keras cannot put a weight for a sample, or for all, and a mask for steps together.
    return [(w, m) for w, m in pairs if m is None or w is None or (isinstance(w, torch.Tensor) and w.shape == m.shape)]


@pytest.mark.parametrize(("name", "options", "make"), CASES)
def test_against_keras_over_batches_of_different_sizes(name: str, options: dict[str, Any], make: Any) -> None:
    steps = (4,) if 4 in make(2, 0)[1].shape[1:2] else ()
    for choice in range(len(weights_and_masks(3, steps, 0))):
        ours, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
        assert ours.name == theirs.name
        for batch, samples in enumerate([7, 7, 3]):
            y_true, y_pred = make(samples, batch)
            sample_weight, mask = weights_and_masks(samples, steps, batch)[choice]
            if name == "BinaryCrossentropy":  # Keras takes no other dtype there
                y_true = y_true.float()
            tensor = y_pred * 1
            if mask is not None:
                keras.src.backend.set_keras_mask(tensor, mask)
            given = sample_weight.clone() if isinstance(sample_weight, torch.Tensor) else sample_weight
            theirs.update_state(y_true, tensor, sample_weight=given)
            ours.update_state(y_true, y_pred.requires_grad_(y_pred.is_floating_point()), sample_weight, mask=mask)
            result = ours.result()
            assert result.dtype == torch.float32 and result.shape == () and not result.requires_grad
            torch.testing.assert_close(result, theirs.result(), rtol=1e-6, atol=1e-6)
            for state in ("total", "count"):
                torch.testing.assert_close(
                    getattr(ours, state), getattr(theirs, state).value.data, rtol=1e-6, atol=1e-6
                )
        ours.reset_state()
        theirs.reset_state()
        assert ours.result().item() == theirs.result().item() == 0


@pytest.mark.parametrize(
    ("values", "weights"),
    [
        ([1.0, 3.0, 5.0, 7.0], None),
        ([1.0, 3.0, 5.0, 7.0], [1, 1, 0, 0]),
        (4.0, None),
        (4.0, 3),
        (torch.tensor(4.0), torch.tensor(3.0)),
        (uniform(4, 3), None),
        (uniform(4, 3), uniform(4)),
        (uniform(4, 3), uniform(4, 3)),
        (uniform(4, 3), 2.5),
        (uniform(4, 3, 2), uniform(4, 3)),
        (uniform(4, 1), uniform(4)),
        (uniform(4), uniform(4, 1)),
        (np.arange(6), None),
        (torch.tensor([True, False, True]), None),
        (uniform(4, 3).half(), 2),
    ],
)
def test_mean(values: Any, weights: Any) -> None:
    ours, theirs = metrics.Mean(), keras.metrics.Mean()
    for metric in (ours, theirs):
        metric.update_state(values, sample_weight=weights)
        metric.update_state(1.0)
    torch.testing.assert_close(ours.result(), theirs.result(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.count, theirs.count.value.data, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy"])
def test_functions(name: str) -> None:
    y_pred = uniform(6, 4, 5)
    y_true = {"b": whole(2, 6, 4, 5), "c": one_hot(5, 6, 4), "s": whole(5, 6, 4)}[name[0]]
    ours, theirs = getattr(metrics, name)(y_true, y_pred), getattr(keras.metrics, name)(y_true, y_pred)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs)
    assert torch.equal(getattr(metrics, name)(y_true.numpy(), y_pred.numpy()), theirs)
    assert torch.equal(getattr(metrics, name)(y_true.tolist(), y_pred.tolist()), theirs)


@pytest.mark.parametrize("steps", [1, 4])
def test_labels_with_a_last_axis_of_size_1(steps: int) -> None:
    y_true, y_pred = whole(5, 6, steps, 1), uniform(6, steps, 5)
    for targets in (y_true, y_true[..., 0]):
        theirs = keras.metrics.sparse_categorical_accuracy(targets, y_pred)
        assert torch.equal(metrics.sparse_categorical_accuracy(targets, y_pred), theirs)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.int8, torch.int32, torch.float64])
def test_labels_of_any_dtype(dtype: torch.dtype) -> None:
    y_true, y_pred = whole(5, 40), uniform(40, 5)
    expected = metrics.sparse_categorical_accuracy(y_true, y_pred)
    assert torch.equal(metrics.sparse_categorical_accuracy(y_true.to(dtype), y_pred), expected)
    assert torch.equal(metrics.sparse_categorical_accuracy(y_true.to(dtype).numpy(), y_pred), expected)


def test_a_threshold() -> None:
    y_true, y_pred = whole(2, 50), uniform(50)
    y_pred[:10] = 0.5
    for threshold in (0.0, 0.2, 0.5, 1.0):
        assert torch.equal(
            metrics.binary_accuracy(y_true, y_pred, threshold), keras.metrics.binary_accuracy(y_true, y_pred, threshold)
        )


@pytest.mark.parametrize(
    "make",
    [
        metrics.SparseCategoricalAccuracy,
        metrics.SparseCategoricalCrossentropy,
        lambda: metrics.MeanMetricWrapper(losses.SparseCategoricalCrossentropy()),
        lambda: metrics.MeanMetricWrapper(lambda y_true, y_pred: y_pred.sum(-1) - y_true),
    ],
)
def test_what_stands_in_a_masked_step_does_not_matter(make: Any) -> None:
    y_true, y_pred, mask = whole(5, 6, 4), uniform(6, 4, 5), uniform(6, 4, seed=3) < 0.6
    expected, spoiled = make(), make()
    expected.update_state(y_true[mask], y_pred[mask])
    spoiled.update_state(torch.where(mask, y_true, 99), torch.where(mask[..., None], y_pred, float("nan")), mask=mask)
    torch.testing.assert_close(spoiled.result(), expected.result())


def test_a_weight_for_each_sample_and_a_mask_for_each_step() -> None:
    y_true, y_pred, mask, weights = whole(5, 6, 4), uniform(6, 4, 5), uniform(6, 4, seed=3) < 0.6, uniform(6, seed=4)
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state(y_true, y_pred, sample_weight=weights, mask=mask.numpy())
    each = (y_pred.argmax(-1) == y_true) * 1.0
    expected = (each * mask * weights[:, None]).sum() / (mask * weights[:, None]).sum()
    torch.testing.assert_close(metric.result(), expected)


def test_no_samples() -> None:
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 5))
    metric.update_state(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3, 5))
    metric.update_state(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 5), sample_weight=3)
    metric.update_state(
        torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3, 5), mask=torch.ones(0, 3, dtype=torch.bool)
    )
    assert metric.result().item() == 0
    metric.update_state([1], [[0.0, 1.0]])
    assert metric.result().item() == 1


def test_a_loss_is_a_metric_of_its_values() -> None:
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0, reduction="sum", name="nats")
    metric, y_true, y_pred = metrics.MeanMetricWrapper(loss), whole(5, 40), uniform(40, 5)
    metric.update_state(y_true[:30], y_pred[:30])
    metric.update_state(y_true[30:], y_pred[30:])
    kept = y_true != 0
    torch.testing.assert_close(metric.result(), torch.nn.functional.cross_entropy(y_pred[kept], y_true[kept]))
    assert metric.name == "nats"


def test_labels_that_are_ignored_do_not_count() -> None:
    y_true, y_pred = whole(5, 6, 4), uniform(6, 4, 5)
    kept, expected = y_true != 2, metrics.SparseCategoricalCrossentropy()
    expected.update_state(y_true[kept], y_pred[kept])
    for sample_weight in (None, torch.ones(6, 4)):
        metric = metrics.SparseCategoricalCrossentropy(ignore_class=2)
        metric.update_state(y_true, y_pred, sample_weight)
        torch.testing.assert_close(metric.result(), expected.result())
    theirs = keras.metrics.SparseCategoricalCrossentropy(ignore_class=2)
    theirs.update_state(y_true, y_pred, sample_weight=torch.ones(6, 4))
    torch.testing.assert_close(metric.result(), theirs.result(), rtol=1e-6, atol=1e-6)


def test_a_function_is_a_metric() -> None:
    def distance(y_true: torch.Tensor, y_pred: torch.Tensor, power: float = 1.0) -> torch.Tensor:
        return (y_true - y_pred).abs().pow(power).mean(-1)

    metric = metrics.MeanMetricWrapper(distance, power=2.0)
    assert metric.name == "distance"
    y_true, y_pred = uniform(6, 4), uniform(6, 4, seed=5)
    metric.update_state(y_true, y_pred, sample_weight=[1, 0, 1, 0, 1, 0])
    torch.testing.assert_close(metric.result(), (y_true - y_pred)[::2].square().mean())


def test_a_function_may_give_one_value_for_the_batch() -> None:
    metric = metrics.MeanMetricWrapper(lambda y_true, y_pred: (y_true - y_pred).abs().max(), "largest")
    metric.update_state(torch.zeros(2, 3), torch.ones(2, 3), mask=torch.ones(2, 3, dtype=torch.bool))
    metric.update_state(torch.zeros(2, 3), torch.full((2, 3), 3.0))
    assert metric.result().item() == 2
