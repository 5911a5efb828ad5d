"""Every metric that is a mean has the values of real Keras, under weights and masks, over batches and shapes."""

from typing import Any

import keras
import numpy as np
import pytest
import torch

from batches import one_hot, some, uniform, weight, whole
from ostinato.training import losses, metrics


def numbers(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return uniform(*shape, 3, seed=seed), uniform(*shape, 3, seed=seed + 50)


def signs(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return whole(2, *shape, 3, seed=seed).float(), 3 * uniform(*shape, 3, seed=seed + 50) - 1.5


def classes(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return one_hot(7, *shape, seed=seed).float(), uniform(*shape, 7, seed=seed + 50)


def numbers_of_classes(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return whole(7, *shape, seed=seed), uniform(*shape, 7, seed=seed + 50)


def sorted_ids(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return whole(7, *shape, seed=seed), uniform(*shape, 7, seed=seed + 50).argsort(-1)


MEANS: list[tuple[str, dict[str, Any], Any]] = [
    *((name, {}, numbers) for name in (
        "MeanSquaredError", "RootMeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError",
        "MeanSquaredLogarithmicError", "LogCoshError", "CosineSimilarity", "KLDivergence", "Poisson",
        "PearsonCorrelation", "ConcordanceCorrelation",
    )),
    *((name, {}, signs) for name in ("Hinge", "SquaredHinge", "CategoricalHinge")),
    *((name, {}, classes) for name in ("CategoricalAccuracy", "CategoricalCrossentropy", "TopKCategoricalAccuracy")),
    *((name, {}, numbers_of_classes) for name in (
        "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy",
    )),
    ("TopKCategoricalAccuracy", {"k": 1}, classes),
    ("TopKCategoricalAccuracy", {"k": 7}, classes),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, numbers_of_classes),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, sorted_ids),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, classes),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, numbers_of_classes),
]  # fmt: skip


def made(name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    return getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)


def close(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours.result(), torch.as_tensor(theirs.result()).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "options", "make"), MEANS)
@pytest.mark.parametrize("steps", [(), (4,), (1,)])
@pytest.mark.parametrize("weighted", ["no", "scalar", "sample", "value"])
def test_against_keras(name: str, options: dict[str, Any], make: Any, steps: tuple[int, ...], weighted: str) -> None:
    ours, theirs = made(name, options)
    assert ours.name == theirs.name
    for batch, samples in enumerate([7, 7, 3, 1]):
        shape = (samples, *steps)
        y_true, y_pred = make(shape, batch)
        sample_weight = {"no": None, "scalar": 2.5, "sample": weight((samples,)), "value": weight(shape)}[weighted]
        theirs.update_state(y_true, y_pred, sample_weight=sample_weight)
        ours.update_state(y_true, y_pred, sample_weight)
        close(ours, theirs)


@pytest.mark.parametrize(("name", "options", "make"), MEANS)
@pytest.mark.parametrize("weighted", ["no", "sample", "value"])
def test_under_a_mask_as_keras_with_weights_of_zero(
    name: str, options: dict[str, Any], make: Any, weighted: str
) -> None:
    ours, theirs = made(name, options)
    for batch, samples in enumerate([7, 3]):
        shape = (samples, 4)
        y_true, y_pred = make(shape, batch)
        mask = some(shape, seed=batch)
        sample_weight = {"no": None, "sample": weight((samples,)), "value": weight(shape)}[weighted]
        steps = torch.ones(shape) if sample_weight is None else sample_weight.reshape(samples, -1).expand(shape)
        theirs.update_state(y_true, y_pred, sample_weight=steps * mask)
        y_pred = y_pred.masked_fill(~mask[..., None], float("nan") if y_pred.is_floating_point() else 99)
        ours.update_state(y_true.masked_fill(~(mask[..., None] if y_true.dim() > 2 else mask), 9), y_pred,
                          sample_weight, mask=mask)  # fmt: skip
        close(ours, theirs)


@pytest.mark.parametrize("name", ["BinaryAccuracy", "RootMeanSquaredError", "MeanAbsoluteError"])
@pytest.mark.parametrize("shapes", [((5,), (5, 1)), ((5, 1), (5, 1)), ((5, 1), (5,)), ((5,), (5,))])
def test_one_number_for_each_sample(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    for sample_weight in (None, weight((5,)), weight((5, 1))):
        if name == "MeanAbsoluteError" and shapes == ((5,), (5,)) and sample_weight is not None:
            continue  # the mean over a sample's numbers is then that of the batch
        ours, theirs = made(name, {})
        y_true, y_pred = whole(2, *shapes[0]).float(), uniform(*shapes[1])
        ours.update_state(y_true, y_pred, sample_weight)
        theirs.update_state(y_true, y_pred, sample_weight=sample_weight)
        close(ours, theirs)


def test_root_mean_squared_error_takes_weights_and_masks_for_each_number() -> None:
    y_true, y_pred, each = uniform(4, 3, 2), uniform(4, 3, 2, seed=5), weight((4, 3, 2))
    ours, theirs = made("RootMeanSquaredError", {})
    ours.update_state(y_true, y_pred, each)
    theirs.update_state(y_true, y_pred, sample_weight=each)
    close(ours, theirs)
    mask = some((4, 3, 2))
    ours, theirs = made("RootMeanSquaredError", {})
    ours.update_state(y_true.masked_fill(~mask, float("nan")), y_pred, each, mask)
    theirs.update_state(y_true, y_pred, sample_weight=each * mask)
    close(ours, theirs)
    with pytest.raises(ValueError, match=r"root_mean_squared_error: y_true has shape \(4, 1\) and y_pred \(4, 3\)"):
        ours.update_state(torch.zeros(4, 1), torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("values", "weights"),
    [
        ([1.0, 3.0, 5.0, 7.0], None),
        ([1.0, 3.0, 5.0, 7.0], [1, 1, 0, 0]),
        (4.0, None),
        (4.0, 3),
        (uniform(4, 3), None),
        (uniform(4, 3), uniform(4)),
        (uniform(4, 3), uniform(4, 3)),
        (uniform(4, 3), 2.5),
        (uniform(4, 3, 2), uniform(4, 3)),
        (uniform(4, 1), uniform(4)),
        (uniform(4), uniform(4, 1)),
        (np.arange(6), None),
        (torch.tensor([True, False, True]), None),
    ],
)
def test_sum_against_keras(values: Any, weights: Any) -> None:
    ours, theirs = metrics.Sum(), keras.metrics.Sum()
    for metric in (ours, theirs):
        metric.update_state(values, sample_weight=weights)
        metric.update_state(1.0)
    close(ours, theirs)
    ours.reset_state()
    assert ours.result() == 0


@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_values_under_a_mask(name: str) -> None:
    values, mask, each = uniform(4, 3), some((4, 3)), weight((4,))
    spoiled = values.masked_fill(~mask, float("nan"))
    for weights in (None, 2.0, each, each[:, None].expand(4, 3)):
        ours, theirs = made(name, {})
        ours.update_state(spoiled, weights, mask)
        rows = torch.ones(4, 1) if weights is None else torch.as_tensor(weights).reshape(-1, 1)
        full = each[:, None] if getattr(weights, "ndim", 0) == 2 else rows
        theirs.update_state(values, sample_weight=full.expand(4, 3) * mask)
        close(ours, theirs)
    with pytest.raises(ValueError, match=rf"{name} '{name.lower()}': mask has shape \(3,\)"):
        ours.update_state(values, mask=torch.ones(3))


@pytest.mark.parametrize("name", ["top_k_categorical_accuracy", "pearson_correlation", "concordance_correlation"])
@pytest.mark.parametrize("shape", [(6,), (6, 4)])
def test_functions_of_one_shape(name: str, shape: tuple[int, ...]) -> None:
    y_true, y_pred = classes(shape, 0)
    theirs = getattr(keras.metrics, name)(y_true, y_pred)
    for convert in (lambda each: each, lambda each: each.numpy(), lambda each: each.tolist()):
        values = getattr(metrics, name)(convert(y_true), convert(y_pred))
        torch.testing.assert_close(values, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 1)])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_sparse_top_k(shape: tuple[int, ...], k: int) -> None:
    y_true, y_pred = numbers_of_classes(shape, 0)
    y_pred[0] = 0.5  # ties
    for labels in (y_true, y_true.float(), y_true[..., None]):
        theirs = keras.metrics.sparse_top_k_categorical_accuracy(labels, y_pred, k)
        assert torch.equal(metrics.sparse_top_k_categorical_accuracy(labels, y_pred, k), theirs)
    assert not metrics.sparse_top_k_categorical_accuracy(torch.full(shape, 7), y_pred, k).any()
    assert not metrics.sparse_top_k_categorical_accuracy(torch.full(shape, -1), y_pred, k).any()


@pytest.mark.parametrize("k", [0, 8, -1, 2.0, True])
def test_a_k_that_cannot_be(k: Any) -> None:
    y_true, y_pred = classes((4,), 0)
    for call in (
        lambda: metrics.top_k_categorical_accuracy(y_true, y_pred, k),
        lambda: metrics.sparse_top_k_categorical_accuracy(y_true.argmax(-1), y_pred, k),
        lambda: metrics.sparse_top_k_categorical_accuracy(y_true.argmax(-1), y_pred, k, from_sorted_ids=True),
    ):
        with pytest.raises(ValueError, match="k must be a whole number from 1 to the number of classes, which is 7"):
            call()


def test_top_k_of_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"y_true has shape \(4,\), y_pred \(4, 7\).*sparse_top_k"):
        metrics.top_k_categorical_accuracy(torch.zeros(4), torch.zeros(4, 7))
    with pytest.raises(ValueError, match=r"y_true has shape \(4, 7\).*there is top_k_categorical_accuracy"):
        metrics.sparse_top_k_categorical_accuracy(torch.zeros(4, 7), torch.zeros(4, 7))


def test_a_weight_for_no_samples_leaves_the_mean_as_it_is() -> None:
    for name in ("Mean", "Sum"):
        metric = getattr(metrics, name)()
        metric.update_state([2.0])
        metric.update_state(torch.zeros(0), sample_weight=torch.tensor(3.0))
        metric.update_state(torch.zeros(0, 2), sample_weight=torch.zeros(0))
        assert metric.result() == 2


def test_the_losses_of_keras_metrics_are_metrics_too() -> None:
    for name in dir(keras.metrics):
        if name[0].islower() and name not in ("deserialize", "get", "serialize"):
            function = getattr(metrics, name)
            assert function is getattr(losses, name, function)
            assert metrics.named.resolve_metric(function, (4, 3), (4, 3)).name == name
