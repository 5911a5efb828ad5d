"""fit, evaluate and predict."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato import random
from ostinato.core.weights import to_numpy
from ostinato.recurrence.nests import Nest, flatten, map_nest
from ostinato.training.callbacks.history import History
from ostinato.training.callbacks.progress_bar import ProgressBar
from ostinato.training.callbacks.running import CallbackList
from ostinato.training.plan import Plan
from ostinato.training.sources.arrays import Arrays
from ostinato.training.sources.base import Batch, Reader, Source
from ostinato.training.sources.opened import Epochs
from ostinato.training.step import Step


def fit(model: Any, step: Step, plan: Plan) -> History:
    """Train for a number of epochs; see `Model.fit`."""
    compiled, device = step.compiled, model._where()
    compiled.begin(*plan.targets, training=True)
    callbacks = _callbacks(model, plan.callbacks, plan.params, History())
    model.stop_training = False
    with _run(model, step, training=True), _seeded(plan.seed, device), contextlib.ExitStack() as stack:
        if isinstance(plan.training, Arrays):  # callbacks may ask for the weights as training begins
            step.build(next(plan.training.batches(device)).x)
            compiled.build_optimizer()
        phase = stack.enter_context(callbacks.phase("train"))
        orders = random.Stream(random.DEFAULT.next())
        training = Epochs(plan.training, plan.steps_per_epoch, orders if plan.shuffle else None, plan.who)
        for epoch in range(plan.initial_epoch, plan.epochs):
            phase.epoch_begin(epoch)
            step.begin()
            index = -1
            for index, batch in enumerate(training.batches(device)):
                phase.batch_begin(index)
                phase.batch_end(index, step.train(batch))
                if model.stop_training:
                    break
            if index < 0:
                _ended(plan, epoch)
                break
            logs = step.logs()
            if plan.validation is not None and plan.validates(epoch):
                validation = Epochs(plan.validation, plan.validation_steps, None, plan.who)  # from its first batch on
                with _mode(model, training=False):
                    found = _tested(step, validation, callbacks)
                logs.update({f"val_{name}": value for name, value in found.items()})
            phase.epoch_end(epoch, logs)
            if model.stop_training:
                break
        compiled.finalize()
    return callbacks.find(History)


def _ended(plan: Plan, epoch: int) -> None:
    """An epoch had no data. Raises ValueError if it is the first; else training ends here, with a warning."""
    if epoch == plan.initial_epoch:
        raise ValueError(f"{plan.who}: the data gave no batch.")
    warnings.warn(
        f"{plan.who}: the data gave no more batches after epoch {epoch} of {plan.epochs}; training ends here. A "
        f"generator can be passed over once: pass steps_per_epoch, or an iterable that begins anew each time.",
        stacklevel=4,
    )


def evaluate(
    model: Any, step: Step, source: Source, *, steps: int | None, verbose: Any, callbacks: Any
) -> dict[str, float]:
    """Loss and metrics over data, without training."""
    data = Epochs(source, steps, None, f"{model.described}: evaluate")
    step.compiled.begin(*([source.y] if isinstance(source, Arrays) else []))
    params = {"verbose": verbose, "epochs": 1, "steps": data.steps}
    told = callbacks if isinstance(callbacks, CallbackList) else _callbacks(model, callbacks, params)
    with _run(model, step, training=False):
        return _tested(step, data, told)


def _tested(step: Step, data: Epochs, callbacks: CallbackList) -> dict[str, float]:
    """Loss and metrics over an epoch of data, in inference."""
    step.begin()
    index = -1
    with callbacks.phase("test") as phase, torch.no_grad():
        for index, batch in enumerate(data.batches(step.model._where())):
            phase.batch_begin(index)
            phase.batch_end(index, step.test(batch))
        if index < 0:
            raise ValueError(
                f"{data.who}: the data to evaluate gave no batch. A generator can be passed over once; pass an "
                f"iterable that begins anew each time."
            )
        phase.logs = step.logs()
        return phase.logs


def predict(model: Any, step: Step, source: Source, *, steps: int | None, verbose: Any, callbacks: Any) -> Nest:
    """Outputs for data, batch by batch; a nest of NumPy arrays."""
    data = Epochs(source, steps, None, f"{model.described}: predict")
    params = {"verbose": verbose, "epochs": 1, "steps": data.steps}
    told, outputs = _callbacks(model, callbacks, params), []
    with _mode(model, training=False), told.phase("predict") as phase, torch.no_grad():
        for index, batch in enumerate(data.batches(model._where())):
            phase.batch_begin(index)
            outputs.append(step.predict(batch))
            phase.batch_end(index, dict)
    if not outputs:
        raise ValueError(f"{data.who}: the data gave no batch.")
    columns = iter(zip(*(flatten(output) for output in outputs), strict=True))
    return map_nest(lambda _: _joined(next(columns), data.who), outputs[0])


def _joined(batches: tuple[Tensor, ...], who: str) -> np.ndarray:
    """The batches of an output, one after the other. Raises ValueError if they differ in more than their length."""
    shapes = {tuple(batch.shape[1:]) for batch in batches}
    if len(shapes) > 1:
        raise ValueError(
            f"{who}: the outputs of batches have different shapes for a sample, {sorted(shapes)}, so they make no one "
            f"array. Pad all batches to the same length (ostinato.utils.pad_sequences), or call predict_on_batch on "
            f"each."
        )
    return np.concatenate([to_numpy(batch) for batch in batches])


def predict_on_batch(model: Any, step: Step, x: Nest) -> Nest:
    """Outputs for one batch, in inference; a nest of NumPy arrays."""
    batch = _batch(model, "predict_on_batch", x, None, None, None)
    with _mode(model, training=False), torch.no_grad():
        return map_nest(to_numpy, step.predict(batch))


def train_on_batch(model: Any, step: Step, x: Nest, y: Nest, weights: Nest, class_weight: Any) -> dict[str, float]:
    """One training step; the batch's numbers."""
    batch = _batch(model, "train_on_batch", x, y, weights, class_weight)
    step.compiled.begin(batch.y, training=True)
    step.begin()
    with _run(model, step, training=True):
        step.train(batch)
    return step.logs()


def test_on_batch(model: Any, step: Step, x: Nest, y: Nest, weights: Nest) -> dict[str, float]:
    """Loss and metrics on one batch, in inference."""
    batch = _batch(model, "test_on_batch", x, y, weights, None)
    step.compiled.begin(batch.y)
    step.begin()
    with _run(model, step, training=False), torch.no_grad():
        step.test(batch)
    return step.logs()


def _batch(model: Any, what: str, x: Nest, y: Nest, weights: Nest, class_weight: Any) -> Batch:
    """All of the data as one batch."""
    reader = Reader(model.input_dtype, f"{model.described}: {what}", class_weight)
    return reader.batch((x, y, weights), model._where())


def _callbacks(model: Any, given: Any, params: dict[str, Any], *defaults: Any) -> CallbackList:
    """What was given, what is always there, and last the display."""
    return CallbackList(given, model=model, params=params, defaults=[*defaults, ProgressBar(params["verbose"])])


@contextlib.contextmanager
def _run(model: Any, step: Step, training: bool) -> Iterator[None]:
    """Put a model into a mode, and at the end, whatever happened, let go of what the run has left."""
    with _mode(model, training):
        try:
            yield
        finally:
            step.compiled.finish()


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
