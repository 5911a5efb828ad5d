"""A run in TensorBoard."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ostinato.training.callbacks.base import Callback, Logs, asked, lazy_logs
from ostinato.training.callbacks.rates import learning_rate


class TensorBoard(Callback):
    """Writes losses, metrics and weights as TensorBoard reads them, by torch's `SummaryWriter`.

    In `train/`: `epoch_loss` and so on, also `epoch_learning_rate`, by epoch, and `batch_loss` and so on by batch. In
    `validation/`: `epoch_loss` and so on by epoch, and `evaluation_loss_vs_iterations` and so on after each evaluation,
    by steps of the optimizer. The names are Keras's.

    Args:
        log_dir: the folder, made if it is not there.
        histogram_freq: epochs from one histogram of all weights to the next; 0 for none.
        write_graph: taken for Keras's sake; nothing is written. `ostinato.utils.plot_model` draws a model.
        write_images: with each histogram, the weights as images.
        write_steps_per_second: training steps per second, too, by epoch and by batch.
        update_freq: "epoch", or batches from one writing to the next; "batch" is 1. Each waits for the device.
        profile_batch: must be 0; `torch.profiler` writes for TensorBoard.
        embeddings_freq, embeddings_metadata: must be 0 and None; `SummaryWriter.add_embedding` writes what the
            projector shows.

    Raises:
        ModuleNotFoundError: if tensorboard is not installed.
        ValueError: for what is not possible.

    Source:
        Keras, `callbacks/tensorboard.py`.

    Example:
        >>> import numpy as np, ostinato, os, tempfile
        >>> model = ostinato.Sequential([ostinato.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     callback = ostinato.callbacks.TensorBoard(folder)
        ...     history = model.fit(np.ones((4, 2)), np.ones(4), verbose=0, callbacks=callback)
        ...     os.listdir(folder)
        ['train']
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        if profile_batch:
            raise ValueError(
                f"TensorBoard: profile_batch must be 0, got {profile_batch!r}. torch.profiler.profile profiles, with "
                f"on_trace_ready=torch.profiler.tensorboard_trace_handler(log_dir)."
            )
        if embeddings_freq or embeddings_metadata is not None:
            raise ValueError(
                "TensorBoard: embeddings_freq must be 0 and embeddings_metadata None. Write embeddings with "
                "torch.utils.tensorboard.SummaryWriter(log_dir).add_embedding(layer.get_weights()[0])."
            )
        whole = isinstance(update_freq, int) and not isinstance(update_freq, bool) and update_freq > 0
        if update_freq not in ("epoch", "batch") and not whole:
            raise ValueError(
                f"TensorBoard: update_freq must be 'epoch', 'batch', or a number of batches, got {update_freq!r}."
            )
        self._writer_class = require_tensorboard()
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq, self.write_graph, self.write_images = histogram_freq, write_graph, write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq: Any = 1 if update_freq == "batch" else update_freq
        self._writers: dict[str, Any] = {}
        self._in_fit = False
        self._batches = self._batches_before = 0  # since training began, and when the epoch did
        self._batch_start = self._epoch_start = 0.0  # seconds

    # -- training -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._in_fit = True
        self._batches = 0

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._batch_start = time.perf_counter()

    @lazy_logs
    def on_train_batch_end(self, batch: int, logs: Logs | Callable[[], Logs] | None = None) -> None:
        self._batches += 1
        if self.update_freq == "epoch" or self._batches % self.update_freq:
            return
        seconds = time.perf_counter() - self._batch_start
        writer = self._writer("train")
        if self.write_steps_per_second:
            writer.add_scalar("batch_steps_per_second", 1 / seconds, self._batches)
        _add(writer, "batch_{}", asked(logs), self._batches)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch_start, self._batches_before = time.perf_counter(), self._batches

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs:
            training = {name: value for name, value in logs.items() if not name.startswith("val_")}
            training["learning_rate"] = learning_rate(self.model.optimizer, "TensorBoard")
            if self.write_steps_per_second:
                seconds = time.perf_counter() - self._epoch_start
                training["steps_per_second"] = (self._batches - self._batches_before) / seconds
            _add(self._writer("train"), "epoch_{}", training, epoch)
            validation = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
            if validation:
                _add(self._writer("validation"), "epoch_{}", validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._release()

    def _write_weights(self, epoch: int) -> None:
        writer = self._writer("train")
        for name, weight in _weights(self.model):
            writer.add_histogram(f"{name}/histogram", weight, epoch)
            image = _image(weight) if self.write_images else None
            if image is not None:
                writer.add_images(f"{name}/image", image, epoch, dataformats="NHWC")
        writer.flush()

    # -- evaluation ---------------------------------------------------------------------------------------------------

    def on_test_end(self, logs: Logs | None = None) -> None:
        iterations = getattr(self.model.optimizer, "iterations", None)
        if iterations is not None and logs:
            _add(self._writer("validation"), "evaluation_{}_vs_iterations", logs, int(iterations))
        if not self._in_fit:
            self._release()

    # -----------------------------------------------------------------------------------------------------------------

    def _writer(self, name: str) -> Any:
        """The writer of a folder, made when there is something to write."""
        if name not in self._writers:
            self._writers[name] = self._writer_class(os.path.join(self.log_dir, name))
        return self._writers[name]

    def _release(self) -> None:
        self._in_fit = False
        while self._writers:
            self._writers.popitem()[1].close()


def require_tensorboard() -> Any:
    """Torch's `SummaryWriter`. Raises ModuleNotFoundError, naming the extra to install, without tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (an optional dependency)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "TensorBoard needs tensorboard, which is not installed; install it with: "
            "pip install 'ostinato[tensorboard]'"
        ) from error
    return SummaryWriter


def _add(writer: Any, tag: str, logs: Logs, step: int) -> None:
    for name, value in logs.items():
        writer.add_scalar(tag.format(name), value, step)


def _weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Names, as in `lstm/cell/kernel`, and values of the weights that hold anything; buffers too."""
    for layer in model.layers:
        if isinstance(layer, torch.nn.Module):
            base = getattr(layer, "name", type(layer).__name__)
            for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
                if tensor.numel():
                    yield f"{base}/{name.replace('.', '/')}", tensor.detach().float()


def _image(weight: Tensor) -> Tensor | None:
    """A weight as images `(images, height, width, channels)`; None if it has too many axes."""
    image = weight.squeeze()
    if image.dim() == 1:
        return image[None, :, None, None]
    if image.dim() == 2:
        image = image.T if image.shape[0] > image.shape[1] else image
        return image[None, :, :, None]
    if image.dim() == 3:
        return image.permute(2, 0, 1)[..., None]
    return image if image.dim() == 4 and image.shape[-1] in (1, 3, 4) else None
