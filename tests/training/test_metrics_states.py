"""Metrics written in Keras's way, states that are assigned to, and how states move, copy and come together."""

import copy
import pickle
from typing import Any

import keras
import pytest
import torch
import torchmetrics

from batches import some, uniform, weight, whole
from ostinato.training import metrics
from ostinato.training.metrics.variables import MetricVariable


class BinaryTruePositives(metrics.Metric):
    """Of Keras's documentation, with `ops` and `keras` replaced."""

    def __init__(self, name: str = "binary_true_positives", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.true_positives = self.add_variable(shape=(), initializer="zeros", name="true_positives")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        values = torch.logical_and(y_true.bool(), y_pred.bool()).to(self.dtype)
        if sample_weight is not None:
            values = values * torch.broadcast_to(sample_weight.to(self.dtype), values.shape)
        self.true_positives.assign(self.true_positives + torch.sum(values))

    def result(self) -> torch.Tensor:
        return self.true_positives


class Average(metrics.Metric):
    """Two weights, one of them reset by hand, and a metric inside."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sum_of_all = self.add_weight(name="total", initializer="zeros")
        self.seen = self.add_weight(name="total", initializer="zeros", dtype="int64")
        self.inner = metrics.Mean()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.sum_of_all.assign_add(y_pred.sum())
        self.seen.assign_add(y_pred.numel())
        self.inner.update_state(y_true)

    def result(self) -> Any:
        return self.sum_of_all / self.seen + self.inner.result()

    def reset_state(self) -> None:
        self.sum_of_all.assign(0.0)
        self.seen.assign(0)
        self.inner.reset_state()


def test_a_metric_of_the_guide() -> None:
    metric = BinaryTruePositives()
    for seed in (0, 1):
        metric.update_state(whole(2, 20, seed=seed), whole(2, 20, seed=seed + 5).requires_grad_(False))
    expected = sum(int((whole(2, 20, seed=s) * whole(2, 20, seed=s + 5)).sum()) for s in (0, 1))
    assert float(metric.result()) == expected and not metric.result().requires_grad
    assert metric.compute().item() == expected
    assert [each.name for each in metric.variables] == ["true_positives"]
    metric.reset_state()
    assert float(metric.result()) == 0
    assert float(metric(torch.ones(3), torch.ones(3), torch.tensor([1.0, 2.0, 3.0]))) == 6
    assert metric.get_config() == {"name": "binary_true_positives", "dtype": "float32"}


def test_predictions_with_gradients_leave_no_graph_behind() -> None:
    metric = Average()
    metric.update_state(torch.ones(3), torch.ones(3, requires_grad=True) * 2)
    assert not metric.result().requires_grad
    metric.update_state(torch.ones(3), torch.ones(3, requires_grad=True) * 4)
    assert float(metric.result()) == 4
    metric.reset_state()
    metric.update_state(torch.ones(3), torch.ones(3))
    assert float(metric.result()) == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each)), lambda m: m.clone()])
def test_copies_have_variables_of_their_own(copied: Any) -> None:
    metric = Average()
    metric.update_state(torch.ones(2), torch.full((2,), 3.0))
    other = copied(metric)
    assert isinstance(other.seen, MetricVariable) and other.seen.dtype is torch.int64
    other.update_state(torch.ones(2), torch.full((2,), 5.0))
    assert (float(metric.result()), float(other.result())) == (4, 5)
    other.reset_state()
    assert (float(metric.seen), float(other.seen)) == (2, 0)


def test_a_variable() -> None:
    metric = metrics.Metric()
    ones = metric.add_variable((2,), "ones", name="ones")
    drawn = metric.add_variable(shape=(3,), initializer=lambda shape, dtype: torch.full(shape, 0.5, dtype=dtype))
    assert ones.tolist() == [1, 1] and drawn.tolist() == [0.5] * 3
    assert ones.assign([2, 3]) is ones and ones.tolist() == [2, 3]
    assert ones.assign_sub(torch.tensor([1.0, 1.0], dtype=torch.float64)).value.tolist() == [1, 2]
    assert type(ones + 1) is torch.Tensor and type(torch.sum(ones)) is torch.Tensor and type(ones.value) is torch.Tensor
    metric.reset_state()  # Keras knows no other first value after a reset than 0
    assert ones.tolist() == [0, 0] and drawn.tolist() == [0, 0, 0]
    with pytest.raises(
        ValueError, match=r"variable 'ones': it has shape \(2,\), and the value to assign has shape \(\)"
    ):
        ones.assign(1.0)
    with pytest.raises(ValueError, match="aggregation 'summ' is not one of"):
        metric.add_variable((), aggregation="summ")
    with pytest.raises(ValueError, match="is not known"):
        metric.add_weight(initializer="zeroes")


def test_a_variable_before_the_constructor() -> None:
    class Early(metrics.Metric):
        def __init__(self) -> None:
            self.add_variable(())

    with pytest.raises(RuntimeError, match=r"Early: call super\(\).__init__\(\)"):
        Early()


def test_variables_move_with_their_metric() -> None:
    metric = Average()
    total = metric.sum_of_all
    total.assign(3.0)
    metric.set_dtype(torch.float64)
    assert metric.sum_of_all is total and total.dtype is torch.float64 and metric.dtype is torch.float64
    assert total.item() == 3 and metric.variables[0] is total
    metric = BinaryTruePositives(dtype="float64")
    metric.to("cpu")
    assert metric.dtype is torch.float64
    assert metrics.AUC(dtype="float64").to("cpu").get_config()["dtype"] == "float64"
    assert metrics.AUC().to("meta").between.device.type == "meta"


@pytest.mark.gpu
def test_metrics_follow_predictions_to_another_device() -> None:
    made = [
        metrics.AUC(), metrics.Recall(top_k=1), metrics.F1Score(), metrics.R2Score(), metrics.RootMeanSquaredError(),
        BinaryTruePositives(), Average(), metrics.TorchMetric(torchmetrics.MeanSquaredError()),
        metrics.PrecisionAtRecall(0.3), metrics.TopKCategoricalAccuracy(k=2),
    ]  # fmt: skip
    y_true, y_pred = whole(2, 6, 5), uniform(6, 5)
    for metric in made:
        metric.update_state(y_true, y_pred)
        expected = metric.result() * 1
        metric.reset_state()
        if not isinstance(metric, Average):
            metric.update_state(y_true.cuda(), y_pred.cuda())
            assert metric.result().is_cuda
            torch.testing.assert_close(metric.result().cpu() * 1, expected)
        variables = metric.variables
        metric.to("cuda").reset_state()
        assert all(each.is_cuda for each in metric.variables)
        if isinstance(metric, (Average, BinaryTruePositives)):
            assert metric.variables[0] is variables[0]
        metric.update_state(y_true.cuda(), y_pred.cuda())
        torch.testing.assert_close(metric.result().cpu() * 1, expected)


def test_inference_mode_leaves_variables_that_can_be_changed_outside_it() -> None:
    with torch.inference_mode():
        made = [BinaryTruePositives(), metrics.Sum(), metrics.AUC(), metrics.F1Score()]
        for metric in made:
            metric.update_state(torch.eye(3), torch.eye(3)) if metric.name != "sum" else metric.update_state(1.0)
            metric.reset_state()
    for metric in made:
        metric.update_state(torch.eye(3), torch.eye(3)) if metric.name != "sum" else metric.update_state(1.0)
        metric.reset_state()
        metric.update_state(torch.eye(3), torch.eye(3)) if metric.name != "sum" else metric.update_state(1.0)
        assert torch.as_tensor(metric.result()).isfinite().all()


def test_reset_reaches_metrics_inside() -> None:
    class Both(metrics.Metric):
        def __init__(self) -> None:
            super().__init__()
            self.ours, self.foreign, self.own_way = metrics.Mean(), torchmetrics.SumMetric(), Average()

    metric = Both()
    metric.ours.update_state(3.0)
    metric.foreign.update(3.0)
    metric.own_way.update_state(torch.ones(2), torch.ones(2))
    assert len(metric.variables) == 2 + 1 + 4
    metric.reset_state()
    assert metric.ours.result() == 0 and metric.foreign.sum_value == 0 and metric.own_way.seen == 0


@pytest.mark.parametrize("aggregation", ["sum", "mean", "only_first_replica"])
def test_variables_of_several_processes(aggregation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class One(metrics.Metric):
        def __init__(self) -> None:
            super().__init__()
            self.state = self.add_variable((2,), aggregation=aggregation)

        def result(self) -> torch.Tensor:
            return self.state * 1

    metric = One()
    metric.state.assign([1.0, 2.0])
    metric.distributed_available_fn = lambda: True
    metric.dist_sync_fn = lambda tensor, group=None: [tensor, tensor + 10]
    expected = {"sum": [12.0, 14.0], "mean": [6.0, 7.0], "only_first_replica": [1.0, 2.0]}[aggregation]
    assert metric.compute().tolist() == expected
    assert metric.state.tolist() == [1, 2]


COMING_TOGETHER = [
    (metrics.Sum, None),
    (metrics.RootMeanSquaredError, None),
    (metrics.SparseTopKCategoricalAccuracy, None),
    (metrics.Precision, None),
    (lambda: metrics.Recall(thresholds=[0.2, 0.7]), None),
    (metrics.AUC, None),
    (lambda: metrics.AUC(curve="PR", multi_label=True), None),
    (lambda: metrics.F1Score(average="weighted"), None),
    (metrics.R2Score, None),
    (lambda: metrics.SensitivityAtSpecificity(0.5), None),
    (lambda: metrics.TorchMetric(torchmetrics.MeanSquaredError()), "metric"),
]


@pytest.mark.parametrize(("make", "inner"), COMING_TOGETHER)
def test_two_processes_report_what_one_would(make: Any, inner: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, first, second = make(), make(), make()

    def batch(metric: Any, seed: int) -> None:
        y_true, y_pred = whole(2, 6, 7, seed=seed), uniform(6, 7, seed=seed + 9)
        if metric.name == "sum":
            metric.update_state(y_pred)
        else:
            metric.update_state(y_true[:, 0] if "sparse" in metric.name else y_true, y_pred)

    batch(first, 0)
    batch(second, 1)
    batch(alone, 0)
    batch(alone, 1)
    holder, other = (getattr(each, inner) if inner else each for each in (first, second))
    states = iter(list(other.metric_state.values()))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    holder.distributed_available_fn = lambda: True
    holder.dist_sync_fn = lambda tensor, group=None: [tensor, next(states)]
    result = first.result()
    monkeypatch.undo()
    holder.distributed_available_fn = lambda: False
    torch.testing.assert_close(result, alone.result())
    batch(first, 1)
    torch.testing.assert_close(first.result(), alone.result())


def test_computing_is_not_cached_over_updates() -> None:
    metric = metrics.Precision()
    assert metric.compute() == 0
    metric.update_state([1.0], [1.0])
    assert metric.compute() == 1
    metric.update_state([0.0], [1.0])
    assert metric.compute() == 0.5


@pytest.mark.parametrize(
    "make",
    [metrics.Sum, metrics.AUC, metrics.Precision, metrics.F1Score, metrics.R2Score, metrics.RootMeanSquaredError,
     metrics.TopKCategoricalAccuracy, lambda: metrics.AUC(multi_label=True)],
)  # fmt: skip
def test_copies_and_pickles_go_on_by_themselves(make: Any) -> None:
    metric, y_true, y_pred = make(), whole(2, 6, 5), uniform(6, 5)
    args = (y_pred,) if metric.name == "sum" else (y_true, y_pred)
    metric.update_state(*args)
    before = metric.result().clone()
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        torch.testing.assert_close(other.result(), before, equal_nan=True)
        other.update_state(*(each[:3] for each in args))
        other.reset_state()
    torch.testing.assert_close(metric.result(), before, equal_nan=True)


def test_a_metric_written_for_keras_gives_in_both_the_same() -> None:
    class Theirs(keras.metrics.Metric):
        def __init__(self) -> None:
            super().__init__(name="theirs")
            self.seen = self.add_variable((2,), "ones", name="seen")
            self.many = self.add_weight(name="many", initializer="zeros")

        update_state = lambda self, y_true, y_pred, sample_weight=None: update(self, y_pred, sample_weight)  # noqa: E731
        result = lambda self: self.seen * self.many  # noqa: E731

    class Ours(metrics.Metric):
        def __init__(self) -> None:
            super().__init__(name="ours")
            self.seen = self.add_variable((2,), "ones", name="seen")
            self.many = self.add_weight(name="many", initializer="zeros")

        update_state = Theirs.update_state
        result = Theirs.result

    def update(metric: Any, y_pred: Any, sample_weight: Any) -> None:
        metric.seen.assign_add(y_pred.sum(0))
        metric.seen.assign(metric.seen * 2 - 1)
        metric.many.assign_sub(sample_weight.sum())

    ours, theirs = Ours(), Theirs()
    for reset in (False, True):
        for each in (ours, theirs):
            if reset:
                each.reset_state()
            each.update_state(None, uniform(4, 2), weight((4,)) * some((4,)))
            each.update_state(None, uniform(3, 2, seed=3), weight((3,)))
        torch.testing.assert_close(ours.result(), theirs.result())
