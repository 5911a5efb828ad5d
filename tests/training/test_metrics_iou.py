"""Intersections over unions have the values of real Keras."""

from typing import Any

import keras
import pytest
import torch

from batches import one_hot, some, uniform, whole
from ostinato.training import metrics


def labels(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return whole(5, *shape, seed=seed) - 1, whole(5, *shape, seed=seed + 9)  # some of them are no classes


def binary(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return whole(2, *shape, seed=seed), uniform(*shape, seed=seed + 9)


def wide(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return one_hot(4, *shape, seed=seed), uniform(*shape, 4, seed=seed + 9)


def half_wide(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return one_hot(4, *shape, seed=seed), whole(4, *shape, seed=seed + 9)


CASES = [
    ("IoU", {"num_classes": 4, "target_class_ids": [0, 2]}, labels),
    ("IoU", {"num_classes": 4, "target_class_ids": (3,), "ignore_class": 1, "dtype": "float32"}, labels),
    ("MeanIoU", {"num_classes": 4}, labels),
    ("MeanIoU", {"num_classes": 7, "ignore_class": -1}, labels),
    ("MeanIoU", {"num_classes": 4, "sparse_y_true": False, "sparse_y_pred": False, "ignore_class": 0}, wide),
    ("BinaryIoU", {}, binary),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}, binary),
    ("OneHotIoU", {"num_classes": 4, "target_class_ids": [0, 2]}, wide),
    ("OneHotIoU", {"num_classes": 4, "target_class_ids": [1], "sparse_y_pred": True}, half_wide),
    ("OneHotMeanIoU", {"num_classes": 4}, wide),
]


@pytest.mark.parametrize(("name", "options", "make"), CASES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_against_keras(name: str, options: dict[str, Any], make: Any, shape: tuple[int, ...]) -> None:
    ours, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    assert ours.result() == 0
    for batch, samples in enumerate([9, 9, 1]):
        y_true, y_pred = make((samples, *shape), batch)
        ours.update_state(y_true, y_pred)
        theirs.update_state(y_true, y_pred)
        torch.testing.assert_close(ours.result(), theirs.result(), rtol=1e-5, atol=1e-6)
    again = metrics.deserialize(metrics.serialize(ours))
    again.update_state(y_true, y_pred)
    ours.reset_state()
    ours.update_state(y_true, y_pred)
    assert again.result() == ours.result()


@pytest.mark.parametrize(("name", "options", "make"), CASES)
def test_what_is_masked_is_left_out(name: str, options: dict[str, Any], make: Any) -> None:
    ours, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    y_true, y_pred = make((6, 4), 0)
    for mask in (some((6, 4)), some((6,))):
        theirs.update_state(y_true[mask], y_pred[mask])
        spoiled = y_pred.double()
        spoiled[~mask] = float("nan")
        ours.update_state(y_true, spoiled, mask=mask)
    torch.testing.assert_close(ours.result(), theirs.result(), rtol=1e-5, atol=1e-6)


def test_classes_along_another_axis() -> None:
    y_true, y_pred = wide((6, 3), 0)
    first, last = metrics.OneHotMeanIoU(4, axis=1), metrics.OneHotMeanIoU(4)
    first.update_state(y_true.movedim(-1, 1), y_pred.movedim(-1, 1))
    last.update_state(y_true, y_pred)
    assert first.result() == last.result()


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="IoU: target class 4 is not one of the 4 classes"):
        metrics.IoU(4, [0, 4])
    with pytest.raises(ValueError, match="MeanIoU 'mean_io_u': it takes no sample_weight"):
        metrics.MeanIoU(4).update_state([1], [1], sample_weight=[1.0])
    with pytest.raises(ValueError, match=r"MeanIoU 'mean_io_u': y_true has shape \(3,\) and y_pred \(4,\)"):
        metrics.MeanIoU(4).update_state(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match=r"MeanIoU 'mean_io_u': mask has shape \(3,\)"):
        metrics.MeanIoU(4).update_state(torch.zeros(4), torch.zeros(4), mask=torch.ones(3))
