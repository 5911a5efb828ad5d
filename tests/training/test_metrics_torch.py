"""Metrics of torchmetrics are taken as they are, with masks, and alone or in fit."""

from typing import Any

import pytest
import torch
import torchmetrics

import ostinato
from batches import some, uniform, weight, whole
from ostinato.training import metrics
from ostinato.training.metrics.named import resolve_metric

CLASSES = {"num_classes": 5}
TAKEN = [
    (lambda: torchmetrics.MeanSquaredError(), (), "mean_squared_error"),
    (lambda: torchmetrics.R2Score(), (), "r2_score"),
    (lambda: torchmetrics.classification.BinaryAUROC(), (), "binary_auroc"),
    (lambda: torchmetrics.classification.MulticlassF1Score(**CLASSES), (5,), "multiclass_f1_score"),
    (lambda: torchmetrics.classification.MulticlassAUROC(**CLASSES), (5,), "multiclass_auroc"),
    (lambda: torchmetrics.Accuracy(task="multiclass", **CLASSES), (5,), "multiclass_accuracy"),
    (lambda: torchmetrics.MeanAbsoluteError(), (), "mean_absolute_error"),
]  # fmt: skip


def batch(features: tuple[int, ...], samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    labels = whole(5 if features else 2, samples, 4, seed=seed)
    return labels, uniform(samples, 4, *features, seed=seed + 20), some((samples, 4), seed=seed)


@pytest.mark.parametrize(("make", "features", "name"), TAKEN)
def test_what_the_mask_lets_count_reaches_the_metric(make: Any, features: tuple[int, ...], name: str) -> None:
    given, alone = make(), make()
    metric = resolve_metric(given, (6, 4), (6, 4, *features))
    assert isinstance(metric, metrics.TorchMetric) and metric.metric is given and metric.name == name
    assert metric.result() == 0
    for seed, samples in enumerate([6, 3]):
        y_true, y_pred, mask = batch(features, samples, seed)
        alone.update(y_pred[mask], y_true[mask])
        spoiled = y_pred.clone()
        spoiled[~mask] = float("nan")
        y_true[~mask] = 99
        metric.update_state(y_true, spoiled, mask=mask)
    metric.update_state(y_true, spoiled, mask=torch.zeros_like(mask))
    torch.testing.assert_close(metric.result(), alone.compute())
    torch.testing.assert_close(given.compute(), alone.compute())
    assert metric.higher_is_better == alone.higher_is_better
    metric.reset_state()
    assert metric.result() == 0 and not given.update_called


def test_without_a_mask_it_gets_what_there_is() -> None:
    given = torchmetrics.classification.MulticlassAccuracy(num_classes=5, average="micro")
    metric = resolve_metric(given, (6,), (6, 5))
    y_true, y_pred = whole(5, 6), uniform(6, 5)
    metric.update_state(y_true, y_pred)
    assert metric.result().item() == pytest.approx((y_pred.argmax(-1) == y_true).float().mean().item())
    perplexity = torchmetrics.text.Perplexity()
    metric = resolve_metric(perplexity, (6, 4), (6, 4, 5))
    y_true, y_pred, _ = batch((5,), 6, 0)
    metric.update_state(y_true.numpy(), y_pred.numpy())
    expected = torch.nn.functional.cross_entropy(y_pred.log_softmax(-1).flatten(0, 1), y_true.flatten()).exp()
    torch.testing.assert_close(metric.result(), expected)


@pytest.mark.parametrize("shapes", [((6,), (6, 1)), ((6, 1), (6,)), ((6, 4), (6, 4, 1)), ((6, 1), (6, 1))])
def test_a_last_axis_of_size_1(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    metric = metrics.TorchMetric(torchmetrics.MeanSquaredError(), name="mine")
    y_true, y_pred = uniform(*shapes[0]), uniform(*shapes[1], seed=3)
    metric.update_state(y_true, y_pred)
    torch.testing.assert_close(metric.result(), (y_true.flatten() - y_pred.flatten()).square().mean())
    assert metric.name == "mine"
    mask = some(shapes[0][:1])
    metric.reset_state()
    metric.update_state(y_true, y_pred, mask=mask)
    rows = (y_true.reshape(6, -1) - y_pred.reshape(6, -1))[mask]
    torch.testing.assert_close(metric.result(), rows.square().mean())


def test_its_own_name_is_kept() -> None:
    given = torchmetrics.MeanSquaredError()
    given.name = "squares"
    assert resolve_metric(given, (4,), (4,)).name == "squares"


def test_one_metric_has_one_wrapper() -> None:
    given = torchmetrics.MeanSquaredError()
    first = resolve_metric(given, (4,), (4,))
    assert resolve_metric(given, (4,), (4,)) is first
    assert resolve_metric(torchmetrics.MeanSquaredError(), (4,), (4,)) is not first
    assert resolve_metric(first, (4,), (4,)) is first


def test_a_class_of_torchmetrics() -> None:
    assert isinstance(resolve_metric(torchmetrics.MeanSquaredError, (4,), (4,)).metric, torchmetrics.MeanSquaredError)


def test_what_is_refused() -> None:
    metric = resolve_metric(torchmetrics.MeanSquaredError(), (4,), (4,))
    with pytest.raises(ValueError, match="TorchMetric 'mean_squared_error': it takes no sample_weight"):
        metric.update_state(torch.zeros(4), torch.zeros(4), sample_weight=weight((4,)))
    with pytest.raises(ValueError, match=r"mean_squared_error': mask has shape \(3,\)"):
        metric.update_state(torch.zeros(4), torch.zeros(4), mask=torch.ones(3))
    with pytest.raises(ValueError, match=r"y_true has shape \(3,\) and y_pred \(4,\); under a mask of shape \(4,\)"):
        metric.update_state(torch.zeros(3), torch.zeros(4), mask=torch.ones(4))
    with pytest.raises(TypeError, match="have no config"):
        metrics.serialize(metric)
    for given in (torchmetrics.MeanMetric(), torchmetrics.SumMetric(), torchmetrics.retrieval.RetrievalMAP()):
        with pytest.raises(TypeError, match=rf"{type(given).__name__} is a metric of torchmetrics that takes \("):
            resolve_metric(given, (4,), (4,))
    collection = torchmetrics.MetricCollection([torchmetrics.MeanSquaredError(), torchmetrics.MeanAbsoluteError()])
    with pytest.raises(TypeError, match=r"MetricCollection is many metrics in one.*list\(collection.values\(\)\)"):
        resolve_metric(collection, (4,), (4,))
    with pytest.raises(TypeError, match="expected a metric of torchmetrics, got Mean"):
        metrics.TorchMetric(metrics.Mean())


def test_results_that_are_no_single_number() -> None:
    metric = resolve_metric(torchmetrics.classification.MulticlassRecall(5, average=None), (4,), (4, 5))
    metric.update_state(whole(5, 4), uniform(4, 5))
    with pytest.raises(ValueError, match=r"multiclass_recall': compute of MulticlassRecall gave shape \(5,\)"):
        metric.result()
    metric = resolve_metric(torchmetrics.MinMaxMetric(torchmetrics.MeanSquaredError()), (4,), (4,))
    metric.update_state(uniform(4), uniform(4))
    with pytest.raises(ValueError, match="compute of MinMaxMetric gave dict"):
        metric.result()


def test_in_fit_with_a_mask() -> None:
    x = uniform(8, 4, 2)
    x[:3, 2:] = 0
    y = whole(3, 8, 4)
    model = ostinato.Sequential(
        [ostinato.layers.Masking(), ostinato.layers.LSTM(4, return_sequences=True), ostinato.layers.Dense(3, "softmax")]
    )
    given = torchmetrics.classification.MulticlassAccuracy(num_classes=3, average="micro")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy", given])
    history = model.fit(x, y, epochs=2, batch_size=3, verbose=0, validation_data=(x, y))
    logs = history.history
    assert logs["multiclass_accuracy"] == pytest.approx(logs["accuracy"])
    kept = torch.ones(8, 4, dtype=torch.bool)
    kept[:3, 2:] = False
    right = torch.as_tensor(model.predict(x, verbose=0)).argmax(-1) == y
    assert logs["val_multiclass_accuracy"][-1] == pytest.approx(right[kept].float().mean().item())
