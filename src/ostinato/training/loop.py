"""fit, evaluate and predict."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ostinato import random
from ostinato.core.graph import call_masked
from ostinato.core.weights import to_numpy
from ostinato.recurrence.nests import Nest, describe, flatten, map_nest
from ostinato.training.callbacks.history import History
from ostinato.training.callbacks.progress import Silent, display
from ostinato.training.compiled import Compiled
from ostinato.training.data import Arrays


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
        raise ValueError(f"{model.described}: epochs must be a whole number, 0 or more, got {epochs!r}.")
    if seed is not None and (isinstance(seed, bool) or not hasattr(seed, "__index__")):
        raise ValueError(f"{model.described}: seed must be a whole number, got {seed!r}.")
    data = Arrays(x, y, model.input_dtype, batch_size, f"{model.described}: fit")
    validation = _validation(model, validation_data, data)
    screen, device = display(verbose), model._where()
    compiled.begin(data.y, *([validation.y] if validation else []), training=True)
    history = History(model, {"verbose": verbose, "epochs": int(epochs), "steps": data.steps})
    model.history, model.stop_training = history, False
    with _run(model, compiled, training=True), _seeded(seed, device), contextlib.closing(screen):
        orders = random.Stream(random.DEFAULT.next())
        for epoch in range(int(epochs)):
            compiled.reset()
            screen.begin(f"Epoch {epoch + 1}/{epochs}", data.steps)
            order = torch.randperm(data.length, generator=orders.generator()) if shuffle else None
            for inputs, targets, samples in data.batches(device, order):
                train_step(model, compiled, inputs, targets, samples)
                screen.step(compiled.logs)
                if model.stop_training:
                    break
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
    loss = compiled.loss(y, y_pred, masks, samples)
    compiled.build_optimizer()
    compiled.forget_gradients()
    loss.backward()
    compiled.optimizer.step()
    compiled.constrain()


def test_step(model: Any, compiled: Compiled, x: Nest, y: Nest, samples: int) -> None:
    """Forward in inference, for the running numbers."""
    y_pred, masks = call_masked(model, (x,), {"training": False}, None)
    compiled.loss(y, y_pred, masks, samples)


def _pass(model: Any, compiled: Compiled, data: Arrays, screen: Silent | None = None) -> dict[str, float]:
    """Loss and metrics over data, in inference."""
    compiled.reset()
    with torch.no_grad():
        for x, y, samples in data.batches(model._where()):
            test_step(model, compiled, x, y, samples)
            if screen is not None:
                screen.step(compiled.logs)
    return compiled.logs()


def evaluate(
    model: Any, compiled: Compiled, x: Nest, y: Nest, *, batch_size: int | None, verbose: Any
) -> dict[str, float]:
    """Loss and metrics over data, without training."""
    data = Arrays(x, y, model.input_dtype, batch_size, f"{model.described}: evaluate")
    screen = display(verbose)
    compiled.begin(data.y)
    with _run(model, compiled, training=False), contextlib.closing(screen):
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
    """One training step; the batch's numbers."""
    inputs, targets, samples = _batch(model, x, y)
    compiled.begin(targets, training=True)
    compiled.reset()
    with _run(model, compiled, training=True):
        train_step(model, compiled, inputs, targets, samples)
    return compiled.logs()


def test_on_batch(model: Any, compiled: Compiled, x: Nest, y: Nest) -> dict[str, float]:
    """Loss and metrics on one batch, in inference."""
    inputs, targets, samples = _batch(model, x, y)
    compiled.begin(targets)
    compiled.reset()
    with _run(model, compiled, training=False), torch.no_grad():
        test_step(model, compiled, inputs, targets, samples)
    return compiled.logs()


def _batch(model: Any, x: Nest, y: Nest) -> tuple[Nest, Nest, int]:
    """All of the data as one batch."""
    data = Arrays(x, y, model.input_dtype, sys.maxsize, model.described)
    return next(data.batches(model._where()))


def _validation(model: Any, given: Any, training: Arrays) -> Arrays | None:
    """Validation data, which must look like the training data: found out now, not after the first epoch."""
    if given is None:
        return None
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ValueError(f"{model.described}: validation_data must be (x, y), got {type(given).__name__}.")
    who = f"{model.described}: validation_data"
    data = Arrays(given[0], given[1], model.input_dtype, training.batch_size, who)
    seen, held = flatten(training.x), flatten(data.x)
    # The second axis is time, in most data, and may differ; a last axis of one may be left out.
    pairs = [(a, b) for a, b in zip(seen, held, strict=False) if a.dim() == b.dim()]
    if len(seen) != len(held) or any(a.shape[2:] != b.shape[2:] for a, b in pairs):
        raise ValueError(f"{who}: x has shapes {describe(held)}, in training {describe(seen)}; they do not match.")
    return data


@contextlib.contextmanager
def _run(model: Any, compiled: Compiled, training: bool) -> Iterator[None]:
    """Put a model into a mode, and at the end, whatever happened, let go of what the run has left."""
    with _mode(model, training):
        try:
            yield
        finally:
            compiled.finish()


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
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Let a seed govern what is drawn in a run, by plain torch modules too; what follows goes on as without it."""
    if seed is None:
        yield
        return
    before = (random.DEFAULT.seed, random.DEFAULT.counter)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        random.DEFAULT.seed, random.DEFAULT.counter = int(seed), 0
        torch.default_generator.manual_seed(random.DEFAULT.next())
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(random.DEFAULT.next())
        try:
            yield
        finally:
            random.DEFAULT.seed, random.DEFAULT.counter = before
