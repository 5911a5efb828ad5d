"""The embedded digits are the published ones, all of them, in a fair split."""

import hashlib
import importlib.resources
import socket

import numpy as np
import pytest

from ostinato.datasets import digits


def in_file_order() -> tuple[np.ndarray, np.ndarray]:
    """Put the two parts together again, the other way round from what the docstring says of the split."""
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    with importlib.resources.files("ostinato.datasets").joinpath("data/digits.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)["labels"].tolist()
    test = sorted(sorted(range(1797), key=lambda place: stored[place])[::5])
    train = [place for place in range(1797) if place not in test]
    images, labels = np.empty((1797, 8, 8), np.uint8), np.empty(1797, np.uint8)
    images[test], images[train], labels[test], labels[train] = x_test, x_train, y_test, y_train
    return images, labels


def test_every_sample_is_the_published_one() -> None:
    # The text of digits.csv, as scikit-learn publishes it: 64 pixels and the label to a line.
    images, labels = in_file_order()
    table = np.column_stack([images.reshape(1797, 64), labels])
    text = "".join(",".join(map(str, row)) + "\n" for row in table.tolist())
    published = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
    assert hashlib.sha256(text.encode("ascii")).hexdigest() == published


def test_shapes_and_dtypes() -> None:
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    assert (x_train.shape, y_train.shape) == ((1437, 8, 8), (1437,))
    assert (x_test.shape, y_test.shape) == ((360, 8, 8), (360,))
    assert {part.dtype for part in (x_train, y_train, x_test, y_test)} == {np.dtype(np.uint8)}
    assert (x_train.min(), x_train.max()) == (0, 16)


def test_each_class_gives_a_fifth_to_the_test_part() -> None:
    (_, y_train), (_, y_test) = digits.load_data()
    train, test = np.bincount(y_train, minlength=10), np.bincount(y_test, minlength=10)
    assert len(train) == len(test) == 10
    assert np.abs(test - (train + test) / 5).max() < 1


def test_each_call_gives_the_same_arrays_and_its_own() -> None:
    (first, _), _ = digits.load_data()
    copy = first.copy()
    first[:] = 99
    (second, _), _ = digits.load_data()
    np.testing.assert_array_equal(second, copy)


def test_no_network_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("digits.load_data() opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(digits.load_data()) == 2


def test_the_nearest_training_sample_has_the_right_label() -> None:
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    train, test = x_train.reshape(-1, 64).astype(float), x_test.reshape(-1, 64).astype(float)
    distances = (train**2).sum(1) - 2 * test @ train.T
    assert (y_train[distances.argmin(1)] == y_test).mean() > 0.97


def test_source_and_licence_stand_beside_the_file() -> None:
    text = importlib.resources.files("ostinato.datasets").joinpath("data/digits.txt").read_text("utf-8")
    for part in ("E. Alpaydin, C. Kaynak", "10.24432/C50P49", "CC BY 4.0", "What was changed"):
        assert part in text
