"""Where the downloaded datasets come from, what they must be, and where they are kept."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A file on the network: its address and the SHA-256 its content must have.

    Args:
        url: http or https address.
        sha256: 64 hexadecimal digits.

    Source:
        `ostinato.files.fetch.fetch` takes both.

    Example:
        >>> Source(url="https://example.org/file", sha256="0" * 64).url
        'https://example.org/file'
    """

    url: str
    sha256: str


# Address and digest are those of Keras, keras/src/datasets/mnist.py.
SOURCES = {
    "mnist": Source(
        url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
        sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    ),
}


def cache_directory() -> Path:
    """Return the directory of downloaded datasets: `$OSTINATO_HOME/datasets`, else `~/.ostinato/datasets`.

    Returns:
        The directory, which need not exist yet. The environment is read at every call.

    Raises:
        RuntimeError: `$OSTINATO_HOME` is not set and the user has no home directory.

    Source:
        After Keras's `$KERAS_HOME` and `~/.keras/datasets`.

    Example:
        >>> cache_directory().name
        'datasets'
    """
    return Path(os.environ.get("OSTINATO_HOME") or "~/.ostinato").expanduser() / "datasets"
