"""Metrics of one's own, as torchmetrics, by name and from a config, and what they say of what they cannot take."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import copy
import pickle
from typing import Any

import keras
import numpy as np
import pytest
import torch
import torchmetrics

from batches import uniform, whole
from ostinato.core.registry import custom_object_scope
from ostinato.training import losses, metrics


class Largest(metrics.Metric):
    def __init__(self, start: float = 0.0, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.start = start
        self.add_state("most", torch.tensor(start), dist_reduce_fx="max")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        self.most = torch.maximum(self.most, (y_true - y_pred).abs().max())

    def result(self) -> torch.Tensor:
        return self.most

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start}


def test_a_subclass() -> None:
    metric = Largest()
    assert metric.name == "largest"
    assert metric(torch.zeros(2), torch.tensor([1.0, -3.0])).item() == 3
    assert metric(torch.zeros(2), torch.tensor([1.0, 1.0])).item() == 3
    metric.reset_states()
    assert metric.result().item() == 0
    with pytest.raises(ValueError, match="Largest"):
        metrics.deserialize(metrics.serialize(metric))
    assert metrics.deserialize(metrics.serialize(Largest(2.0)), {"Largest": Largest}).start == 2.0
    with custom_object_scope({"Largest": Largest}):
        assert isinstance(metrics.get("Largest"), Largest)


def test_it_is_a_metric_of_torchmetrics() -> None:
    metric = metrics.SparseCategoricalAccuracy()
    assert isinstance(metric, torchmetrics.Metric)
    metric.update(whole(5, 8), uniform(8, 5))
    value = metric.compute()
    torch.testing.assert_close(value, metric.result())
    metric.update(whole(5, 8), uniform(8, 5, seed=7))
    torch.testing.assert_close(metric.compute(), metric.result())
    metric.reset()
    assert metric.result().item() == 0


def test_states_of_several_processes_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_two(tensor: torch.Tensor, group: Any = None) -> list[torch.Tensor]:
        return [tensor, tensor + 10]  # the other process has a total and a count that are larger by 10

    metric = metrics.Mean()
    metric.update_state([1.0, 2.0])
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    metric.distributed_available_fn, metric.dist_sync_fn = (lambda: True), of_two
    assert metric.result().item() == pytest.approx((3 + 13) / (2 + 12))
    assert metric.compute().item() == pytest.approx((3 + 13) / (2 + 12))
    assert (metric.total.item(), metric.count.item()) == (3, 2)


def test_comparison_is_by_identity() -> None:
    first, second = metrics.Mean(), metrics.Mean()
    assert first == first and first != second
    assert first not in ("accuracy", second)
    assert len({first, second}) == 2


def test_copies_and_pickles_go_on_by_themselves() -> None:
    metric = metrics.BinaryAccuracy(threshold=0.3)
    metric.update_state([1, 0], [0.4, 0.4])
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        other.update_state([1, 1], [0.4, 0.4])
        assert other.result().item() == 0.75
    assert metric.result().item() == 0.5


def test_inference_mode_leaves_nothing_that_cannot_be_changed_outside_it() -> None:
    with torch.inference_mode():
        metric = metrics.Mean()
        metric.update_state(torch.ones(3))
        metric.reset_state()
        metric.update_state(torch.ones(3))
    metric.update_state(torch.full((3,), 3.0))
    assert metric.result().item() == 2
    metric.reset_state()
    metric.update_state(5.0)
    assert metric.result().item() == 5


def test_the_result_is_not_changed_by_what_comes_later() -> None:
    metric = metrics.Mean()
    metric.update_state([1.0])
    first = metric.result()
    metric.update_state([3.0])
    assert (first.item(), metric.result().item()) == (1, 2)


def test_states_in_another_dtype() -> None:
    metric = metrics.Mean(dtype="float64")
    metric.update_state(torch.tensor([1 / 3], dtype=torch.float64))
    assert metric.result().item() == 1 / 3
    assert metric.get_config() == {"name": "mean", "dtype": "float64"}


@pytest.mark.parametrize(
    "metric",
    [
        metrics.Mean("average", "float64"),
        metrics.Accuracy("hits"),
        metrics.BinaryAccuracy("hits", threshold=0.3),
        metrics.CategoricalAccuracy(),
        metrics.SparseCategoricalAccuracy(),
        metrics.MeanSquaredError(),
        metrics.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics.CategoricalCrossentropy(axis=1),
        metrics.SparseCategoricalCrossentropy(from_logits=True),
        metrics.MeanMetricWrapper(losses.binary_crossentropy, "own", from_logits=True),
        metrics.MeanMetricWrapper(metrics.binary_accuracy, threshold=0.2),
        metrics.MeanMetricWrapper(losses.CategoricalCrossentropy(label_smoothing=0.2)),
    ],
    ids=lambda metric: f"{type(metric).__name__}-{metric.name}",
)
def test_a_config_makes_the_same_metric(metric: Any) -> None:
    again = metrics.deserialize(metrics.serialize(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    assert metrics.get(metrics.serialize(metric)).name == metric.name
    if type(metric) is not metrics.Mean:
        for each in (metric, again):
            each.reset_state()
            shape = (6,) if "Sparse" in type(metric).__name__ else (6, 5)
            each.update_state(whole(2, *shape), uniform(6, 5))
        assert again.result() == metric.result()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Mean", {}),
        ("Accuracy", {}),
        ("BinaryAccuracy", {"threshold": 0.3}),
        ("CategoricalAccuracy", {"name": "mine"}),
        ("SparseCategoricalAccuracy", {"dtype": "float64"}),
        ("MeanSquaredError", {}),
        ("BinaryCrossentropy", {"label_smoothing": 0.1}),
        ("CategoricalCrossentropy", {"from_logits": True}),
        ("SparseCategoricalCrossentropy", {"ignore_class": 3}),
    ],
)
def test_configs_that_keras_writes_are_read(name: str, options: dict[str, Any]) -> None:
    theirs = getattr(keras.metrics, name)(**options)
    read = metrics.deserialize(keras.metrics.serialize(theirs))
    assert type(read) is getattr(metrics, name)
    assert read.get_config() == theirs.get_config()


@pytest.mark.parametrize(
    "name",
    [
        "mse", "MSE", "mean_squared_error", "MeanSquaredError", "bce", "BCE", "binary_crossentropy", "accuracy",
        "Accuracy", "binary_accuracy", "BinaryAccuracy", "categorical_accuracy", "sparse_categorical_accuracy", "mean",
        "categorical_crossentropy", "sparse_categorical_crossentropy", "SparseCategoricalCrossentropy",
        "MeanMetricWrapper",
    ],
)  # fmt: skip
def test_names_are_those_of_keras(name: str) -> None:
    if name == "MeanMetricWrapper":
        with pytest.raises(TypeError):
            metrics.get(name)
        return
    assert type(metrics.get(name)).__name__ == type(keras.metrics.get(name)).__name__
    assert metrics.get(name).name == keras.metrics.get(name).name


def test_get() -> None:
    assert metrics.get(None) is None
    metric = metrics.Mean()
    assert metrics.get(metric) is metric
    assert isinstance(metrics.get(metrics.Accuracy), metrics.Accuracy)
    assert metrics.get(len) is len


SHAPES = [
    ((8,), (8, 1)),
    ((8, 1), (8, 1)),
    ((8,), (8, 5)),
    ((8, 1), (8, 5)),
    ((8, 5), (8, 5)),
    ((8, 3), (8, 3, 5)),
    ((8, 3), (8, 3, 1)),
]


@pytest.mark.parametrize(("true", "pred"), SHAPES)
@pytest.mark.parametrize("name", ["accuracy", "acc", "Accuracy", "mse", "BCE"])
def test_resolve_goes_by_the_shapes_as_keras_does(name: str, true: tuple[int, ...], pred: tuple[int, ...]) -> None:
    theirs = keras.src.trainers.compile_utils.get_metric(name, np.zeros(true), np.zeros(pred))
    ours = metrics.named.resolve_metric(name, true, pred)
    assert (type(ours).__name__, ours.name) == (type(theirs).__name__, theirs.name)
    if "acc" in name.lower():
        assert type(metrics.named.resolve_accuracy(true, pred, name)) is type(ours)


@pytest.mark.parametrize(("true", "pred"), SHAPES)
def test_resolve_a_crossentropy(true: tuple[int, ...], pred: tuple[int, ...]) -> None:
    theirs = keras.src.trainers.compile_utils.get_loss("crossentropy", np.zeros(true), np.zeros(pred))
    for name in ("crossentropy", "ce"):
        ours = metrics.named.resolve_accuracy(true, pred, name)
        assert (ours._fn.__name__, ours.name) == (theirs.fn.__name__, name)


def test_resolve_objects() -> None:
    metric = metrics.Mean("own")
    assert metrics.named.resolve_metric(metric, (8,), (8,)) is metric and metric.name == "own"
    assert metrics.named.resolve_metric(losses.MeanSquaredError(name="squares"), (8,), (8,)).name == "squares"
    assert metrics.named.resolve_metric(losses.mean_squared_error, (8,), (8,)).name == "mean_squared_error"


def test_which_way_is_better() -> None:
    assert metrics.SparseCategoricalAccuracy().higher_is_better is True
    assert metrics.MeanSquaredError().higher_is_better is False
    assert metrics.Mean().higher_is_better is None


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"metric 'binary_acuracy' is not known. Did you mean 'binary_accuracy'\?"):
        metrics.get("binary_acuracy")
    with pytest.raises(ValueError, match="metrics: expected a name"):
        metrics.get(3)
    with pytest.raises(ValueError, match=r"'accurracy' is not one of .* Did you mean 'accuracy'\?"):
        metrics.named.resolve_accuracy((8,), (8, 5), "accurracy")
    with pytest.raises(ValueError, match="got None"):
        metrics.named.resolve_metric(None, (8,), (8,))
    with pytest.raises(ValueError, match="floating dtype"):
        metrics.Mean(dtype="int64")
    with pytest.raises(TypeError, match="fn must be a function"):
        metrics.MeanMetricWrapper(3)
    with pytest.raises(ValueError, match="loss 'mze' is not known"):
        metrics.MeanMetricWrapper("mze")


@pytest.mark.parametrize(
    ("metric", "true", "pred", "message"),
    [
        (metrics.Accuracy(), (4,), (5,), r"accuracy: y_true has shape \(4,\) and y_pred \(5,\)"),
        (metrics.BinaryAccuracy(), (4,), (4, 3), r"binary_accuracy: y_true has shape \(4,\) and y_pred \(4, 3\)"),
        (metrics.CategoricalAccuracy(), (4,), (4, 3), r"categorical_accuracy: y_true has shape \(4,\)"),
        (metrics.CategoricalAccuracy(), (), (), "y_pred is a scalar"),
        (metrics.SparseCategoricalAccuracy(), (4, 3), (4, 3), "one-hot labels there is categorical_accuracy"),
        (metrics.SparseCategoricalAccuracy(), (3,), (4, 3), r"y_true must have shape \(4,\)"),
        (metrics.MeanSquaredError(), (4, 1), (4, 3), r"y_true has shape \(4, 1\) and y_pred \(4, 3\)"),
        (metrics.SparseCategoricalCrossentropy(), (3,), (4, 3), r"y_true must have shape \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit(metric: Any, true: tuple[int, ...], pred: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric.update_state(torch.zeros(true), torch.zeros(pred))


@pytest.mark.parametrize("option", ["sample_weight", "mask"])
@pytest.mark.parametrize("shape", [(3,), (4, 5), (4, 3, 2)])
def test_weights_and_masks_that_do_not_fit(option: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=rf"SparseCategoricalAccuracy 'acc': {option} has shape \({shape[0]},.*\(4, 3\)"
    ):
        metrics.SparseCategoricalAccuracy("acc").update_state(
            whole(2, 4, 3), uniform(4, 3, 2), **{option: torch.ones(shape)}
        )


def test_labels_out_of_range() -> None:
    with pytest.raises(ValueError, match="labels must be from 0 to 2; got labels from 0 to 3"):
        metrics.SparseCategoricalCrossentropy().update_state([0, 3], uniform(2, 3))


def test_a_metric_of_torchmetrics_takes_its_arguments_the_other_way_round() -> None:
    with pytest.raises(TypeError, match=r"MeanSquaredError is a metric of torchmetrics, which takes \(preds, target\)"):
        metrics.MeanMetricWrapper(torchmetrics.MeanSquaredError())


def test_the_base_does_nothing() -> None:
    with pytest.raises(NotImplementedError, match="Metric must define update_state"):
        metrics.Metric().update_state(1, 2)
    with pytest.raises(NotImplementedError, match="Metric must define result"):
        metrics.Metric().result()
