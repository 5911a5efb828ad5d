"""Names and configs of all metrics are those of real Keras."""

import inspect
from typing import Any

import keras
import pytest
from keras.src.metrics import ALL_OBJECTS_DICT

from batches import uniform, whole
from ostinato.training import metrics

REQUIRED: dict[str, dict[str, Any]] = {
    "MeanMetricWrapper": {"fn": metrics.binary_accuracy},
    "SensitivityAtSpecificity": {"specificity": 0.4},
    "SpecificityAtSensitivity": {"sensitivity": 0.4},
    "PrecisionAtRecall": {"recall": 0.4},
    "RecallAtPrecision": {"precision": 0.4},
    "IoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "MeanIoU": {"num_classes": 3},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "OneHotMeanIoU": {"num_classes": 3},
}
ALL = sorted({cls.__name__ for cls in ALL_OBJECTS_DICT.values()} - {"Metric"})


@pytest.mark.parametrize("alias", sorted(set(ALL_OBJECTS_DICT) - {"Metric", "metric"}))
def test_every_name_that_keras_knows(alias: str) -> None:
    cls = ALL_OBJECTS_DICT[alias]
    if cls.__name__ in REQUIRED:
        with pytest.raises(TypeError):
            metrics.get(alias)
        return
    ours, theirs = metrics.get(alias), keras.metrics.get(alias)
    assert type(ours) is getattr(metrics, cls.__name__)
    assert ours.name == theirs.name.rstrip("0123456789").rstrip("_") or ours.name == theirs.name
    assert metrics.named.resolve_metric(alias, (4, 1), (4, 1)).name == alias or alias.lower() == "accuracy"


@pytest.mark.parametrize("name", ALL)
def test_arguments_and_defaults(name: str) -> None:
    ours = inspect.signature(getattr(metrics, name)).parameters
    theirs = inspect.signature(getattr(keras.metrics, name)).parameters
    assert [(key, each.default) for key, each in ours.items()] == [(key, each.default) for key, each in theirs.items()]


@pytest.mark.parametrize("name", sorted(set(ALL) - {"MeanMetricWrapper"}))
@pytest.mark.parametrize("more", [{}, {"name": "own", "dtype": "float64"}])
def test_configs(name: str, more: dict[str, Any]) -> None:
    options = {**REQUIRED.get(name, {}), **more}
    ours, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    expected = dict(theirs.get_config())
    if name == "CosineSimilarity":
        expected["axis"] = -1  # which Keras forgets
    if "name" not in more:
        expected["name"] = ours.name  # Keras numbers its own
    assert ours.get_config() == expected
    for config in (metrics.serialize(ours), keras.metrics.serialize(theirs)):
        again = metrics.deserialize(config)
        assert type(again) is type(ours)
        assert {**again.get_config(), "name": ""} == {**ours.get_config(), "name": ""}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("AUC", {"thresholds": [0.6, 0.2], "curve": "pr", "summation_method": "minoring", "from_logits": True}),
        ("AUC", {"multi_label": True, "num_labels": 5, "label_weights": [1, 2, 3, 4, 5]}),
        ("AUC", {"num_thresholds": 20, "curve": "PRGAIN"}),
        ("Precision", {"thresholds": [0.2, 0.7], "top_k": 2}),
        ("Recall", {"class_id": 1}),
        ("TruePositives", {"thresholds": 0.3}),
        ("F1Score", {"average": "weighted", "threshold": 0.4}),
        ("FBetaScore", {"average": "micro", "beta": 0.5}),
        ("R2Score", {"class_aggregation": None, "num_regressors": 1}),
        ("PrecisionAtRecall", {"recall": 0.3, "num_thresholds": 9, "class_id": 2}),
        ("TopKCategoricalAccuracy", {"k": 2}),
        ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}),
        ("CosineSimilarity", {"axis": 0}),
        ("PearsonCorrelation", {"axis": 0}),
    ],
)
def test_options_come_back(name: str, options: dict[str, Any]) -> None:
    ours = getattr(metrics, name)(**options)
    theirs = metrics.deserialize(keras.metrics.serialize(getattr(keras.metrics, name)(**options)))
    again = metrics.deserialize(metrics.serialize(ours))
    assert again.get_config() == ours.get_config()
    y_true, y_pred = whole(2, 6, 5), uniform(6, 5)
    if "Sparse" in name:
        y_true, y_pred = whole(5, 6), y_pred.argsort(-1)
    for each in (ours, again, theirs):
        if each is theirs and name == "CosineSimilarity":
            continue
        each.update_state(y_true, y_pred)
        assert each.result().tolist() == ours.result().tolist()


def test_near_names() -> None:
    with pytest.raises(ValueError, match=r"metric 'precison' is not known. Did you mean 'precision'\?"):
        metrics.get("precison")
    with pytest.raises(ValueError, match=r"metric 'AUK' is not known. Did you mean 'auc'\?|Did you mean 'AUC'\?"):
        metrics.get("AUK")
