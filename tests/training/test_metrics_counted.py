"""Metrics made from counts have the values of real Keras, of what the mask lets count, and refuse sample weights."""

from typing import Any

import keras
import numpy as np
import pytest
import torch

from batches import some, uniform, whole
from ostinato.training import metrics

GRIDS: list[dict[str, Any]] = [
    {},
    {"thresholds": 0.3},
    {"thresholds": [0.0, 0.5, 1.0]},
    {"thresholds": [0.9, 0.1, 0.4]},
    {"thresholds": [0.0, 0.25, 0.5, 0.75, 1.0]},
]
COUNTED: list[tuple[str, dict[str, Any]]] = [
    *((name, grid) for grid in GRIDS for name in (
        "TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives", "Precision", "Recall",
    )),
    *(("AUC", {"curve": c, "summation_method": m}) for c in ("ROC", "PR", "PRGAIN") for m in
      ("interpolation", "majoring", "minoring")),
    ("AUC", {"num_thresholds": 2}),
    ("AUC", {"num_thresholds": 3, "curve": "PR"}),
    ("AUC", {"num_thresholds": 13}),
    ("AUC", {"thresholds": [0.7, 0.2, 0.35]}),
    ("AUC", {"thresholds": [0.25, 0.5, 0.75], "curve": "PR"}),
    *((name, {value: part, **grid}) for name, value in (
        ("SensitivityAtSpecificity", "specificity"),
        ("SpecificityAtSensitivity", "sensitivity"),
        ("PrecisionAtRecall", "recall"),
        ("RecallAtPrecision", "precision"),
    ) for part in (0.0, 0.4, 0.7, 1.0) for grid in ({}, {"num_thresholds": 7}, {"num_thresholds": 1}))
]  # fmt: skip
OF_CLASSES: list[tuple[str, dict[str, Any]]] = [
    *((name, options) for name in ("Precision", "Recall") for options in (
        {"top_k": 2},
        {"top_k": 2, "thresholds": 0.6},
        {"class_id": 1},
        {"class_id": 3, "top_k": 2},
        {"class_id": -1, "thresholds": [0.2, 0.6]},
    )),
    ("PrecisionAtRecall", {"recall": 0.4, "class_id": 2}),
    ("AUC", {"multi_label": True}),
    ("AUC", {"multi_label": True, "num_labels": 5, "curve": "PR"}),
    ("AUC", {"multi_label": True, "label_weights": [1.0, 0.0, 2.0, 3.0, 0.5]}),
    ("AUC", {"multi_label": True, "label_weights": [1.0, 0.0, 2.0, 3.0, 0.5], "curve": "PR"}),
    ("AUC", {"label_weights": [1.0, 0.0, 2.0, 3.0, 0.5]}),
    *((name, {"average": average, "threshold": threshold, **beta})
      for name, beta in (("F1Score", {}), ("FBetaScore", {"beta": 2.0}))
      for average in (None, "micro", "macro", "weighted") for threshold in (None, 0.4)),
]  # fmt: skip


def close(ours: Any, theirs: Any, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(ours, torch.as_tensor(theirs).detach(), rtol=tolerance, atol=tolerance)


def pair(name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    return getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)


@pytest.mark.parametrize(("name", "options"), COUNTED)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1)])
def test_against_keras(name: str, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    ours, theirs = pair(name, options)
    for batch, samples in enumerate([9, 9, 1, 4]):
        y_true, y_pred = whole(2, samples, *shape, seed=batch), uniform(samples, *shape, seed=batch + 10)
        ours.update_state(y_true, y_pred.requires_grad_())
        theirs.update_state(y_true, y_pred)
        result = ours.result()
        assert not result.requires_grad and result.dtype == torch.float32
        close(result, theirs.result())
    ours.reset_state()
    theirs.reset_state()
    close(ours.result(), theirs.result())


@pytest.mark.parametrize(("name", "options"), OF_CLASSES)
def test_of_classes_against_keras(name: str, options: dict[str, Any]) -> None:
    ours, theirs = pair(name, options)
    for batch, samples in enumerate([9, 9, 1, 4]):
        y_true, y_pred = whole(2, samples, 5, seed=batch), uniform(samples, 5, seed=batch + 10)
        ours.update_state(y_true.numpy(), y_pred.numpy())
        theirs.update_state(y_true, y_pred)
        close(ours.result(), theirs.result())


@pytest.mark.parametrize(("name", "options"), COUNTED + OF_CLASSES)
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -7.0])
def test_what_is_masked_is_left_out(name: str, options: dict[str, Any], garbage: float) -> None:
    ours, theirs = pair(name, options)
    for batch, samples in enumerate([6, 3]):
        y_true, y_pred = whole(2, samples, 4, 5, seed=batch).float(), uniform(samples, 4, 5, seed=batch + 10)
        mask = some((samples, 4), seed=batch)
        theirs.update_state(y_true[mask], y_pred[mask])
        y_true[~mask], y_pred[~mask] = garbage, garbage
        ours.update_state(y_true, y_pred, mask=mask)
    close(ours.result(), theirs.result())
    before = ours.result()
    ours.update_state(y_true, y_pred, mask=torch.zeros(3, 4, dtype=torch.bool))
    torch.testing.assert_close(ours.result(), before, rtol=0, atol=0)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_mask_for_each_sample_or_each_step_of_one_number(rank: int) -> None:
    shape, mask = (6, 4)[:rank], some((6, 4)[:rank])
    y_true, y_pred = whole(2, *shape), uniform(*shape, seed=5)
    expected = metrics.Precision()
    expected.update_state(y_true[mask], y_pred[mask])
    for true, pred in ((y_true, y_pred), (y_true, y_pred[..., None]), (y_true[..., None], y_pred[..., None])):
        for kept in (mask, mask.numpy(), mask[..., None]):
            metric = metrics.Precision()
            metric.update_state(true, pred, mask=kept)
            assert metric.result() == expected.result()


@pytest.mark.parametrize("steps", [2, 10, 199, 200])
def test_predictions_right_on_a_threshold(steps: int) -> None:
    y_pred = torch.arange(steps + 1) / steps
    y_true = whole(2, steps + 1)
    for options in ({}, {"num_thresholds": steps + 1}, {"num_thresholds": 11, "curve": "PR"}):
        ours, theirs = pair("AUC", options)
        ours.update_state(y_true, y_pred)
        theirs.update_state(y_true, y_pred)
        close(ours.result(), theirs.result())
    for thresholds in ([0.0, 0.5, 1.0], [0.1, 0.5, 0.7], list(np.linspace(0, 1, 11))):
        ours, theirs = pair("TruePositives", {"thresholds": thresholds})
        ours.update_state(y_true, y_pred)
        theirs.update_state(y_true, y_pred)
        close(ours.result(), theirs.result())


@pytest.mark.parametrize("options", [{}, {"thresholds": [0.3, 0.6]}])
def test_predictions_that_are_no_probabilities(options: dict[str, Any]) -> None:
    y_true, y_pred = whole(2, 50), 4 * uniform(50) - 2
    for name in ("AUC", "Recall"):
        ours, theirs = pair(name, options)
        ours.update_state(y_true, y_pred)
        theirs.update_state(y_true, y_pred)
        close(ours.result(), theirs.result())
    ours, theirs = pair("AUC", {"from_logits": True, **options})
    ours.update_state(y_true, y_pred)
    theirs.update_state(y_true, y_pred)
    close(ours.result(), theirs.result())


def test_nan_is_never_above_a_threshold() -> None:
    for options in ({}, {"thresholds": [0.0, 0.5, 1.0]}, {"top_k": 1}):
        metric = metrics.Precision(**options)
        metric.update_state([[1.0, 1.0]], [[float("nan"), float("nan")]])
        assert not metric.result().any()


def test_counts_are_whole_however_many() -> None:
    metric = metrics.TruePositives(dtype="float64")
    metric.update_state(torch.ones(3), torch.ones(3))
    metric.between = metric.between * 2**25
    metric.update_state(torch.ones(1), torch.ones(1))
    assert metric.result().item() == 3 * 2**25 + 1


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_dtypes(dtype: str) -> None:
    y_true, y_pred = whole(2, 50), uniform(50).double()
    for name in ("AUC", "Precision"):
        metric = getattr(metrics, name)(dtype=dtype)
        metric.update_state(y_true, y_pred)
        expected = getattr(metrics, name)()
        expected.update_state(y_true.bool(), y_pred)
        torch.testing.assert_close(metric.result().float(), expected.result())
        assert metric.get_config()["dtype"] == dtype


@pytest.mark.parametrize(
    ("options", "y_true", "y_pred"),
    [
        ({"threshold": 0.5}, [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]], [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6]]),
        ({}, [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.6, 0.6, 0.2]]),
        ({"average": "macro"}, [[0.0, 0.0]], [[0.1, 0.9]]),
    ],
)
def test_f_scores_of_special_targets(options: dict[str, Any], y_true: Any, y_pred: Any) -> None:
    ours, theirs = pair("F1Score", options)
    ours.update_state(y_true, y_pred)
    theirs.update_state(np.array(y_true), np.array(y_pred))
    close(ours.result(), theirs.result())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_aggregation": None},
        {"class_aggregation": "variance_weighted_average"},
        {"num_regressors": 2},
        {"num_regressors": 2, "class_aggregation": None},
    ],
)
@pytest.mark.parametrize("shape", [(1,), (3,)])
def test_r2_against_keras(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    ours, theirs = pair("R2Score", options)
    masked = metrics.R2Score(**options)
    for batch, samples in enumerate([9, 9, 1, 4]):
        y_true, y_pred = uniform(samples, *shape, seed=batch), uniform(samples, *shape, seed=batch + 10)
        mask = torch.cat((torch.ones(samples), torch.zeros(3))).bool()
        ours.update_state(y_true[:, 0] if shape == (1,) else y_true, y_pred)
        theirs.update_state(y_true, y_pred)
        padding = torch.full((3, *shape), float("nan"))
        masked.update_state(torch.cat((y_true, padding)), torch.cat((y_pred, padding)), mask=mask)
    close(ours.result(), theirs.result(), 1e-5)
    torch.testing.assert_close(masked.result(), ours.result())


def test_r2_of_more_regressors_than_values_says_that_it_is_the_plain_one() -> None:
    plain, metric = metrics.R2Score(), metrics.R2Score(num_regressors=5)
    for each in (plain, metric):
        each.update_state([[1.0], [2.0], [4.0]], [[1.0], [2.0], [3.0]])
    with pytest.warns(UserWarning, match="5 regressors for 3 values"):
        assert metric.result() == plain.result()


REFUSING = [
    metrics.AUC(), metrics.Precision(), metrics.Recall(), metrics.TruePositives(), metrics.TrueNegatives(),
    metrics.FalsePositives(), metrics.FalseNegatives(), metrics.F1Score(), metrics.FBetaScore(), metrics.R2Score(),
    metrics.PrecisionAtRecall(0.5), metrics.RecallAtPrecision(0.5), metrics.SensitivityAtSpecificity(0.5),
    metrics.SpecificityAtSensitivity(0.5),
]  # fmt: skip


@pytest.mark.parametrize("metric", REFUSING, ids=lambda each: each.name)
def test_sample_weights_are_refused_by_name(metric: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"{type(metric).__name__} '{metric.name}': it takes no sample_weight.*metrics"
    ):
        metric.update_state(torch.ones(3, 2), torch.ones(3, 2), sample_weight=torch.ones(3))


@pytest.mark.parametrize("metric", REFUSING, ids=lambda each: each.name)
def test_no_samples(metric: Any) -> None:
    metric = type(metric).from_config(metric.get_config())
    metric.update_state(torch.zeros(0, 2), torch.zeros(0, 2))
    metric.update_state(torch.zeros(0, 2), torch.zeros(0, 2), mask=torch.zeros(0, dtype=torch.bool))
    if not isinstance(metric, metrics.R2Score):  # the mean of nothing is not a number, as in Keras
        assert not metric.result().any()
    metric.update_state(torch.eye(2), torch.eye(2))
    assert metric.result().isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.Precision(thresholds=1.5), r"Precision: thresholds must be .* in \[0, 1\], got 1.5"),
        (lambda: metrics.Recall(thresholds=[0.5, -0.1]), "Recall: thresholds must be"),
        (lambda: metrics.TruePositives(thresholds=[0.5, None]), "TruePositives: thresholds must be"),
        (lambda: metrics.TruePositives(thresholds=[]), "TruePositives: thresholds must be"),
        (lambda: metrics.AUC(curve="ROK"), r"curve 'ROK' is not one of .* Did you mean 'ROC'\?"),
        (lambda: metrics.AUC(summation_method="minor"), r"summation_method 'minor' .* Did you mean 'minoring'\?"),
        (lambda: metrics.AUC(num_thresholds=1), "num_thresholds must be 2 or more, got 1"),
        (lambda: metrics.AUC(thresholds=[0.5, 2]), "thresholds must be in"),
        (lambda: metrics.AUC(num_labels=3), "num_labels is of use only with multi_label=True"),
        (lambda: metrics.AUC(multi_label=True, num_labels=3, label_weights=[1, 2]), "2 label_weights for num_labels=3"),
        (lambda: metrics.F1Score(average="makro"), r"average 'makro' .* Did you mean 'macro'\?"),
        (lambda: metrics.FBetaScore(beta=1), "beta must be a float above 0, got 1"),
        (lambda: metrics.FBetaScore(beta=-1.0), "beta must be a float above 0"),
        (lambda: metrics.F1Score(threshold=1), "threshold must be a float"),
        (lambda: metrics.F1Score(threshold=0.0), "threshold must be a float, above 0"),
        (lambda: metrics.R2Score("mean"), "class_aggregation 'mean' is not one of"),
        (lambda: metrics.R2Score(num_regressors=-1), "num_regressors must be 0 or more"),
        (lambda: metrics.PrecisionAtRecall(1.2), r"PrecisionAtRecall: recall must be in \[0, 1\], got 1.2"),
        (lambda: metrics.SensitivityAtSpecificity(0.5, num_thresholds=0), "num_thresholds must be 1 or more, got 0"),
    ],
)
def test_options_that_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("metric", "true", "pred", "message"),
    [
        (metrics.Precision(), (4,), (4, 3), r"Precision 'precision': y_true has shape \(4,\) and y_pred \(4, 3\)"),
        (metrics.Precision(), (), (), "y_true has shape"),
        (metrics.AUC(), (4, 2), (4, 3), r"AUC 'auc': y_true has shape \(4, 2\) and y_pred \(4, 3\)"),
        (metrics.AUC(multi_label=True), (4,), (4,), r"must be the same, \(batch, features\)"),
        (
            metrics.AUC(multi_label=True, num_labels=2),
            (4, 3),
            (4, 3),
            "y_pred has 3 labels on its last axis, expected 2",
        ),
        (metrics.AUC(label_weights=[1, 2]), (4, 3), (4, 3), "y_pred has 3 labels on its last axis, expected 2"),
        (metrics.F1Score(), (4,), (4,), r"F1Score 'f1_score': y_true has shape \(4,\)"),
        (metrics.F1Score(), (4, 2), (4, 3), r"F1Score 'f1_score': y_true has shape \(4, 2\)"),
        (metrics.R2Score(), (4, 2), (4, 3), r"R2Score 'r2_score': y_true has shape \(4, 2\)"),
        (metrics.Recall(class_id=3), (4, 3), (4, 3), r"class_id is 3, and y_pred has shape \(4, 3\)"),
        (metrics.Recall(class_id=0), (4,), (4,), r"class_id is 0, and y_pred has shape \(4,\)"),
        (metrics.Recall(top_k=4), (4, 3), (4, 3), r"top_k is 4, .* from 1 to the number of classes, 3"),
    ],
)
def test_shapes_that_do_not_fit(metric: Any, true: tuple[int, ...], pred: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric.update_state(torch.zeros(true), torch.zeros(pred))


@pytest.mark.parametrize("metric", [metrics.F1Score(), metrics.R2Score(), metrics.AUC(multi_label=True)])
def test_another_number_of_classes_later(metric: Any) -> None:
    metric.update_state(torch.zeros(4, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"y_pred has 2 .* 3"):
        metric.update_state(torch.zeros(4, 2), torch.zeros(4, 2))


@pytest.mark.parametrize("metric", [metrics.Precision(), metrics.AUC(), metrics.F1Score(), metrics.R2Score()])
@pytest.mark.parametrize("shape", [(3,), (4, 5), (4, 3, 2, 2)])
def test_masks_that_do_not_fit(metric: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"{metric.name}': mask has shape \({shape[0]},"):
        metric.update_state(torch.zeros(4, 3, 2), torch.zeros(4, 3, 2), mask=torch.ones(shape))
