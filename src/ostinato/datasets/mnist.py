"""MNIST: 70,000 handwritten digits, downloaded once and checked."""

import numpy as np
import numpy.typing as npt

from ostinato.datasets.sources import SOURCES, cache_directory
from ostinato.errors import DownloadError
from ostinato.files.fetch import fetch

__all__ = ["load_data"]

Split = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def load_data(path: str = "mnist.npz") -> tuple[Split, Split]:
    """Load MNIST as `(x_train, y_train), (x_test, y_test)`, downloading its 11 MB at the first call.

    The file is kept in `$OSTINATO_HOME/datasets`, else in `~/.ostinato/datasets`. Its SHA-256 is checked at
    every call: a damaged file is downloaded again, never loaded. `ostinato.datasets.digits.load_data()` gives
    smaller images of handwritten digits without a network.

    Args:
        path: the name of the file in that directory, a bare name without any directory.

    Returns:
        `(x_train, y_train), (x_test, y_test)`, uint8 as in Keras: images (60000, 28, 28) and
        (10000, 28, 28) with pixels 0 to 255, labels (60000,) and (10000,), 0 to 9.

    Raises:
        DownloadError: the file is not there and could not be downloaded whole and right.
        ValueError: `path` is not a bare file name.

    Source:
        Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits"; CC BY-SA 3.0. The
        signature and the file are those of keras/src/datasets/mnist.py.

    Example:
        `(x_train, y_train), (x_test, y_test) = mnist.load_data()` is all. The file stays in its directory:

        >>> load_data("../mnist.npz")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: mnist.load_data: path must be a bare file name, got '../mnist.npz'. ...
    """
    if not isinstance(path, str) or path in ("", ".", "..") or any(mark in path for mark in "/\\:\0"):
        raise ValueError(
            f"mnist.load_data: path must be a bare file name, got {path!r}. Pass one such as 'mnist.npz'; "
            "the environment variable OSTINATO_HOME chooses the directory."
        )
    source = SOURCES["mnist"]
    try:
        file = fetch(source.url, cache_directory() / path, source.sha256)
    except DownloadError as error:
        raise DownloadError(
            f"mnist.load_data: {error} To go on without a network, use ostinato.datasets.digits.load_data(): "
            "1,797 handwritten digits, (8, 8) with pixels 0 to 16, embedded in the package."
        ) from error
    with np.load(file, allow_pickle=False) as arrays:
        return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])
