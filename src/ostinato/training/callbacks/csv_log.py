"""Epochs in a table on disk."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from typing import Any, TextIO

from ostinato.training.callbacks.base import Callback, Logs


class CSVLogger(Callback):
    """Writes a row of a CSV file after each epoch: its number, and its logs by name.

    The columns are what the first epoch has, in alphabetical order; if that is not validated, there are columns for the
    validation nonetheless. What an epoch lacks is NA. Each row is on disk when its epoch is over.

    Args:
        filename: the file; its directory exists.
        separator: one character between columns.
        append: go on with a file that is there, below its rows, instead of writing it anew.

    Raises:
        ValueError: if the separator is not one character; after the first epoch, if the file that is to be continued
            has other columns. (Keras writes the values below the wrong names.)
        OSError: as training begins, if the file cannot be written.

    Source:
        Keras, `callbacks/csv_logger.py`.

    Example:
        >>> import os, ostinato, pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     logger = ostinato.callbacks.CSVLogger(os.path.join(folder, "log.csv"))
        ...     with ostinato.callbacks.CallbackList(logger).phase("train") as run:
        ...         run.epoch_end(0, {"loss": 0.5, "val_loss": 0.75})
        ...     print(pathlib.Path(logger.filename).read_text())
        epoch,loss,val_loss
        0,0.5,0.75
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"CSVLogger: separator must be one character, got {separator!r}.")
        self.filename, self.sep, self.append = os.fspath(filename), separator, append
        self.keys: list[str] | None = None
        self.csv_file: TextIO | None = None
        self.writer: Any = None
        self._header: list[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._release()
        self.keys = self.writer = self._header = None
        if self.append and os.path.exists(self.filename):
            with open(self.filename, newline="", encoding="utf-8") as file:
                self._header = next(csv.reader(file, delimiter=self.sep), None)
        self.csv_file = open(self.filename, "a" if self.append else "w", newline="", encoding="utf-8")  # noqa: SIM115

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        assert self.csv_file is not None
        if self.writer is None:
            self.keys = _columns(logs)
            self._check_header(["epoch", *self.keys])
            self.writer = csv.DictWriter(self.csv_file, ["epoch", *self.keys], delimiter=self.sep)
            if not self._header:
                self.writer.writeheader()
        assert self.keys is not None
        self.writer.writerow({"epoch": epoch, **{key: _cell(logs.get(key, "NA")) for key in self.keys}})
        self.csv_file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._release()

    def _check_header(self, columns: list[str]) -> None:
        if self._header and self._header != columns:
            raise ValueError(
                f"CSVLogger: {self.filename!r} has the columns {self._header}, this training has {columns}. Write to "
                f"another file, or pass append=False to write this one anew."
            )

    def _release(self) -> None:
        if self.csv_file is not None:
            file, self.csv_file, self.writer = self.csv_file, None, None
            file.close()


def _columns(logs: Logs) -> list[str]:
    """The names of the first epoch, sorted, and of a validation that is yet to come."""
    keys = sorted(logs)
    return keys if any(key.startswith("val_") for key in keys) else keys + [f"val_{key}" for key in keys]


def _cell(value: Any) -> Any:
    """A value as it is written: lists and arrays in brackets."""
    if isinstance(value, str) or not isinstance(value, Iterable) or not getattr(value, "ndim", 1):
        return value
    return f'"[{", ".join(map(str, value))}]"'
