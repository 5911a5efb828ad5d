"""Losses have the values and the gradients of real Keras."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from typing import Any

import keras
import numpy as np
import pytest
import torch

from batches import REDUCTIONS, dense, labels, predictions, some, weight, weights_and_masks
from loss_oracle import compare, in_keras
from ostinato.training import losses

SHAPES = [(1, 2), (7, 5), (64, 10), (3, 5, 4), (2, 1, 3), (2, 3, 4, 5)]
DTYPES = [torch.float32, torch.float64]


KINDS = {
    "sparse": (losses.SparseCategoricalCrossentropy, {}),
    "categorical": (losses.CategoricalCrossentropy, {"label_smoothing": 0.1}),
    "binary": (losses.BinaryCrossentropy, {"label_smoothing": 0.2}),
    "squared": (losses.MeanSquaredError, {}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_against_keras(kind: str, shape: tuple[int, ...], logits: bool, dtype: torch.dtype) -> None:
    if kind == "sparse" and len(shape) == 4 and not logits:
        shape = shape[1:]  # Keras has no gradient there; the next test is of it
    cls, options = KINDS[kind]
    options = options if kind == "squared" else {**options, "from_logits": logits}
    y_pred = predictions(shape, logits, dtype)
    y_true = labels(shape[:-1], shape[-1]) if kind == "sparse" else dense(shape)
    y_true = y_true.round() if kind == "binary" else y_true
    for reduction in REDUCTIONS:
        loss = cls(reduction=reduction, **options)
        for sample_weight, mask in weights_and_masks(shape[:-1], reduction):
            compare(loss, y_true, y_pred, sample_weight, mask)
        if kind == "sparse":
            compare(loss, y_true.unsqueeze(-1), y_pred)


def test_probabilities_of_classes_in_four_dimensions() -> None:
    y_pred, y_true = predictions((2, 3, 4, 5), False, torch.float32), labels((2, 3, 4), 5)
    loss, (flat, flat_true) = losses.SparseCategoricalCrossentropy(), (y_pred.reshape(24, 5), y_true.reshape(24))
    (expected,) = torch.autograd.grad(loss(flat_true, flat), y_pred)
    value = loss(y_true, y_pred)
    torch.testing.assert_close(value, loss(flat_true, flat))
    torch.testing.assert_close(torch.autograd.grad(value, y_pred)[0], expected)
    theirs = keras.losses.SparseCategoricalCrossentropy()(y_true, y_pred.detach())
    torch.testing.assert_close(value.detach(), theirs, rtol=1e-6, atol=1e-6)


def test_a_weighted_mean_divides_by_the_weights_that_were_used() -> None:
    y_true, y_pred, weights = dense((4, 3, 5)), torch.zeros(4, 3, 5), weight((4, 1))
    loss, each = losses.MeanSquaredError("mean_with_sample_weight"), dense((4, 3, 5)).square().mean(-1)
    expected = (each * weights).sum() / weights.expand(4, 3).sum()
    torch.testing.assert_close(loss(y_true, y_pred, weights), expected)
    torch.testing.assert_close(loss(y_true, y_pred, weights[:, 0]), expected)
    torch.testing.assert_close(loss(y_true, y_pred, 0.5), each.mean())
    mask = some((4, 3))
    torch.testing.assert_close(
        loss(y_true, y_pred, weights, mask), (each * weights)[mask].sum() / (weights * mask).sum()
    )
    assert loss(y_true, y_pred, torch.zeros(4)).item() == 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("ignored", [0, -1, 255])
def test_ignore_class(ignored: int, logits: bool, reduction: str | None) -> None:
    y_pred, y_true = predictions((6, 5, 4), logits, torch.float32), labels((6, 5), 4)
    y_true[some((6, 5), seed=9)] = ignored
    loss = losses.SparseCategoricalCrossentropy(logits, ignore_class=ignored, reduction=reduction)
    for sample_weight, mask in [
        (None, None),
        (weight((6, 5)), None),
        (None, some((6, 5))),
        (weight((6, 5)), some((6, 5))),
    ]:
        compare(loss, y_true, y_pred, sample_weight, mask)


@pytest.mark.parametrize("axis", [1, -2, 0])
@pytest.mark.parametrize("logits", [True, False])
def test_classes_along_another_axis(axis: int, logits: bool) -> None:
    y_pred = predictions((3, 5, 4), logits, torch.float32)
    rest = tuple(np.delete((3, 5, 4), axis))
    compare(losses.CategoricalCrossentropy(logits, axis=axis), dense((3, 5, 4)), y_pred)
    compare(losses.BinaryCrossentropy(logits, axis=axis), dense((3, 5, 4)), y_pred)
    function = losses.sparse_categorical_crossentropy(
        y_true := labels(rest, y_pred.shape[axis]), y_pred, logits, axis=axis
    )
    theirs = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=logits, axis=axis)
    torch.testing.assert_close(function, theirs, rtol=1e-6, atol=1e-6)
    loss = losses.SparseCategoricalCrossentropy(logits, axis=axis, reduction="none")
    torch.testing.assert_close(loss(y_true, y_pred), theirs, rtol=1e-6, atol=1e-6)
    mask = some(rest)
    values = loss(torch.where(mask, y_true, -7), y_pred, mask=mask)
    torch.testing.assert_close(values, theirs * mask, rtol=1e-6, atol=1e-6)


RANKS = [((4,), (4, 1)), ((4, 1), (4,)), ((4, 3), (4, 3, 1)), ((4, 3, 1), (4, 3)), ((4,), (4,)), ((4, 1), (4, 1))]


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none"])
@pytest.mark.parametrize(("true", "pred"), RANKS)
def test_a_last_axis_of_size_1_may_be_missing(true: tuple[int, ...], pred: tuple[int, ...], reduction: str) -> None:
    y_pred = predictions(pred, False, torch.float32)
    compare(losses.MeanSquaredError(reduction), dense(true), y_pred)
    compare(losses.BinaryCrossentropy(reduction=reduction), dense(true).round(), y_pred)
    if len(pred) > 1:
        compare(losses.BinaryCrossentropy(reduction=reduction), dense(true).round(), y_pred, weight((4,)))


@pytest.mark.parametrize(
    "kind", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.float32, float]
)
def test_labels_of_any_dtype(kind: Any) -> None:
    y_pred, y_true = predictions((8, 5), True, torch.float32), labels((8,), 5).numpy()
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = loss(torch.as_tensor(y_true), y_pred)
    torch.testing.assert_close(loss(y_true.astype(kind), y_pred), expected, rtol=0, atol=0)
    torch.testing.assert_close(loss(torch.as_tensor(y_true.astype(kind)), y_pred), expected, rtol=0, atol=0)
    torch.testing.assert_close(loss(y_true[:, None].astype(kind), y_pred), expected, rtol=0, atol=0)
    torch.testing.assert_close(loss(list(map(kind, y_true)), y_pred), expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [bool, np.int32, np.uint8, np.float64, np.float32])
def test_dense_targets_of_any_dtype(kind: Any) -> None:
    y_pred, y_true = predictions((8, 5), False, torch.float32), dense((8, 5)).round().numpy()
    for loss in (losses.MeanSquaredError(), losses.BinaryCrossentropy(), losses.CategoricalCrossentropy()):
        value = loss(y_true.astype(kind), y_pred)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, in_keras(loss, y_true, y_pred)[0], rtol=1e-6, atol=1e-6)


def test_arrays_that_cannot_be_written_and_views_that_run_backwards() -> None:
    y_pred, y_true = predictions((8, 5), False, torch.float32), dense((8, 5)).numpy()
    frozen = y_true.copy()
    frozen.flags.writeable = False
    expected = losses.MeanSquaredError()(y_true, y_pred)
    assert losses.MeanSquaredError()(frozen, y_pred) == expected
    assert losses.MeanSquaredError()(y_true[::-1].copy()[::-1], y_pred) == expected
    assert losses.MeanSquaredError()(y_true, y_pred.detach().numpy()) == expected


def test_the_result_is_float32_but_for_float64_or_where_a_dtype_was_asked_for() -> None:
    y_true = dense((4, 3))
    for given, expected in [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ]:
        assert losses.MeanSquaredError()(y_true, torch.ones(4, 3, dtype=given)).dtype == expected
        assert losses.MeanSquaredError(dtype="float64")(y_true, torch.ones(4, 3, dtype=given)).dtype == torch.float64
    assert losses.MeanSquaredError(dtype=torch.bfloat16)(y_true, torch.ones(4, 3)).dtype == torch.bfloat16
    assert losses.MeanSquaredError()(np.zeros((4, 3)), np.ones((4, 3))).dtype == torch.float32
    exact = losses.MeanSquaredError()(np.zeros((1, 1)), torch.full((1, 1), 1 / 3, dtype=torch.float64))
    assert exact.item() == (1 / 3) ** 2


@pytest.mark.parametrize("name", ["mse", "MSE", "mean_squared_error", "bce", "BCE", "binary_crossentropy"])
def test_functions_by_name_are_those_of_keras(name: str) -> None:
    y_true, y_pred = dense((6, 3)).round(), predictions((6, 3), False, torch.float32)
    ours, theirs = losses.get(name), keras.losses.get(name)
    assert ours.__name__ == theirs.__name__
    torch.testing.assert_close(ours(y_true, y_pred), theirs(y_true, y_pred), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("logits", [True, False])
def test_functions(logits: bool) -> None:
    y_pred = predictions((6, 3, 4), logits, torch.float32)
    for name, y_true, options in [
        ("categorical_crossentropy", dense((6, 3, 4)), {"label_smoothing": 0.3}),
        ("binary_crossentropy", dense((6, 3, 4)).round(), {"label_smoothing": 0.3}),
        ("sparse_categorical_crossentropy", labels((6, 3), 4), {}),
        ("sparse_categorical_crossentropy", labels((6, 3, 1), 4), {}),
        ("sparse_categorical_crossentropy", labels((6, 3), 4), {"ignore_class": 2}),
    ]:
        ours = getattr(losses, name)(y_true, y_pred, from_logits=logits, **options)
        theirs = getattr(keras.losses, name)(y_true, y_pred, from_logits=logits, **options)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_signatures_are_those_of_keras() -> None:
    for name in ("MeanSquaredError", "BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"):
        ours, theirs = getattr(losses, name)(), getattr(keras.losses, name)()
        for key, value in theirs.get_config().items():
            assert ours.get_config()[key] == value
    positional = losses.SparseCategoricalCrossentropy(True, 3, "sum")
    assert (positional.from_logits, positional.ignore_class, positional.reduction) == (True, 3, "sum")
