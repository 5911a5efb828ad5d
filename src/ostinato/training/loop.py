"""fit, evaluate and predict."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato import random
from ostinato.core.graph import call_masked
from ostinato.core.weights import to_numpy
from ostinato.recurrence.nests import Nest, flatten, map_nest
from ostinato.training.compiled import Compiled
from ostinato.training.data import Arrays
from ostinato.training.history import History
from ostinato.training.progress import Silent, display


def fit(
    model: Any,
    compiled: Compiled,
    x: Nest,
    y: Nest,
    *,
    batch_size: int | None,
    epochs: int,
    verbose: Any,
    validation_data: Any,
    shuffle: bool,
    seed: int | None,
) -> History:
    """Train for a number of epochs; see `Model.fit`."""
    if isinstance(epochs, bool) or not hasattr(epochs, "__index__") or int(epochs) < 0:
        raise ValueError(f"{model.described}: epochs must be a whole number, got {epochs!r}.")
    data = Arrays(x, y, model.input_dtype, batch_size, f"{model.described}: fit")
    validation = _validation(model, validation_data, data.batch_size)
    screen, device = display(verbose), model._where()
    history = History(model, {"epochs": int(epochs), "steps": data.steps})
    model.history, model.stop_training = history, False
    compiled.begin()
    with _mode(model, training=True), _seeded(seed), contextlib.closing(screen):
        orders = random.Stream(random.DEFAULT.next())
        for epoch in range(int(epochs)):
            compiled.reset()
            screen.begin(f"Epoch {epoch + 1}/{epochs}", data.steps)
            order = torch.randperm(data.length, generator=orders.generator()) if shuffle else None
            for inputs, targets, samples in data.batches(device, order):
                train_step(model, compiled, inputs, targets, samples)
                screen.step(compiled.logs)
            logs = compiled.logs()
            if validation is not None:
                with _mode(model, training=False):
                    logs.update({f"val_{name}": value for name, value in _pass(model, compiled, validation).items()})
            screen.end(logs)
            history.add(epoch, logs)
            if model.stop_training:
                break
    return history


def train_step(model: Any, compiled: Compiled, x: Nest, y: Nest, samples: int) -> None:
    """Forward, backward, one step of the optimizer."""
    y_pred, masks = call_masked(model, (x,), {"training": True}, None)
    loss = compiled.loss(y, y_pred, _flat_masks(masks, y_pred), samples)
    compiled.build_optimizer()
    compiled.optimizer.zero_grad()
    loss.backward()
    compiled.optimizer.step()
    compiled.constrain()


def _pass(model: Any, compiled: Compiled, data: Arrays, screen: Silent | None = None) -> dict[str, float]:
    """Loss and metrics over data, in inference."""
    compiled.reset()
    with torch.no_grad():
        for x, y, samples in data.batches(model._where()):
            y_pred, masks = call_masked(model, (x,), {"training": False}, None)
            compiled.loss(y, y_pred, _flat_masks(masks, y_pred), samples)
            if screen is not None:
                screen.step(compiled.logs)
    return compiled.logs()


def evaluate(
    model: Any, compiled: Compiled, x: Nest, y: Nest, *, batch_size: int | None, verbose: Any
) -> dict[str, float]:
    """Loss and metrics over data, without training."""
    data = Arrays(x, y, model.input_dtype, batch_size, f"{model.described}: evaluate")
    screen = display(verbose)
    compiled.begin()
    with _mode(model, training=False), contextlib.closing(screen):
        screen.begin("Evaluate", data.steps)
        logs = _pass(model, compiled, data, screen)
        screen.end(logs)
    return logs


def predict(model: Any, x: Nest, *, batch_size: int | None, verbose: Any) -> Nest:
    """Outputs for data, batch by batch; a nest of NumPy arrays."""
    data = Arrays(x, None, model.input_dtype, batch_size, f"{model.described}: predict")
    screen, outputs = display(verbose), []
    with _mode(model, training=False), contextlib.closing(screen), torch.no_grad():
        screen.begin("Predict", data.steps)
        for inputs, _, _ in data.batches(model._where()):
            outputs.append(call_masked(model, (inputs,), {"training": False}, None)[0])
            screen.step(dict)
        screen.end({})
    columns = iter(zip(*(flatten(output) for output in outputs), strict=True))
    return map_nest(lambda _: np.concatenate([to_numpy(leaf) for leaf in next(columns)]), outputs[0])


def predict_on_batch(model: Any, x: Nest) -> Nest:
    """Outputs for one batch, in inference; a nest of NumPy arrays."""
    inputs = _batch(model, x, None)[0]
    with _mode(model, training=False), torch.no_grad():
        return map_nest(to_numpy, call_masked(model, (inputs,), {"training": False}, None)[0])


def train_on_batch(model: Any, compiled: Compiled, x: Nest, y: Nest) -> dict[str, float]:
    """One training step; the running numbers."""
    inputs, targets, samples = _batch(model, x, y)
    compiled.begin()
    with _mode(model, training=True):
        train_step(model, compiled, inputs, targets, samples)
    return compiled.logs()


def test_on_batch(model: Any, compiled: Compiled, x: Nest, y: Nest) -> dict[str, float]:
    """Loss and metrics on one batch; the running numbers."""
    inputs, targets, samples = _batch(model, x, y)
    compiled.begin()
    with _mode(model, training=False), torch.no_grad():
        y_pred, masks = call_masked(model, (inputs,), {"training": False}, None)
        compiled.loss(targets, y_pred, _flat_masks(masks, y_pred), samples)
    return compiled.logs()


def _batch(model: Any, x: Nest, y: Nest) -> tuple[Nest, Nest, int]:
    length = len(flatten(x)[0])
    data = Arrays(x, y, model.input_dtype, max(1, length), model.described)
    return next(data.batches(model._where()))


def _validation(model: Any, given: Any, batch_size: int) -> Arrays | None:
    if given is None:
        return None
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ValueError(f"{model.described}: validation_data must be (x, y), got {type(given).__name__}.")
    return Arrays(given[0], given[1], model.input_dtype, batch_size, f"{model.described}: validation_data")


def _flat_masks(masks: Nest, y_pred: Nest) -> list[Tensor | None] | None:
    if masks is None:
        return None
    flat = flatten(masks)
    count = 1 if isinstance(y_pred, Tensor) else len(flatten(y_pred))
    return flat if len(flat) == count else flat + [None] * (count - len(flat))


@contextlib.contextmanager
def _mode(model: torch.nn.Module, training: bool) -> Iterator[None]:
    """Put every module into a mode, plain torch modules too, and back into the one it was found in."""
    found = [(module, module.training, module.__dict__.get("_mode_chosen")) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode, chosen in found:
            module.training = mode
            if chosen is not None:
                module.__dict__["_mode_chosen"] = chosen


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Let a seed govern the order of the data and the dropout masks of a run."""
    if seed is None:
        yield
        return
    before = (random.DEFAULT.seed, random.DEFAULT.counter)
    random.DEFAULT.seed, random.DEFAULT.counter = seed, 0
    try:
        yield
    finally:
        random.DEFAULT.seed, random.DEFAULT.counter = before
