"""MNIST: really downloaded, from a local server that gives the embedded digits in MNIST's layout."""

import contextlib
import hashlib
import importlib.util
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from local_server import LocalServer, closed_port, failed, mnist_file, serve_mnist, short, whole
from ostinato.datasets import digits, mnist
from ostinato.datasets.sources import SOURCES, Source, cache_directory
from ostinato.errors import DownloadError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    with serve_mnist(home=tmp_path) as local:
        yield local


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def replaced(source: Source) -> Iterator[None]:
    with mock.patch.dict(SOURCES, {"mnist": source}):
        yield


def check(data: tuple[mnist.Split, mnist.Split]) -> None:
    """Check every value against the digits that the file was made of."""
    for (images, labels), (small, expected) in zip(data, digits.load_data(), strict=True):
        assert images.dtype == labels.dtype == np.uint8
        assert images.shape == (len(small), 28, 28)
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(images[:, 3:26:3, 3:26:3], np.minimum(small.astype(int) * 16, 255))


def test_the_data_come_as_in_keras_and_are_downloaded_once(server: LocalServer, tmp_path: Path) -> None:
    check(mnist.load_data())
    check(mnist.load_data())
    assert server.requests == ["/mnist.npz"]
    assert files(tmp_path) == ["datasets/mnist.npz"]


def test_the_table_names_the_file_of_keras() -> None:
    package = importlib.util.find_spec("keras")
    assert package is not None
    assert package.origin is not None
    text = (Path(package.origin).parent / "src" / "datasets" / "mnist.py").read_text("utf-8")
    folder = re.search(r'"(https://[^"]+/)"', text)
    assert folder is not None
    assert SOURCES["mnist"].url == folder.group(1) + "mnist.npz"
    assert re.findall(r'"([0-9a-f]{64})"', text) == [SOURCES["mnist"].sha256]


@pytest.mark.parametrize("damage", [mnist_file()[:-1], b"", mnist_file().replace(b"x_test", b"x_TEST")])
def test_a_damaged_file_is_fetched_again(server: LocalServer, tmp_path: Path, damage: bytes) -> None:
    assert damage != mnist_file()
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "mnist.npz").write_bytes(damage)
    check(mnist.load_data())
    assert server.requests == ["/mnist.npz"]
    assert files(tmp_path) == ["datasets/mnist.npz"]


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (failed(404), "answered 404"),
        (failed(500), "answered 500"),
        (short(mnist_file()[:-1], announced=len(mnist_file())), "announced"),
        (whole(mnist_file()[:-1]), "SHA-256"),
    ],
    ids=["404", "500", "short", "wrong digest"],
)
def test_a_failed_download_leaves_nothing_and_names_the_digits(
    server: LocalServer, tmp_path: Path, answer: object, what: str
) -> None:
    server.answers["/mnist.npz"] = answer  # type: ignore[assignment]
    with pytest.raises(DownloadError, match=rf"{what}.*ostinato\.datasets\.digits\.load_data\(\)"):
        mnist.load_data()
    assert files(tmp_path) == []
    server.answers["/mnist.npz"] = whole(mnist_file())
    check(mnist.load_data())


def test_offline_names_the_digits(server: LocalServer, tmp_path: Path) -> None:
    offline = Source(url=f"http://127.0.0.1:{closed_port()}/mnist.npz", sha256=SOURCES["mnist"].sha256)
    message = r"mnist\.load_data: fetch: cannot reach .*ostinato\.datasets\.digits\.load_data\(\)"
    with replaced(offline), pytest.raises(DownloadError, match=message):
        mnist.load_data()
    assert files(tmp_path) == []
    mnist.load_data()
    with replaced(offline):
        check(mnist.load_data())


def test_a_file_that_holds_objects_is_not_unpickled(server: LocalServer) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x_train=np.array([{}], dtype=object), y_train=0, x_test=0, y_test=0)
    body = buffer.getvalue()
    server.answers["/mnist.npz"] = whole(body)
    row = Source(url=server.url("/mnist.npz"), sha256=hashlib.sha256(body).hexdigest())
    with replaced(row), pytest.raises(ValueError, match="allow_pickle=False"):
        mnist.load_data()


def test_a_path_names_another_file_in_the_cache(server: LocalServer, tmp_path: Path) -> None:
    check(mnist.load_data(path="my digits.npz"))
    assert files(tmp_path) == ["datasets/my digits.npz"]


@pytest.mark.parametrize(
    "path",
    ["../mnist.npz", "a/mnist.npz", "/mnist.npz", "a\\mnist.npz", "C:mnist.npz", "..", ".", "", "a\0b", None, b"x"],
)
def test_a_path_out_of_the_cache_is_refused(server: LocalServer, tmp_path: Path, path: object) -> None:
    with pytest.raises(ValueError, match="path must be a bare file name, got"):
        mnist.load_data(path)  # type: ignore[arg-type]
    assert server.requests == []
    assert files(tmp_path) == []


def test_the_cache_is_in_the_home_directory_unless_told(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "user"))
    monkeypatch.delenv("OSTINATO_HOME")
    mnist.load_data()
    assert files(tmp_path) == ["user/.ostinato/datasets/mnist.npz"]
    monkeypatch.setenv("OSTINATO_HOME", "")
    assert cache_directory() == tmp_path / "user" / ".ostinato" / "datasets"
    monkeypatch.setenv("OSTINATO_HOME", "~/elsewhere")
    assert cache_directory() == tmp_path / "user" / "elsewhere" / "datasets"


def test_the_local_server_puts_everything_back(tmp_path: Path) -> None:
    row, environment = SOURCES["mnist"], dict(os.environ)
    with serve_mnist() as local:
        check(mnist.load_data())
        assert tmp_path not in cache_directory().parents
        home = cache_directory().parent
    assert local.requests == ["/mnist.npz"]
    assert SOURCES["mnist"] is row
    assert dict(os.environ) == environment
    assert not home.exists()
