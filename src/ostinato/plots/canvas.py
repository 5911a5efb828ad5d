"""What all pictures share: matplotlib itself, and the way to the disk."""

from __future__ import annotations

import os
import re
from typing import Any

from ostinato.files.atomic import atomic_writer


def require_matplotlib() -> Any:
    """The matplotlib package, with the modules that pictures are made of; no pyplot: no window, no global state.

    Raises ModuleNotFoundError, naming the extra to install, without matplotlib.
    """
    try:
        import matplotlib  # noqa: PLC0415 (the optional dependency of this room)
        import matplotlib.figure  # noqa: PLC0415
        import matplotlib.patches  # noqa: PLC0415
        import matplotlib.path  # noqa: PLC0415
        import matplotlib.textpath  # noqa: PLC0415
        import matplotlib.ticker  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib, which is not installed; install it with: pip install 'ostinato[plots]'"
        ) from error
    return matplotlib


def save(figure: Any, path: str | os.PathLike[str], dpi: float, kind: str = "png") -> None:
    """Write a figure, whole or not at all.

    dpi: pixels per inch; kind: the format, a name that matplotlib knows. Raises OSError if the file cannot be written.
    """
    with atomic_writer(path) as file:
        figure.savefig(file, format=kind, dpi=dpi)


def wrapped(text: str, width: int) -> str:
    """Text in lines of at most `width` characters, broken behind spaces, underscores, dots, slashes or hyphens.

    >>> print(wrapped("val_sparse_categorical_accuracy", 20))
    val_sparse_
    categorical_accuracy
    """
    lines = [""]
    for part in re.findall(r"[^ _./-]*[ _./-]*", text):
        while part:
            room = width - len(lines[-1])
            if len(part.rstrip(" ")) <= room:
                lines[-1] += part
                break
            if lines[-1]:
                lines.append("")
            else:  # one word that is wider than the line
                lines[-1], part = part[:width], part[width:]
    return "\n".join(line.rstrip(" ") for line in lines)
