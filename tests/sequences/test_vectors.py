"""`to_categorical` and `normalize` beside Keras's."""

import keras
import numpy as np
import pytest
import torch

import ostinato

to_categorical, normalize = ostinato.utils.to_categorical, ostinato.utils.normalize


@pytest.mark.parametrize("shape", [(), (1,), (5,), (5, 1), (2, 3), (2, 3, 1), (0,), (0, 1)])
@pytest.mark.parametrize("classes", [4, 7])
def test_to_categorical_is_that_of_keras(shape, classes):
    labels = np.random.default_rng(0).integers(0, 4, shape)
    for given in (labels, labels.astype("uint8"), labels.astype("float32"), labels.tolist()):
        found, right = to_categorical(given, classes), keras.utils.to_categorical(given, classes)
        assert found.dtype == right.dtype
        np.testing.assert_array_equal(found, right)
    tensor = torch.as_tensor(labels)
    found, right = to_categorical(tensor, classes), keras.utils.to_categorical(tensor, classes)
    assert found.dtype is torch.float32 and torch.equal(found, right.float())  # Keras's are int64 on torch alone
    if labels.size:
        np.testing.assert_array_equal(to_categorical(labels), keras.utils.to_categorical(labels))


@pytest.mark.parametrize(
    ("labels", "classes", "told"),
    [
        ([0, 3], 3, "labels must be from 0 to 2, got 0 to 3"),
        ([-1, 1], 3, "labels must be from 0 to 2, got -1 to 1"),
        ([0.5], 3, "labels must be whole numbers"),
        ([float("nan")], 3, "labels must be whole numbers"),
        ([0], 0, "`num_classes` must be a positive"),
    ],
)
def test_to_categorical_refuses(labels, classes, told):
    with pytest.raises(ValueError, match=told):
        to_categorical(labels, classes)


@pytest.mark.parametrize("order", [1, 2, 3, np.inf])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_normalize_is_that_of_keras(order, axis, dtype):
    values = (np.random.default_rng(0).normal(size=(4, 3)) * 5).astype(dtype)
    values[2] = 0
    found, right = normalize(values, axis, order), keras.utils.normalize(values, axis, order)
    assert found.dtype == right.dtype
    np.testing.assert_allclose(found, right, rtol=1e-6)
    if dtype != "int64":
        tensor = torch.as_tensor(values)
        np.testing.assert_allclose(normalize(tensor, axis, order).numpy(), found, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, -2])
def test_normalize_along_the_first_axis(axis):
    """Where Keras's fails on arrays."""
    values = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_allclose(normalize(values, axis), values / np.linalg.norm(values, axis=0), rtol=1e-12)
